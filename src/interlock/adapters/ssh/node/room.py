"""Room for output: what a process writes is read into the places of packets that do not exist yet.

Between reading output, recording it, encrypting it in place and writing the packets nothing else happens, so that
one room is enough for a whole node. The places lie as far apart as full packets put them: heads, padding and tags
of a batch fit in between, and the batch is one write.
"""

import os
from collections.abc import Sequence
from struct import Struct

from interlock.adapters.ssh.cipher import PacketCipher
from interlock.core.wire import CHANNEL_DATA, CHANNEL_EXTENDED_DATA, EXTENDED_DATA_STDERR

PIECE = 32 * 1024
"""Bytes of data in a full packet, which is what OpenSSH takes on a channel without a terminal."""

PIECES = 8
"""Most packets of one batch, so that other sessions get their turn."""

_DATA_HEAD = Struct(">IBBII")  # packet_length, padding_length, type, recipient channel, bytes of data
_EXTENDED_HEAD = Struct(">IBBIII")  # the same with the data type
_LENGTH = 4
_MIN_PADDING = 4
_BLOCK = 16  # AES-GCM's; a multiple of what chacha20-poly1305 wants
_TAG = 16  # of both


def _padding(body: int) -> int:
    """Bytes of padding for ``body`` bytes, the padding length's own included (RFC 4253 §6)."""
    return _MIN_PADDING + -(body + _MIN_PADDING) % _BLOCK


_HEAD = _DATA_HEAD.size
_STRIDE = _HEAD + PIECE + _padding(_HEAD - _LENGTH + PIECE) + _TAG
_FIRST = _EXTENDED_HEAD.size  # where the first piece begins: a head of either kind fits before it

_packets = memoryview(bytearray(_FIRST - _HEAD + PIECES * _STRIDE))
_places = [_packets[at : at + PIECE] for at in range(_FIRST, len(_packets), _STRIDE)]


def room(size: int, largest: int) -> Sequence[memoryview]:
    """Where to read at most ``size`` bytes for a channel that takes ``largest`` in one packet."""
    if largest < PIECE or size <= PIECE:
        return (_places[0][: min(size, largest)],)
    whole, rest = divmod(size, PIECE)
    if whole >= PIECES:
        return _places
    return [*_places[:whole], _places[whole][:rest]] if rest else _places[:whole]


def filled(places: Sequence[memoryview], size: int) -> Sequence[memoryview]:
    """The first ``size`` bytes of them."""
    whole, rest = divmod(size, PIECE)
    if not rest:
        return places[:whole]
    return [*places[:whole], places[whole][:rest]]


def seal(pieces: Sequence[memoryview], recipient: int, sealer: PacketCipher, *, stderr: bool) -> memoryview:
    """The packets around pieces of the room that were filled; with ``stderr`` there is one piece only."""
    start = begin = _FIRST - (_EXTENDED_HEAD.size if stderr else _HEAD)
    for piece in pieces:
        size = len(piece)
        head = _EXTENDED_HEAD if stderr else _DATA_HEAD
        body = head.size - _LENGTH + size
        padding = _padding(body)
        if stderr:
            kind = (CHANNEL_EXTENDED_DATA, recipient, EXTENDED_DATA_STDERR, size)
        else:
            kind = (CHANNEL_DATA, recipient, size)  # type: ignore[assignment]
        head.pack_into(_packets, start, body + padding, padding, *kind)
        behind = start + head.size + size
        _packets[behind : behind + padding] = os.urandom(padding)
        end = behind + padding + _TAG
        sealer.seal(_packets, start, end)
        start = end
    return _packets[begin:start]
