"""The keys with which daemons sign their recordings, and how they come by warrants for them."""

from datetime import timedelta

from interlock.core.ids import DaemonId
from interlock.domain.signing import SEED_SIZE, DaemonRole, SigningKey, WarrantedKey
from interlock.ports import Clock, Entropy, Warranting

RENEW_AFTER = timedelta(days=10)
"""Age of a warrant at which another one is asked for: a third of its life."""


class OwnKey:
    """A `signing.KeySource` beside auth: a key that never leaves the process, made when it is first needed."""

    def __init__(
        self, authority: Warranting, daemon: DaemonId, role: DaemonRole, *, clock: Clock, entropy: Entropy
    ) -> None:
        self._authority = authority
        self._daemon = daemon
        self._role = role
        self._clock = clock
        self._entropy = entropy
        self._key: WarrantedKey | None = None
        self._made = 0.0  # when, in seconds of the monotonic clock

    def __call__(self) -> WarrantedKey:
        """The key, under a warrant that is good for weeks."""
        now = self._clock.monotonic()
        if self._key is None or now - self._made >= RENEW_AFTER.total_seconds():
            key = SigningKey.from_seed(self._entropy.token(SEED_SIZE)) if self._key is None else self._key.key
            self._key = WarrantedKey(key, self._authority.warrant(self._daemon, self._role, key.public))
            self._made = now
        return self._key
