"""How long a visitor may stay at the node: the tenure of a connection, and what is said when it ends.

Somebody who came by a forwarder is counted and timed there; only locks are watched here as well, because the
gateway may be cut off from its own view of them. Who came by himself, through a bridge, is counted and timed here.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

import asyncssh

from interlock.adapters.ssh.node.judgement import Guest
from interlock.adapters.ssh.seams.node import NodeConnection
from interlock.core.errors import Denied, InterlockError
from interlock.core.extensions import CLIENT_LEFT
from interlock.domain.granted import Granted
from interlock.domain.target import Target
from interlock.services.access.tenure import Conduct, Tenure, Tenures, Terms, too_many_sessions

FAREWELL_S = 1.0
"""Seconds for what is queued on a connection's channels to be sent before it is disconnected."""

LINGER_S = 10.0
"""Seconds that a connection which may not stay can remain: time for its client to ask and be told."""


class Occupant(Protocol):
    """A session of the visitor."""

    @property
    def activity(self) -> int:
        """Bytes by which something has moved, what is typed on a terminal, and both ways without one."""
        ...

    def terminate(self, text: str, *, reason: str = "") -> None:
        """End it; the person reads ``text``, the audit log ``reason``."""
        ...


class Stay:
    """Of one connection."""

    def __init__(
        self,
        tenures: Tenures,
        target: Callable[[], Target],
        occupants: Callable[[], Sequence[Occupant]],
        forwards: Callable[[], int],
    ) -> None:
        self._tenures = tenures
        self._target = target
        self._occupants = occupants
        self._forwards = forwards  # what has moved in whatever is forwarded
        self._connection: NodeConnection | None = None
        self._entering = asyncio.Lock()
        self._tenure: Tenure | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._opened = 0  # how many sessions there were
        self.ended_because = ""  # the reason for the record of the connection itself, if policy has ended it
        self.refusal: Denied | None = None  # why the connection may not stay, once that is known

    async def begin(self, connection: NodeConnection, guest: Guest) -> Denied | None:
        """Take a place, once; the refusal of the whole connection if there is none, or if a lock forbids it."""
        async with self._entering:
            if self._tenure is not None or self.refusal is not None:
                return self.refusal
            return await self._enter(connection, guest)

    async def _enter(self, connection: NodeConnection, guest: Guest) -> Denied | None:
        self._connection = connection
        claims = guest.claims
        here = claims.forwarded is None
        login, target = guest.account.name, self._target()
        granted = Granted(claims, login, target) if here else None
        terms = Terms(claims.identity, login, target, guest.access, claims.valid_before, here, granted)
        try:
            self._tenure = await self._tenures.enter(terms)
        except Denied as error:
            self.refusal = error
        except InterlockError as error:
            text = "the gateway cannot tell now how many connections you have: try again later"
            self.refusal = Denied(text, reason=error.reason)
        if self._tenure is not None and connection.alive:
            if self._timer is not None:  # of who was refused a moment ago
                self._timer.cancel()
            self._tenure.serve(Conduct(self.end, self._activity))
        elif self._tenure is not None:
            self.leave()
        elif self.refusal is not None:
            self._disconnect_later(LINGER_S, self.refusal.public)
        return self.refusal

    def linger(self, connection: NodeConnection, refusal: Denied) -> None:
        """Policy lets nobody in by this connection now; unless it does within `LINGER_S`, the connection ends."""
        self._connection = connection
        self._disconnect_later(LINGER_S, refusal.public)

    def judged_again(self, guest: Guest) -> None:
        """Policy was asked anew."""
        if self._tenure is not None:
            self._tenure.change(guest.access)

    def open_session(self, guest: Guest) -> None:
        """One more session, if there may be one; LimitReached otherwise."""
        limit = guest.access.max_sessions
        if limit is not None and guest.claims.forwarded is None and len(self._occupants()) >= limit:
            raise too_many_sessions(guest.claims.identity, limit)
        self._opened += 1

    def leave(self) -> None:
        """The connection is over. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.forwarded and connection.farewell not in ("", CLIENT_LEFT):
            self.ended_because = self.ended_because or connection.farewell
        if self._tenure is not None:
            self._tenure.leave()
        if self._timer is not None:
            self._timer.cancel()

    def _activity(self) -> int:
        return self._opened + self._forwards() + sum(each.activity for each in self._occupants())

    def end(self, why: Denied) -> None:
        """End the connection, and its sessions in words."""
        self.refusal = why
        self.ended_because = why.reason
        occupants = self._occupants()
        for each in occupants:
            each.terminate(why.public, reason=why.reason)
        self._disconnect_later(FAREWELL_S if occupants else 0.0, why.public)

    def _disconnect_later(self, delay: float, text: str) -> None:
        def disconnect() -> None:
            if self._connection is not None:
                with contextlib.suppress(OSError):
                    self._connection.disconnect(asyncssh.DISC_BY_APPLICATION, text)

        self._timer = asyncio.get_running_loop().call_later(delay, disconnect)
