"""The way from a tunnel's end at the proxy to one of the auths: to one that answers, if any does.

What passes is TLS between node and auth, of which the proxy sees neither questions nor answers. All that it can
tell of an auth is whether anything comes from there at all: one that hangs lets the system accept its connections,
and says nothing.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from functools import partial

from interlock.adapters.ssh.pipe import StreamEnd
from interlock.core.address import format_address
from interlock.core.limits import DIAL_TIMEOUT_S
from interlock.services.keys.joining import JoinSources

AUTH_DIAL_S = 2.0
"""Seconds that one of several auths has to accept a connection, before the next one is tried."""

LINGER_S = 10.0
"""Seconds for which a connection stays on which the node says no more and auth nothing. gRPC half-closes nothing:
it has gone, and the node may have only so many."""

Place = tuple[str, int]


class AuthOrder:
    """Which auth to try first: those from which nothing came when something was asked come last."""

    def __init__(self) -> None:
        self._silent: dict[Place, None] = {}  # the longest ago first

    def of(self, places: Iterable[Place]) -> list[Place]:
        """The places in the order in which they are to be tried."""
        order = list(self._silent)
        return sorted(places, key=lambda place: order.index(place) if place in self._silent else -1)

    def silent(self, place: Place) -> None:
        """Nothing came from there."""
        self._silent.pop(place, None)
        self._silent[place] = None

    def heard(self, place: Place) -> None:
        """Something came from there."""
        self._silent.pop(place, None)

    async def reach(self, places: Iterable[Place], make: "Callable[[Place], AuthEnd]") -> "AuthEnd":
        """The end at the first that accepts; OSError or TimeoutError if none does.

        ``make``: an end for each attempt, since one that was given up may be told so when the next one stands.
        """
        loop = asyncio.get_running_loop()
        *first, last = self.of(places)
        async with asyncio.timeout(DIAL_TIMEOUT_S):
            for place in first:
                with contextlib.suppress(OSError, TimeoutError):
                    async with asyncio.timeout(min(AUTH_DIAL_S, DIAL_TIMEOUT_S / (len(first) + 1))):
                        return (await loop.create_connection(partial(make, place), *place))[1]
                self.silent(place)
            return (await loop.create_connection(partial(make, last), *last))[1]


class AuthEnd(StreamEnd):
    """A connection to auth on behalf of a node. One that joins is noted with its true source while it lasts."""

    def __init__(self, order: AuthOrder, sources: JoinSources | None, source: str, place: Place) -> None:
        """``sources``: None if the node has joined."""
        super().__init__()
        self.place = place
        self._order = order
        self._sources = sources
        self._source = source
        self._name = ""
        self._asked = self._heard = False
        self._quiet = False  # nothing has come since the timer was set
        self._timer: asyncio.TimerHandle | None = None  # set when the node says no more

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the source before auth can look for it."""
        super().connection_made(transport)
        if self._sources is not None:
            self._name = format_address(*transport.get_extra_info("sockname")[:2])
            self._sources.note(self._name, self._source)

    def send(self, data: bytes) -> None:
        """The node asks."""
        self._asked = True
        super().send(data)

    def send_eof(self) -> None:
        """The node says no more."""
        self._note_silence()
        super().send_eof()
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Auth answers."""
        self._quiet = False
        if not self._heard:
            self._heard = True
            self._order.heard(self.place)
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the source; remember a silence."""
        self._note_silence()
        if self._timer is not None:
            self._timer.cancel()
        if self._sources is not None:
            self._sources.forget(self._name)
        super().connection_lost(exc)

    def _note_silence(self) -> None:
        if self._asked and not self._heard:
            self._order.silent(self.place)

    def _wait(self) -> None:
        self._quiet = True
        self._timer = asyncio.get_running_loop().call_later(LINGER_S, self._look)

    def _look(self) -> None:
        if self._quiet:
            self.transport.abort()
        else:
            self._wait()
