"""SFTP and scp conversations for tests, written as what passes in each direction."""

from collections.abc import Iterable, Iterator

from interlock.core.sides import Side
from interlock.core.transfer import messages
from interlock.core.transfer.observer import Observer
from interlock.core.transfer.operations import Operation
from interlock.core.wire import string, uint32

Step = tuple[Side, bytes]
"""Who says what."""


def uint64(value: int) -> bytes:
    """Eight bytes, big-endian."""
    return value.to_bytes(8, "big")


def packet(kind: int, *fields: bytes) -> bytes:
    """An SFTP packet: its type and what follows."""
    return string(bytes([kind]) + b"".join(fields))


class SftpTalk:
    """Builds a conversation; each method adds a packet. Requests get IDs from 1 on, replies name theirs."""

    def __init__(self, version: int = 3) -> None:
        self.version = version
        self.steps: list[Step] = []
        self._number = 0
        self.client(packet(messages.INIT, uint32(version)))
        self.target(packet(messages.VERSION, uint32(version)))

    def client(self, data: bytes) -> "SftpTalk":
        """The client says this."""
        self.steps.append((Side.CLIENT, data))
        return self

    def target(self, data: bytes) -> "SftpTalk":
        """The target says this."""
        self.steps.append((Side.TARGET, data))
        return self

    def ask(self, kind: int, *fields: bytes) -> int:
        """A request; returns its ID."""
        self._number += 1
        self.client(packet(kind, uint32(self._number), *fields))
        return self._number

    def status(self, number: int, code: int = 0) -> "SftpTalk":
        """An answer with a status."""
        text = string(f"words for {code}") + string("en")
        return self.target(packet(messages.STATUS, uint32(number), uint32(code), text))

    def handle(self, number: int, handle: bytes) -> "SftpTalk":
        """An answer with a handle."""
        return self.target(packet(messages.HANDLE, uint32(number), string(handle)))

    def data(self, number: int, data: bytes) -> "SftpTalk":
        """An answer with a file's contents."""
        return self.target(packet(messages.DATA, uint32(number), string(data)))

    # the requests that most conversations have

    def open(self, path: bytes, *, write: bool, handle: bytes = b"h") -> "SftpTalk":
        """Open a file, and it is."""
        return self.handle(self.ask(messages.OPEN, string(path), self.flags(write=write)), handle)

    def flags(self, *, write: bool) -> bytes:
        """What an OPEN has behind its path: to write a new file, or to read one."""
        attributes = uint32(0)
        if self.version >= 5:
            access, disposition = (0x2, 1) if write else (0x1, 2)
            return uint32(access) + uint32(disposition) + attributes + bytes([1])
        if self.version == 4:
            attributes += bytes([1])  # the type: regular
        return uint32(0x1A if write else 0x1) + attributes

    def write(self, offset: int, data: bytes, *, handle: bytes = b"h", code: int = 0) -> "SftpTalk":
        """Write, and get the status."""
        return self.status(self.ask(messages.WRITE, string(handle), uint64(offset), string(data)), code)

    def read(self, offset: int, size: int, *, handle: bytes = b"h") -> int:
        """Ask for contents; returns the ID."""
        return self.ask(messages.READ, string(handle), uint64(offset), uint32(size))

    def close(self, *, handle: bytes = b"h", code: int = 0) -> "SftpTalk":
        """Close, and get the status."""
        return self.status(self.ask(messages.CLOSE, string(handle)), code)


def play(observer: Observer, steps: Iterable[Step]) -> list[Operation]:
    """Show a conversation to an observer, to its end; what was told."""
    told: list[Operation] = []
    for side, data in steps:
        told += observer.feed(side, memoryview(bytearray(data)))
    return [*told, *observer.finish()]


def pieces(steps: Iterable[Step], sizes: Iterator[int]) -> Iterator[Step]:
    """The same conversation, cut into pieces of these sizes."""
    for side, data in steps:
        at = 0
        while at < len(data):
            size = next(sizes)
            yield side, data[at : at + size]
            at += size
