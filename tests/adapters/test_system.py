"""The real clock and the real randomness keep the promises of their ports."""

import uuid
from datetime import UTC, timedelta

from interlock.adapters.system import SystemClock, SystemEntropy


def test_clock_is_in_utc_and_monotonic_does_not_go_back() -> None:
    """Wall time carries UTC; a second monotonic reading is not smaller than the first."""
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert clock.now().utcoffset() == timedelta(0)
    assert clock.monotonic() <= clock.monotonic()


def test_entropy_gives_canonical_uuids_and_the_size_that_was_asked_for() -> None:
    """UUIDs are canonical and different; tokens have their size."""
    entropy = SystemEntropy()
    first, second = entropy.uuid(), entropy.uuid()
    assert first != second
    assert str(uuid.UUID(first)) == first
    assert len(entropy.token(32)) == 32
    assert entropy.token(32) != entropy.token(32)
