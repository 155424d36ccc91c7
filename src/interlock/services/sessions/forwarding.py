"""What is forwarded on one connection, told as audit events that each have the ID of a session (R4).

A forward belongs to the session that its kind names (X11, the agent), else to the oldest session that runs on the
connection, else to a record of the connection's own: a session without command, which begins with the first thing
that belongs to no other and ends with the connection. Whatever is refused is told the same way.
"""

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from interlock.core.errors import InterlockError, RecordingError
from interlock.core.forward import LISTEN_PORT, LISTEN_SOCKET
from interlock.core.limits import FORWARD_REFUSALS_TOLD
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.coverage import Level
from interlock.domain.session import Exit, SessionKind, Start

RECORD_AFTER_S = 5.0
"""Seconds after which a connection without a session gets its record, if nothing was forwarded before (``-N``)."""

_COUNTED = "what passes through a forward is counted, not kept"

GRANTED = {"x11-req": Kind.X11, "auth-agent-req@openssh.com": Kind.AGENT}
"""Things granted within a session that have an event of their own."""


class Told(Protocol):
    """A session that may be told of what is forwarded; `services.sessions.live.LiveSession` is one."""

    on_failure: Callable[[RecordingError], None] | None
    traffic: Callable[[], tuple[int, int]]

    @property
    def started(self) -> bool:
        """Whether something runs, or ran, on it."""
        ...

    def start(self, start: Start) -> None:
        """It begins; InterlockError if it must not."""
        ...

    def tell(self, kind: Kind, fields: dict[str, JsonValue]) -> None:
        """Something happened that belongs to it."""
        ...

    def cover(self, what: str, level: Level, *, why: str = "", where: str = "") -> None:
        """Note in its manifest how much of something is kept."""
        ...

    def exited(self, ended: Exit) -> None:
        """How it ended."""
        ...

    def end(self, *, tx: int, rx: int, reason: str = "") -> None:
        """It is over."""
        ...


@dataclass(frozen=True, slots=True)
class Forward:
    """One forwarded channel, or something that listens; ``what`` is the name on the wire."""

    what: str
    address: str
    origin: str = ""

    @property
    def listens(self) -> bool:
        """Whether it is something that listens, over which nothing has passed yet."""
        return self.what in {LISTEN_PORT, LISTEN_SOCKET}

    def fields(self) -> dict[str, JsonValue]:
        """What all its events say."""
        fields: dict[str, JsonValue] = {"channel": self.what, "addr": self.address}
        if self.origin:
            fields["origin"] = self.origin
        return fields


class ForwardJournal:
    """The forwards of one connection. What tells of one raises InterlockError if it cannot be told.

    ``begin`` makes a session for the connection itself; ``running``: its sessions that have started, oldest first.
    """

    def __init__(
        self,
        *,
        begin: Callable[[], Told],
        running: Callable[[], Iterable[Told]],
        on_failure: Callable[[RecordingError], None],
    ) -> None:
        self._begin = begin
        self._running = running
        self._on_failure = on_failure
        self._record: Told | None = None
        self._open: dict[int, tuple[Told, Forward]] = {}
        self._sent = self._received = 0  # of forwards that have ended and belong to the record
        self._refusals = 0
        self._held: list[tuple[Kind, dict[str, JsonValue]]] = []  # of what listens, until it is clear whose it is
        self.served = False  # whether anything was told
        self._over = False  # set by end: what still comes belongs to nobody

    @property
    def holds(self) -> bool:
        """Whether something waits to be told of whoever it will belong to."""
        return bool(self._held)

    @property
    def record(self) -> Told | None:
        """The session of the connection itself, if there is one."""
        return self._record

    def opened(self, forward: int, what: Forward, session: Told | None = None) -> None:
        """It carries data from now on; ``session``: the one that its kind names."""
        if self._over:
            return
        owner = session or self._owner()
        owner.tell(Kind.PORT, what.fields() | {"success": True})
        owner.cover(what.what, Level.METADATA, why=_COUNTED, where=what.address)
        self._open[forward] = owner, what

    def closed(self, forward: int, *, sent: int, received: int) -> None:
        """It has ended; bytes from the client's view."""
        owner, what = self._open.pop(forward, (None, None))
        if owner is None or what is None:
            return
        if owner is self._record:
            self._sent += sent
            self._received += received
        owner.tell(Kind.PORT_CLOSED, what.fields() | {"success": True, "tx": sent, "rx": received})

    def failed(self, what: Forward, *, public: str, reason: str) -> None:
        """It was refused, here or there; not for ever on one connection."""
        self._refusals += 1
        if self._over or self._refusals > FORWARD_REFUSALS_TOLD:
            return
        last = " (later ones are not reported)" if self._refusals == FORWARD_REFUSALS_TOLD else ""
        fields = what.fields() | {"success": False, "error": reason + last, "message": public}
        if what.listens:
            self._hold(Kind.PORT_FAILURE, fields)
        else:
            self._owner().tell(Kind.PORT_FAILURE, fields)

    def listening(self, what: Forward) -> None:
        """The target listens for the client."""
        self._hold(Kind.PORT, what.fields() | {"success": True})

    def _hold(self, kind: Kind, fields: dict[str, JsonValue]) -> None:
        """ssh asks for ``-R`` before it opens its session, to which this then belongs."""
        if self._over:
            return
        self._held.append((kind, fields))
        if self._record is not None or any(True for _ in self._running()):
            self._owner()

    def session_began(self) -> None:
        """A session of the connection runs now."""
        if self._held:
            self._owner()

    def ensure_record(self) -> None:
        """The connection stays, without a session or with something that listens: that belongs to somebody."""
        if self._held or not (self.served or any(True for _ in self._running())):
            self._owner()

    def end(self, reason: str = "") -> None:
        """The connection is over; ``reason`` if something went wrong. Its forwards have ended before."""
        if self._held:
            with contextlib.suppress(InterlockError):  # the log says why
                self._owner()
        self._over = True
        if self._record is not None:
            record, self._record = self._record, None
            record.exited(Exit(status=0) if not reason else Exit(error=reason))
            record.end(tx=self._sent, rx=self._received, reason=reason)

    def _owner(self) -> Told:
        self.served = True
        owner = self._record or next(iter(self._running()), None)
        if owner is None:
            owner = self._record = self._begun()
        held, self._held = self._held, []
        for kind, fields in held:
            owner.tell(kind, fields)
        return owner

    def _begun(self) -> Told:
        record = self._begin()
        record.on_failure = self._on_failure
        record.traffic = lambda: (self._sent, self._received)
        record.start(Start(SessionKind.CONNECTION))
        return record
