"""The channel of somebody who takes part in a session that this node records; the gateway relays it."""

from collections.abc import Coroutine

from interlock.adapters.ssh.party import QUEUE, Joined, Place
from interlock.adapters.ssh.seams.node import NodeChannel, NodeConnection, NodeSession
from interlock.core.extensions import CURRENT_SESSION_ID
from interlock.core.wire import uint32


class NodePartySession(Joined, NodeSession):
    """One party."""

    def __init__(self, place: Place, connection: NodeConnection) -> None:
        super().__init__(place)
        self._connection = connection
        self._channel: NodeChannel | None = None  # from the confirmation to the close

    def connection_made(self, chan: object) -> None:
        """The channel is confirmed: name the session, which the forwarder waits for."""
        if isinstance(chan, NodeChannel):
            self._channel = chan
            chan.set_write_buffer_limits(high=QUEUE, low=QUEUE // 4)
            chan.announce(CURRENT_SESSION_ID, self._place.session.sid.encode())

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is gone, with the connection or alone."""
        del exc
        self._channel = None
        self.gone()

    def finished(self) -> None:
        """Everything was sent."""

    def pty_requested(
        self,
        term_type: str,  # noqa: ARG002
        term_size: tuple[int, int, int, int],
        term_modes: object,  # noqa: ARG002
    ) -> bool:
        """Note the size."""
        self.sized(term_size)
        return True

    def start_requested(self, kind: str, argument: bytes) -> bool:
        """A shell is the way in, once."""
        del argument
        if kind != "shell" or self._party is not None:
            return False
        self._connection.run(self._start())
        return True

    async def _start(self) -> None:
        if self._channel is not None:
            self._channel.answer(True)
            self.begin()

    def forwarding_requested(self, what: str, data: bytes) -> bool:
        """Refused, as everything else."""
        del what, data
        return False

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        """The party's window changed."""
        self.sized((width, height, pixwidth, pixheight))

    def data_received(self, data: bytes | memoryview, datatype: int | None) -> None:
        """Input."""
        del datatype
        self.typed(bytes(data))

    def eof_received(self) -> bool:
        """No more input; they may go on watching."""
        return True

    def _send(self, data: bytes) -> None:
        if self._channel is not None:
            self._channel.send(data)

    def _finish(self, status: int) -> None:
        if self._channel is not None:
            self._channel.finish(b"exit-status", uint32(status))

    def _read(self, wanted: bool) -> None:
        if self._channel is not None:
            (self._channel.resume_reading if wanted else self._channel.pause_reading)()

    def _run(self, work: Coroutine[None, None, None]) -> None:
        self._connection.run(work)
