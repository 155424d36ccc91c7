"""The channel of somebody who takes part in a session: between SSH and `services.sessions.parties`.

`Joined` is all of it but the wire, which is the proxy's or the node's. A shell on a channel is the way in; there
is nothing else on it. What arrives goes to `Parties.typed`, which decides what becomes of it.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Protocol

import asyncssh

from interlock.adapters.ssh.seams.patience import PatientServerChannel, Terminable
from interlock.adapters.ssh.seams.relayed import ClientLegConnection
from interlock.core.errors import Denied
from interlock.core.extensions import JOIN_MODE, JoinMode
from interlock.core.ids import SessionId
from interlock.domain.party import Participant, choose_mode
from interlock.domain.session import SessionContext, Window
from interlock.services.sessions.parties import Parties
from interlock.services.sessions.seats import Party

QUEUE = 64 * 1024
"""Bytes that may wait for a party's slow terminal; it is shown the screen anew when they have gone."""

FAILED = 254
"""Exit status of somebody who could not take part."""


class Shared(Protocol):
    """A live session of this daemon."""

    @property
    def sid(self) -> SessionId:
        """Its ID."""
        ...

    @property
    def ctx(self) -> SessionContext:
        """Whose it is."""
        ...

    @property
    def parties(self) -> Parties:
        """Who takes part."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """What was decided: which session, who, and in which modes they may take part."""

    session: Shared
    participant: Participant
    modes: tuple[JoinMode, ...]


class Joined(Terminable, ABC):
    """One party's end. `services.sessions.parties.Seat`."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._parties = place.session.parties
        self._party: Party | None = None  # once they take part
        self._window: Window | None = None
        self._wanted_mode = b""  # by the environment
        self._free = asyncio.Event()
        self._free.set()

    # the wire

    @abstractmethod
    def _send(self, data: bytes) -> None:
        """Send, or queue."""

    @abstractmethod
    def _finish(self, status: int) -> None:
        """End the channel behind what is queued."""

    @abstractmethod
    def _read(self, wanted: bool) -> None:
        """Go on or stop reading the channel."""

    @abstractmethod
    def _run(self, work: Coroutine[None, None, None]) -> None:
        """In a task of the connection."""

    # the seat

    @property
    def full(self) -> bool:
        """Whether the terminal takes no more for now."""
        return not self._free.is_set()

    async def taken(self) -> None:
        """Return when it does, or has gone."""
        await self._free.wait()

    def show(self, data: bytes) -> None:
        """Send to the party's terminal."""
        self._send(data)

    def listen(self, wanted: bool) -> None:
        """Go on, or stop for now, to bring what the party types."""
        self._read(wanted)

    def close(self, data: bytes, status: int) -> None:
        """Send the last bytes, and end."""
        self._send(data)
        self._finish(status)

    # what happens on the channel

    def sized(self, size: tuple[int, int, int, int]) -> None:
        """The terminal's first size, or another one."""
        if size[0] and size[1]:
            self._window = Window(size[0], size[1])
            if self._party is not None:
                self._parties.resized(self._party, self._window)

    def env_requested(self, name: bytes, value: bytes) -> bool:
        """The mode, for clients that can say it in no other way."""
        if name != JOIN_MODE or self._party is not None:
            return False
        self._wanted_mode = value
        return True

    def begin(self) -> None:
        """Take part."""
        try:
            participant = self._participant(self._wanted_mode.decode("ascii", "replace"))
            self._party = self._parties.enter(participant, self, self._window)
        except Denied as error:
            self.close(f"{error.public}\r\n".encode(), FAILED)
            return
        self._run(self._parties.attend(self._party))

    def _participant(self, wanted: str) -> Participant:
        participant = self._place.participant
        if not wanted:
            return participant
        try:
            mode = JoinMode(wanted)
        except ValueError:
            raise Denied(f"there is no mode {wanted[:32]!r}: peer, observer or moderator") from None
        owner = self._place.session.ctx.identity.user
        return replace(participant, mode=choose_mode(participant.user, self._place.modes, mode, owner=owner))

    def typed(self, data: bytes) -> None:
        """Input."""
        if self._party is not None:
            self._parties.typed(self._party, data)

    def force_terminate(self) -> None:
        """The request by which a moderator's client ends the session."""
        if self._party is not None:
            self._parties.force_terminate(self._party)

    def gone(self) -> None:
        """The channel is closed."""
        self._free.set()
        if self._party is not None:
            self._parties.leave(self._party)

    def pause_writing(self) -> None:
        """The terminal does not keep up."""
        self._free.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._free.set()


class PartySession(Joined, asyncssh.SSHServerSession[bytes]):
    """A party at the proxy, in a session that the proxy records."""

    def __init__(self, place: Place, connection: ClientLegConnection) -> None:
        super().__init__(place)
        self._connection = connection
        self._chan: PatientServerChannel | None = None  # from the confirmation to the close

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """Keep the channel."""
        if isinstance(chan, PatientServerChannel):
            self._chan = chan
            chan.set_write_buffer_limits(high=QUEUE, low=QUEUE // 4)

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is gone, with the connection or alone."""
        del exc
        self._chan = None
        self.gone()

    def pty_requested(
        self,
        term_type: str,  # noqa: ARG002
        term_size: tuple[int, int, int, int],
        term_modes: object,  # noqa: ARG002
    ) -> bool:
        """Note the size."""
        self.sized(term_size)
        return True

    def shell_requested(self) -> bool:
        """Take part, once."""
        return self._party is None

    def session_started(self) -> None:
        """Begin."""
        self.begin()

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        """The party's window changed."""
        self.sized((width, height, pixwidth, pixheight))

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Input."""
        del datatype
        self.typed(data)

    def eof_received(self) -> bool:
        """No more input; they may go on watching."""
        return True

    def _send(self, data: bytes) -> None:
        if self._chan is not None and not self._chan.is_closing():
            self._chan.write(data)

    def _finish(self, status: int) -> None:
        if self._chan is not None and not self._chan.is_closing():
            self._chan.exit(status)

    def _read(self, wanted: bool) -> None:
        if self._chan is not None:
            (self._chan.resume_reading if wanted else self._chan.pause_reading)()

    def _run(self, work: Coroutine[None, None, None]) -> None:
        self._connection.run(work)
