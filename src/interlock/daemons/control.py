"""What the supervisor and its workers say to each other, over the socket pair between them.

Messages are small, of this program's own making, and between processes of one user; they are decoded strictly all
the same. That the pair is closed means that the other process is gone.
"""

import asyncio
import socket
from typing import Self

import msgspec

from interlock.core.errors import Denied, InterlockError, Locked, SignInFailed, StoreError
from interlock.daemons.config import Config
from interlock.domain.metrics import Reading

MAX_MESSAGE = 4 * 1024 * 1024
"""Bytes; the longest is a worker's `Begin`, which names every tunnel."""

_HEADER = 4


class Tunnel(msgspec.Struct, frozen=True, tag="tunnel"):
    """A node's tunnel has come to a worker, or is gone. To the supervisor, which tells the other workers."""

    node: str
    up: bool
    process: str = ""  # the worker's name; the supervisor knows it


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """To a worker, first: what it is."""

    config: Config
    data_dir: str
    process: str  # its name
    sockets: str  # the directory of all workers' sockets
    listeners: tuple[int, ...]  # descriptors that it has inherited
    workers: int  # in its generation
    slot: int  # its place there
    service: tuple[str, int]  # where auth's two listeners are
    join: tuple[str, int]
    tunnels: tuple[Tunnel, ...]  # that end at others
    data_key: bytes = b""  # what the cluster's keys are sealed by, if they are


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """To a worker: accept nobody any more, and end with the last session."""


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """To a worker: end now, in order."""

    text: str  # what people are told


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """From a worker: it accepts connections."""


class Source(msgspec.Struct, frozen=True, tag="source"):
    """From a worker: where somebody really is who reaches auth's join listener through it (`JoinSources`)."""

    bridge: str
    source: str  # empty: the bridge is closed


class SignIn(msgspec.Struct, frozen=True, tag="sign-in"):
    """From a worker: judge this password, and replace it if there is a new one."""

    number: int  # of the question
    user: str
    password: str
    source: str
    new: str | None = None
    code: str = ""  # of a second factor
    confirms: bool = False  # a connection: there is no password, a key was proven


class Measure(msgspec.Struct, frozen=True, tag="measure"):
    """To a worker: say what it has counted."""

    number: int  # of the question


class Measured(msgspec.Struct, frozen=True, tag="measured"):
    """The answer; without a question (number 0), what a worker that ends has counted in all."""

    number: int
    reading: Reading


class Verdict(msgspec.Struct, frozen=True, tag="verdict"):
    """The answer."""

    number: int
    result: str = ""  # a SignInResult
    device: str = ""  # `Identity.device`
    question: str = ""  # see `signin.Confirmation`
    prompt: str = ""
    waits: str = ""
    error: str = ""  # a key of `ERRORS`; empty: none
    public: str = ""
    reason: str = ""

    @classmethod
    def of(cls, number: int, error: InterlockError) -> Self:
        """A failure, as the worker will raise it."""
        kind = next(name for name, each in ERRORS.items() if isinstance(error, each))
        return cls(number, error=kind, public=error.public, reason=error.reason)

    def check(self) -> None:
        """Raise the error, if it is one."""
        if self.error:
            raise ERRORS.get(self.error, StoreError)(self.public, reason=self.reason)


ERRORS: dict[str, type[InterlockError]] = {
    "locked": Locked,
    "denied": Denied,
    "failed": SignInFailed,
    "store": InterlockError,
}
"""What a sign-in may end in, the most special first."""

ToWorker = Begin | Drain | Stop | Tunnel | Verdict | Measure
ToSupervisor = Ready | Tunnel | Source | SignIn | Measured

_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[ToWorker | ToSupervisor] = msgspec.json.Decoder(
    Begin | Drain | Stop | Tunnel | Verdict | Measure | Ready | Source | SignIn | Measured
)


class Control:
    """One end of the pair."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Self:
        """Use this socket, which belongs to the control from now on."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    def send(self, message: ToWorker | ToSupervisor) -> None:
        """Send soon; harmless if the other end is gone."""
        data = _ENCODER.encode(message)
        if not self._writer.is_closing():
            self._writer.write(len(data).to_bytes(_HEADER) + data)

    async def receive(self) -> ToWorker | ToSupervisor | None:
        """The next message; None once the other process is gone or says what makes no sense."""
        try:
            size = int.from_bytes(await self._reader.readexactly(_HEADER))
            if size > MAX_MESSAGE:
                return None
            return _DECODER.decode(await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, OSError, msgspec.MsgspecError):
            return None

    def close(self) -> None:
        """Close this end."""
        self._writer.close()
