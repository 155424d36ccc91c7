"""What a node may still ask that was removed: to deliver what it has in hand, for a while; then nothing."""

from collections.abc import Mapping
from datetime import datetime

from interlock.core.ids import DaemonId
from interlock.domain.target import DELIVERS_FOR, removed_node
from interlock.ports import Clock, RemovedSource
from interlock.services.keys.daemonca import DaemonKind, HostIdentity

REFRESH_S = 1.0
"""Seconds after which it is read again who was removed."""


class RemovedNodes:
    """As auth knows them, a second late at most."""

    def __init__(self, source: RemovedSource, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._known: Mapping[DaemonId, datetime] | None = None  # None: not read yet
        self._read = 0.0  # when that was begun last, on the monotonic clock

    async def check(self, caller: HostIdentity, *, delivers: bool) -> None:
        """Denied to a removed node; ``delivers``: unless that was just now, since it only delivers.

        StoreError if it cannot be read who was removed; what was known counts for a second then.
        """
        if caller.kind is not DaemonKind.NODE:
            return
        now = self._clock.monotonic()
        known = self._known
        if known is None or now - self._read >= REFRESH_S:
            self._read = now  # whoever asks meanwhile goes by what was known, or reads, too, if that is nothing
            known = self._known = await self._source.removed_nodes()
        removed = known.get(caller.id)
        if removed is None or (delivers and self._clock.now() < removed + DELIVERS_FOR):
            return
        raise removed_node(caller.id)
