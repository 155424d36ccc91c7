"""What shows that a person is connected: the beacon that a connection carries, and the proof that comes of it.

asyncssh makes the KEXINIT and the exchange hash, and keeps neither what the hash was made of nor what was signed.
What `seams` says of itself is true of this module as well.
"""

from asyncssh.kex_dh import _KexDHBase
from asyncssh.packet import SSHPacketLogger, String

from interlock.adapters.ssh.seams.certificates import CertifiedConnection
from interlock.core.presence import NO_PRESENCE, Presence, Proof, marked
from interlock.core.wire import KEXINIT

_COOKIE = 16


class AttestedConnection(CertifiedConnection):
    """A server's connection that keeps what its client proves its presence with, if it carries a beacon."""

    beacon = b""  # set by the owner when the connection is made; empty: nobody will ask
    _exchanged: tuple[str, bytes] | None = None  # hash and what it is of, of the first key exchange
    _proof: Proof | None = None

    def send_packet(self, pkttype: int, *args: bytes, handler: SSHPacketLogger | None = None) -> None:
        """Put the beacon into the first KEXINIT, and let it be hashed as it was sent."""
        if pkttype == KEXINIT and self.beacon and not self._session_id:
            payload = b"".join(args)
            args = (marked(payload[:_COOKIE], self.beacon) + payload[_COOKIE:],)
            self._server_kexinit = bytes([KEXINIT]) + args[0]
        super().send_packet(pkttype, *args, handler=handler)

    def send_newkeys(self, k: bytes, h: bytes) -> None:
        """Keep what the session identifier is made of (RFC 4253 §8, RFC 5656 §4), until it is signed."""
        kex, key = self._kex, self.get_server_host_key()
        if self.beacon and not self._session_id and isinstance(kex, _KexDHBase) and key is not None:
            values = kex._gex_data + kex._format_client_key() + kex._format_server_key() + k
            exchanged = self.get_hash_prefix() + String(key.public_data) + values
            self._exchanged = kex._hash_alg().name, exchanged
        super().send_newkeys(k, h)

    def was_signed(self, request: bytes, signature: bytes) -> None:
        """Now there is a proof; of several, the last."""
        if self._exchanged is not None:
            self._proof = Proof(*self._exchanged, request, signature)

    def take_presence(self) -> Presence:
        """The proof of whoever has just signed. They may sign again, as somebody else, until they are admitted."""
        proof, self._proof = self._proof, None
        return NO_PRESENCE if proof is None else Presence(proof)

    def forget_exchange(self) -> None:
        """Nobody signs any more: keep nothing of what there was to prove with."""
        self._exchanged = self._proof = None
