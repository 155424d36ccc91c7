"""The keys of a connection, for whoever reads and writes its packets in asyncssh's place."""

from dataclasses import dataclass

import asyncssh
from asyncssh.connection import SSHConnection
from asyncssh.encryption import BasicEncryption, ChachaEncryption, Encryption, ETMEncryption, GCMEncryption


@dataclass(frozen=True, slots=True)
class Keys:
    """One direction's cipher as the last key exchange left it."""

    encryption: Encryption
    block: int  # bytes that the encrypted part is padded to
    header: int  # how many bytes of length and padding-length fields count for the padding (RFC 4253 §6)
    mac: int  # bytes of the tag behind a packet; 0 if not known, which is so when sending
    aead: tuple[bytes, bytes] | None  # key and initial nonce of AES-GCM (RFC 5647)
    chacha: bytes  # both keys of chacha20-poly1305, that of the contents first; empty if it is another cipher
    strict: bool  # sequence numbers start at 0 with each new key (strict kex)


def _keys(encryption: Encryption | None, block: int, header: int, mac: int, *, strict: bool) -> Keys:
    if encryption is None:
        raise asyncssh.ProtocolError("no keys yet")
    aead = None
    if isinstance(encryption, GCMEncryption):
        aead = (encryption._cipher._key, encryption._cipher._iv)
    chacha = b""
    if isinstance(encryption, ChachaEncryption):
        chacha = encryption._cipher._key + encryption._cipher._adkey
    return Keys(encryption, block, header, mac, aead, chacha, strict)


class KeyedConnection(SSHConnection):
    """A connection that tells its keys."""

    @property
    def sequence(self) -> tuple[int, int]:
        """Sequence numbers of the next packets to be received and sent (RFC 4253 §6.4), as asyncssh counts."""
        return self._recv_seq, self._send_seq

    @property
    def receive_keys(self) -> Keys:
        """For what comes in."""
        cipher = self._recv_encryption
        header = 5 if isinstance(cipher, BasicEncryption) and not isinstance(cipher, ETMEncryption) else 1
        return _keys(cipher, self._recv_blocksize, header, self._recv_macsize, strict=self._strict_kex)

    @property
    def send_keys(self) -> Keys:
        """For what goes out."""
        return _keys(self._send_encryption, self._send_blocksize, self._send_enchdrlen, 0, strict=self._strict_kex)
