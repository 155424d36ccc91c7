"""Packet ciphers of the relay: decrypt and encrypt one SSH packet in place (RFC 4253 §6).

A relayed packet is decrypted where it was read, looked at, and encrypted again in the same place for the
other leg, if both legs' ciphers frame packets alike; nothing is copied. AES-GCM (RFC 5647) is ours because
it is what fast connections use, and ChaCha20 (`chacha`) because it is OpenSSH's own first choice. Every other
cipher takes the same road through asyncssh's objects.
"""

from struct import Struct
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from interlock.adapters.ssh.chacha import ChachaCipher
from interlock.adapters.ssh.framing import check_length, padded
from interlock.adapters.ssh.seams.keys import Keys
from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.limits import MAX_PACKET

_U32 = Struct(">I")
_LENGTH = 4
_GCM_TAG = 16
_GCM_BLOCK = 16
_SEQ_MASK = 0xFFFFFFFF
_COUNTER_MASK = 0xFFFFFFFFFFFFFFFF
_read_u32 = _U32.unpack_from


class PacketCipher(Protocol):
    """One direction of one leg, from one NEWKEYS to the next."""

    family: str
    """Ciphers of one family make packets of the same length and layout; empty: of none."""

    @property
    def seq(self) -> int:
        """The sequence number of the next packet (RFC 4253 §6.4)."""
        ...

    def open(self, buffer: memoryview, start: int, end: int) -> int:
        """Decrypt the packet that begins at ``start``, in place, and return where it ends; 0 if it is incomplete.

        The four bytes at ``start`` are then its packet_length in the clear. RemoteProtocolError if it is
        too long or damaged.
        """
        ...

    def seal(self, buffer: memoryview, start: int, end: int) -> None:
        """Encrypt in place a packet of the same family that `open` found between ``start`` and ``end``."""
        ...

    def frame(self, payload: bytes) -> bytes:
        """A new packet around ``payload``, with random padding."""
        ...


def make_cipher(keys: Keys, seq: int) -> PacketCipher:
    """The cipher for the keys of one direction."""
    if keys.aead is not None:
        return GcmCipher(*keys.aead, seq)
    if keys.chacha:
        return ChachaCipher(keys.chacha, seq)
    return LibraryCipher(keys, seq)


class GcmCipher:
    """AES-GCM: the length is authenticated but not encrypted, the nonce counts packets (RFC 5647 §7)."""

    __slots__ = ("_counter", "_decrypt", "_encrypt", "_encrypt_new", "_first_seq", "_fixed", "_start", "family")

    def __init__(self, key: bytes, nonce: bytes, seq: int) -> None:
        self.family = "gcm"
        aead = AESGCM(key)
        self._encrypt, self._decrypt, self._encrypt_new = aead.encrypt_into, aead.decrypt_into, aead.encrypt
        self._fixed = nonce[:4]
        self._start = self._counter = int.from_bytes(nonce[4:], "big")
        self._first_seq = seq

    @property
    def seq(self) -> int:
        """See `PacketCipher.seq`: the nonce counts packets already."""
        return (self._first_seq + self._counter - self._start) & _SEQ_MASK

    def open(self, buffer: memoryview, start: int, end: int) -> int:
        """See `PacketCipher.open`."""
        body = start + _LENGTH
        if body > end:
            return 0
        length: int = _read_u32(buffer, start)[0]
        tag = body + length
        after = tag + _GCM_TAG
        if after > end:
            check_length(length, _GCM_BLOCK)
            return 0
        counter = self._counter
        self._counter = (counter + 1) & _COUNTER_MASK
        nonce = self._fixed + counter.to_bytes(8, "big")
        try:
            self._decrypt(nonce, buffer[body:after], buffer[start:body], buffer[body:tag])
        except InvalidTag:
            raise RemoteProtocolError(Rule.BAD_MAC) from None
        if length % _GCM_BLOCK or not _GCM_BLOCK <= length <= MAX_PACKET:
            check_length(length, _GCM_BLOCK)
        return after

    def seal(self, buffer: memoryview, start: int, end: int) -> None:
        """See `PacketCipher.seal`."""
        counter = self._counter
        self._counter = (counter + 1) & _COUNTER_MASK
        nonce, body = self._fixed + counter.to_bytes(8, "big"), start + _LENGTH
        self._encrypt(nonce, buffer[body : end - _GCM_TAG], buffer[start:body], buffer[body:end])

    def frame(self, payload: bytes) -> bytes:
        """See `PacketCipher.frame`."""
        plain = padded(payload, 1, _GCM_BLOCK)
        length = len(plain).to_bytes(_LENGTH, "big")
        counter = self._counter
        self._counter = (counter + 1) & _COUNTER_MASK
        return length + self._encrypt_new(self._fixed + counter.to_bytes(8, "big"), plain, length)


class LibraryCipher:
    """Any cipher of asyncssh."""

    __slots__ = ("_block", "_encryption", "_first", "_header", "_length", "_mac", "family", "seq")

    def __init__(self, keys: Keys, seq: int) -> None:
        self.family = ""
        self.seq = seq
        self._encryption = keys.encryption
        self._block = keys.block
        self._header = keys.header
        self._mac = keys.mac
        self._first = b""  # the first block, decrypted once although the packet was incomplete then
        self._length = 0  # its packet_length

    def open(self, buffer: memoryview, start: int, end: int) -> int:
        """See `PacketCipher.open`."""
        if not self._first:
            if end - start < self._block:
                return 0
            raw = bytes(buffer[start : start + self._block])
            self._first, length = self._encryption.decrypt_header(self.seq, raw, _LENGTH)
            self._length = int.from_bytes(length, "big")
            check_length(self._length, self._block, self._header - 1)
        after = start + _LENGTH + self._length + self._mac
        if after > end:
            return 0
        rest = bytes(buffer[start + self._block : after - self._mac])
        mac = bytes(buffer[after - self._mac : after])
        plain = self._encryption.decrypt_packet(self.seq, self._first, rest, _LENGTH, mac)
        if not plain:
            raise RemoteProtocolError(Rule.BAD_MAC)
        self._first = b""
        self.seq = (self.seq + 1) & _SEQ_MASK
        _U32.pack_into(buffer, start, self._length)
        buffer[start + _LENGTH : start + _LENGTH + self._length] = plain
        return after

    def seal(self, buffer: memoryview, start: int, end: int) -> None:
        """See `PacketCipher.seal`."""
        (length,) = _U32.unpack_from(buffer, start)
        buffer[start:end] = self._packet(bytes(buffer[start + _LENGTH : start + _LENGTH + length]))

    def frame(self, payload: bytes) -> bytes:
        """See `PacketCipher.frame`."""
        return self._packet(padded(payload, self._header, self._block))

    def _packet(self, plain: bytes) -> bytes:
        packet, mac = self._encryption.encrypt_packet(self.seq, len(plain).to_bytes(_LENGTH, "big"), plain)
        self.seq = (self.seq + 1) & _SEQ_MASK
        return packet + mac
