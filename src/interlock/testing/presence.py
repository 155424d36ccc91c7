"""Proofs of presence as an honest client and proxy make them, for tests to alter: what was signed, and by whom."""

import hashlib
import os
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from interlock.core.presence import Proof, marked
from interlock.core.wire import boolean, string
from interlock.testing.agent import SecurityKey

_KEXINIT, _USERAUTH_REQUEST = 20, 50


@dataclass(frozen=True, slots=True)
class Connecting:
    """One client that authenticates. Each field is what it says, or what the proxy has shown to it."""

    user: str  # the SSH user name
    shown: bytes  # the person's certificate or key, in wire form
    key: Ed25519PrivateKey  # the person's
    beacon: bytes  # in the server's cookie
    host_key: bytes  # of the server: key or certificate, in wire form
    hash_name: str = "sha256"
    service: str = "ssh-connection"
    method: str = "publickey"
    algorithm: str = "ssh-ed25519-cert-v01@openssh.com"
    token: SecurityKey | None = None  # signs in the key's place
    salt: bytes = field(default_factory=lambda: os.urandom(32))  # what makes every key exchange another one

    @property
    def exchanged(self) -> bytes:
        """What the session identifier is the hash of (RFC 5656 §4)."""
        lists = string("curve25519-sha256") + string("ssh-ed25519") + bytes(8 * 4 + 5)
        client = bytes([_KEXINIT]) + self.salt[:16] + lists
        server = bytes([_KEXINIT]) + marked(self.salt[:16], self.beacon) + lists
        parts = (b"SSH-2.0-Test", b"SSH-2.0-Interlock", client, server, self.host_key, self.salt, self.salt)
        return b"".join(map(string, parts)) + string(self.salt)

    @property
    def request(self) -> bytes:
        """What is signed behind the session identifier (RFC 4252 §7)."""
        said = string(self.user) + string(self.service) + string(self.method) + boolean(True)
        return bytes([_USERAUTH_REQUEST]) + said + string(self.algorithm) + string(self.shown)

    def prove(self, *, by: Ed25519PrivateKey | None = None) -> Proof:
        """What the proxy keeps of it. ``by``: another key signs."""
        session_id = hashlib.new(self.hash_name, self.exchanged).digest()
        signed = string(session_id) + self.request
        if self.token is not None:
            return Proof(self.hash_name, self.exchanged, self.request, self.token.sign(signed))
        value = (by or self.key).sign(signed)
        return Proof(self.hash_name, self.exchanged, self.request, string("ssh-ed25519") + string(value))


def public_blob(key: Ed25519PrivateKey) -> bytes:
    """The public key in wire form."""
    return string("ssh-ed25519") + string(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
