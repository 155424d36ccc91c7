"""chacha20-poly1305@openssh.com in place, as OpenSSH's PROTOCOL.chacha20poly1305 has it.

Two keys: one hides the packet's length, so that it can be read before the packet is there; the other one's stream
gives in its first block the tag's key, and from the second on what hides the rest. Both streams begin anew with
each packet, whose sequence number is their nonce. The contexts are kept: to set one up costs more than to use it.
"""

import hmac
from struct import Struct

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.poly1305 import Poly1305

from interlock.adapters.ssh.framing import check_length, padded
from interlock.core.errors import RemoteProtocolError, Rule

_U32 = Struct(">I")
_NONCE = Struct(">QQ")  # a block counter of 0, and the sequence number
_LENGTH = 4
_TAG = 16
_TAG_KEY = 32
_BLOCK = 8
_ZEROS = bytes(64)  # one block of the stream
_SEQ_MASK = 0xFFFFFFFF


class ChachaCipher:
    """`cipher.PacketCipher` for one direction. ``key``: 64 bytes, that of the contents first."""

    __slots__ = ("_contents", "_first", "_length", "_lengths", "family", "seq")

    def __init__(self, key: bytes, seq: int) -> None:
        self.family = "chacha"
        self.seq = seq
        self._contents = Cipher(ChaCha20(key[:32], bytes(16)), None).encryptor()
        self._lengths = Cipher(ChaCha20(key[32:], bytes(16)), None).encryptor()
        self._first = memoryview(bytearray(len(_ZEROS)))  # of the packet's stream: the tag's key
        self._length = -1  # packet_length of the packet that is awaited; -1: not read yet

    def open(self, buffer: memoryview, start: int, end: int) -> int:
        """See `PacketCipher.open`."""
        body = start + _LENGTH
        if self._length < 0:
            if end < body:
                return 0
            self._read_length(buffer[start:body])
        tag_at = body + self._length
        after = tag_at + _TAG
        if after > end:
            return 0
        contents = self._begin()
        tag = Poly1305.generate_tag(self._first[:_TAG_KEY], buffer[start:tag_at])
        if not hmac.compare_digest(tag, buffer[tag_at:after]):
            raise RemoteProtocolError(Rule.BAD_MAC)
        contents.update_into(buffer[body:tag_at], buffer[body:tag_at])
        _U32.pack_into(buffer, start, self._length)
        self._length = -1
        self.seq = (self.seq + 1) & _SEQ_MASK
        return after

    def seal(self, buffer: memoryview, start: int, end: int) -> None:
        """See `PacketCipher.seal`."""
        body, tag_at = start + _LENGTH, end - _TAG
        self._hide_length(buffer[start:body], buffer[start:body])
        self._begin().update_into(buffer[body:tag_at], buffer[body:tag_at])
        buffer[tag_at:end] = Poly1305.generate_tag(self._first[:_TAG_KEY], buffer[start:tag_at])
        self.seq = (self.seq + 1) & _SEQ_MASK

    def frame(self, payload: bytes) -> bytes:
        """See `PacketCipher.frame`."""
        plain = padded(payload, 1, _BLOCK)
        packet = memoryview(bytearray(_LENGTH + len(plain) + _TAG))
        _U32.pack_into(packet, 0, len(plain))
        packet[_LENGTH:-_TAG] = plain
        self.seal(packet, 0, len(packet))
        return bytes(packet)

    def _begin(self) -> CipherContext:
        """Start the packet's stream, behind the block that gives the tag's key."""
        self._contents.reset_nonce(_NONCE.pack(0, self.seq))
        self._contents.update_into(_ZEROS, self._first)
        return self._contents

    def _read_length(self, hidden: memoryview) -> None:
        length = bytearray(_LENGTH)
        self._hide_length(hidden, length)
        value: int = _U32.unpack(length)[0]
        check_length(value, _BLOCK)
        self._length = value

    def _hide_length(self, length: memoryview, into: bytearray | memoryview) -> None:
        """Or read it, which is the same."""
        self._lengths.reset_nonce(_NONCE.pack(0, self.seq))
        self._lengths.update_into(length, into)
