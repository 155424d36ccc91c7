"""A live session as the node's SSH server needs it, and when its client learns the ID: types only."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from interlock.adapters.ssh.node.refusals import Refusable
from interlock.core.errors import Denied, RecordingError
from interlock.core.ids import SessionId
from interlock.core.sides import Side
from interlock.domain.recording import Stream
from interlock.domain.session import Exit, Start, Window
from interlock.services.sessions.forwarding import Told
from interlock.services.sessions.parties import Parties


class Transfers(Protocol):
    """Sees what passes of a session that moves files."""

    def passing(self, side: Side, data: bytes) -> bytes:
        """Bytes from the client or from the process, which is the target here; what is to go on in their place."""
        ...


class Live(Refusable, Told, Protocol):
    """A session as `sessions.sessions` keeps it: recording, events and tracker, as far as they are our duty."""

    on_failure: Callable[[RecordingError], None] | None  # called when the session must end; set here
    on_forbidden: Callable[[Denied], None] | None  # the same, if the role demands that it ends
    on_lock: Callable[[Denied], None] | None  # called when a lock ends this very session; set here
    traffic: Callable[[], tuple[int, int]]  # bytes from and to the client so far; set here

    @property
    def sid(self) -> SessionId:
        """The agreed ID."""
        ...

    @property
    def parties(self) -> Parties:
        """Who else takes part."""
        ...

    @property
    def transfers(self) -> Transfers | None:
        """Who is to see what passes; None before the start, and if no files are moved or others record."""
        ...

    async def ready(self) -> None:
        """Wait until the command may run; InterlockError if it must not."""
        ...

    def start(self, start: Start) -> None:
        """The command is about to run; InterlockError if it must not."""
        ...

    def output(self, stream: Stream, data: bytes | memoryview) -> None:
        """The command wrote this."""
        ...

    def input(self, data: bytes | memoryview) -> None:
        """The client sent this to the command."""
        ...

    def resize(self, window: Window) -> None:
        """The terminal has another size."""
        ...

    def exited(self, ended: Exit) -> None:
        """How the command ended."""
        ...

    def end(self, *, tx: int, rx: int, reason: str = "") -> None:
        """The channel is over; ``reason`` is given when a side vanished or we ended it."""
        ...


@dataclass(frozen=True, slots=True)
class Announcement:
    """When the client is told the session's ID; neither for a node of old."""

    at_open: bool
    at_start: bool
