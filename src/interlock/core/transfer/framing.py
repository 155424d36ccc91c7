"""Cuts one direction of an SFTP stream into packets, without keeping more of any than its head.

A packet (draft-ietf-secsh-filexfer-02 §3) is a length, a type, in all but two an ID, and then what the type says.
What follows the head is either contents of a file, which are shown as they pass, or of no interest.
"""

from collections.abc import Callable, Mapping
from struct import Struct

from interlock.core.limits import MAX_SFTP_HANDLE, MAX_SFTP_HEAD, MAX_SFTP_PACKET
from interlock.core.transfer import messages
from interlock.core.transfer.operations import NotFollowed

Sink = Callable[[memoryview], None]
"""Is shown the contents of a file, in pieces that are valid only during the call."""

Take = Callable[[int, bytearray], tuple[int, Sink | None]]
"""Reads a packet's head, given its type; returns how many bytes of contents follow, and who is shown them."""

_U32 = Struct(">I")
_LENGTH = 4
_SHORTEST = 5  # a type and an ID or a version
_HANDLE_AT = _LENGTH + 9  # of a WRITE: behind type, ID and the handle's length
_WRITE_REST = 12  # offset and length of the data


class Framer:
    """Feed it pieces of any size; it calls ``take`` once per packet, as soon as the head is there."""

    def __init__(self, heads: Mapping[int, int], take: Take) -> None:
        self._heads = heads  # by type: how much of a packet, without its length, is its head
        self._take = take
        self._head = bytearray()
        self._want = _LENGTH + _SHORTEST
        self._contents = 0  # bytes still to come for the sink
        self._sink: Sink | None = None
        self._rest = 0  # bytes to pass over behind them
        self.piece = memoryview(b"")  # what is being fed; valid during `feed`
        self.begins_at = -1  # where the type of the packet being read is in the piece; -1: in one before

    @property
    def unread(self) -> int | None:
        """The type of a packet whose head is not complete; None between heads."""
        return self._head[_LENGTH] if len(self._head) > _LENGTH else None

    def feed(self, piece: memoryview) -> None:
        """The next bytes. NotFollowed: they cannot be what they should be, or go beyond a bound."""
        self.piece = piece
        self.begins_at = -1
        at, end = 0, len(piece)
        try:
            while at < end:
                if self._contents:
                    passed = min(self._contents, end - at)
                    if self._sink is not None:
                        self._sink(piece[at : at + passed])
                    self._contents -= passed
                elif self._rest:
                    passed = min(self._rest, end - at)
                    self._rest -= passed
                else:
                    passed = self._read_head(at, end)
                at += passed
        finally:
            self.piece = memoryview(b"")

    def _read_head(self, at: int, end: int) -> int:
        """Take what is missing of the head, or what there is of it."""
        had = len(self._head)
        if (
            not had and end - at >= _HANDLE_AT
        ):  # what tells how long the head is lies here: it is taken in one step
            self.begins_at = at + _LENGTH
            self._want = want = self._wanted(self.piece[at : at + _HANDLE_AT])
            if end - at >= want:
                self._head += self.piece[at : at + want]
                self._complete()
                return want
        passed = min(self._want - had, end - at)
        if had <= _LENGTH:
            self.begins_at = at + _LENGTH - had if had + passed > _LENGTH else -1
        self._head += self.piece[at : at + passed]
        if len(self._head) == self._want:
            self._want = self._wanted(self._head)
            if self._want == len(self._head):
                self._complete()
        return passed

    def _wanted(self, head: bytearray | memoryview) -> int:
        """How long the head is, as far as what is there of it tells."""
        length: int = _U32.unpack_from(head)[0]
        if not _SHORTEST <= length <= MAX_SFTP_PACKET:
            raise NotFollowed(f"a packet of {length} bytes")
        kind = head[_LENGTH]
        if kind != messages.WRITE or kind not in self._heads:
            return _LENGTH + min(length, self._heads.get(kind, _SHORTEST))
        if len(head) < _HANDLE_AT:
            size = _HANDLE_AT
        else:
            handle: int = _U32.unpack_from(head, _HANDLE_AT - _LENGTH)[0]
            if handle > MAX_SFTP_HANDLE:
                raise NotFollowed(f"a handle of {handle} bytes")
            size = _HANDLE_AT + handle + _WRITE_REST
        if size > _LENGTH + length:
            raise NotFollowed("a write without data")
        return size

    def _complete(self) -> None:
        (length,) = _U32.unpack_from(self._head)
        self._contents, self._sink = self._take(self._head[_LENGTH], self._head)
        self._rest = _LENGTH + length - len(self._head) - self._contents
        if self._rest < 0:
            raise NotFollowed("more data than the packet has")
        self._head.clear()
        self._want = _LENGTH + _SHORTEST


REQUEST_HEADS: Mapping[int, int] = dict.fromkeys(messages.READ_WHOLE, MAX_SFTP_HEAD) | {messages.WRITE: 1}
"""Of what the client sends: what names files is kept until complete; the head of a WRITE tells its own length."""

REPLY_HEADS: Mapping[int, int] = {
    messages.STATUS: 13,  # with the code, and the length of the text
    messages.HANDLE: 9 + MAX_SFTP_HANDLE,
    messages.DATA: 9,  # with the data's length
}
"""Of what the target sends."""
