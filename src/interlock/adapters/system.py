"""The machine's clock and randomness: the only module that reads either.

Everything below takes `ports.Clock` and `ports.Entropy` as arguments, so tests choose the time and the
random bytes (`interlock.testing.clock`, `interlock.testing.entropy`). No other module may call these functions.
"""

import secrets
import time
import uuid
from datetime import UTC, datetime


class SystemClock:
    """`ports.Clock` of this machine."""

    def now(self) -> datetime:
        """The wall clock, in UTC with time zone."""
        return datetime.now(UTC)  # noqa: TID251 - this is where the time comes in

    def monotonic(self) -> float:
        """Seconds that never go backwards, for durations."""
        return time.monotonic()


class SystemEntropy:
    """`ports.Entropy` of the operating system."""

    def uuid(self) -> str:
        """A new random UUID in canonical form."""
        return str(uuid.uuid4())  # noqa: TID251 - this is where randomness comes in

    def token(self, size: int) -> bytes:
        """``size`` unpredictable bytes."""
        return secrets.token_bytes(size)
