"""Connections that have not authenticated: so many may wait, and a flood costs only where it comes from (R17)."""

from collections.abc import Hashable
from typing import Generic, TypeVar

from interlock.core.address import source_of

ConnectionT = TypeVar("ConnectionT", bound=Hashable)


class Strangers(Generic[ConnectionT]):
    """Who waits, by source. When there are too many, the source that has most of them loses its oldest."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._source_of: dict[ConnectionT, str] = {}
        self._by_source: dict[str, dict[ConnectionT, None]] = {}  # each in the order of arrival

    def __len__(self) -> int:
        """How many wait."""
        return len(self._source_of)

    def arrived(self, connection: ConnectionT, address: str) -> ConnectionT | None:
        """A new connection; the one to be closed for it, if any."""
        source = source_of(address)
        self._source_of[connection] = source
        self._by_source.setdefault(source, {})[connection] = None
        if len(self) <= self._limit:
            return None
        busiest = max(self._by_source.values(), key=len)
        oldest = next(iter(busiest))
        self.left(oldest)
        return oldest

    def left(self, connection: ConnectionT) -> None:
        """It has authenticated or is gone; harmless when it is not there."""
        source = self._source_of.pop(connection, None)
        if source is None:
            return
        waiting = self._by_source[source]
        del waiting[connection]
        if not waiting:
            del self._by_source[source]
