"""What all ciphers of packets share: which lengths are possible, and padding (RFC 4253 §6)."""

import os

from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.limits import MAX_PACKET

_MIN_PADDING = 4


def check_length(length: int, block: int, encrypted_head: int = 0) -> None:
    """RemoteProtocolError if no packet has this packet_length.

    ``encrypted_head``: bytes of the length field that are part of what is padded to blocks.
    """
    whole = length + encrypted_head
    if length > MAX_PACKET or whole < block or whole % block:
        raise RemoteProtocolError(Rule.OVERSIZED_PACKET, f"packet_length {length}")


def padded(payload: bytes, counted_header: int, block: int) -> bytes:
    """Padding length, payload and random padding; ``counted_header``: what counts for the blocks."""
    padding = -(counted_header + len(payload)) % block
    if padding < _MIN_PADDING:
        padding += block
    return b"".join((bytes([padding]), payload, os.urandom(padding)))
