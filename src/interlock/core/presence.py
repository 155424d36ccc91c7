"""The proof that a person is connected to a proxy now: their signed request to authenticate, taken apart.

A client that authenticates by key signs the connection's session identifier with its request (RFC 4252 §7). The
identifier is the hash of the first key exchange (RFC 4253 §7.2, §8), and what it was made of has the server's
KEXINIT in it, in whose cookie a proxy apart from auth has put auth's latest *beacon*. So whoever sees all of it
knows that the person has signed after the beacon was given, what they asked for, and which host key they saw.

Layout only; what is judged by it is `interlock.services.keys.presence`.
"""

from dataclasses import dataclass, field
from hashlib import new, sha256
from typing import Self

from interlock.core.errors import RemoteProtocolError
from interlock.core.wire import KEXINIT, Reader, string

BEACON = 10
"""Bytes of a beacon: what a cookie has beside the random part."""

COOKIE = 16
"""Bytes of a cookie (RFC 4253 §7.1)."""

MAX_PROOF = 64 * 1024
"""Bytes of everything in a proof. A hybrid key exchange and a certificate make some 7000."""

HASHES = ("sha256", "sha384", "sha512")
"""What the key exchanges that we offer hash with."""

_USERAUTH_REQUEST = 50


@dataclass(frozen=True, slots=True)
class Proof:
    """As it was captured, and as it travels."""

    hash_name: str
    exchanged: bytes = field(repr=False)  # what the session identifier is the hash of; the shared secret is in it
    request: bytes = field(repr=False)  # the USERAUTH_REQUEST up to its signature
    signature: bytes = field(repr=False)  # in wire form


@dataclass(slots=True, eq=False)
class Presence:
    """What a connection has to prove its person's presence with, until it was used or is of no use any more."""

    proof: Proof | None = None
    ticket: bytes = b""  # of auth: that the person has confirmed the connection with a second factor

    def forget(self) -> None:
        """It is several kilobytes, and the shared secret of a connection."""
        self.proof = None

    @property
    def session(self) -> bytes:
        """A digest of the session identifier; empty if there is nothing to prove."""
        proof = self.proof
        return b"" if proof is None else digest_of_session(new(proof.hash_name, proof.exchanged).digest())


NO_PRESENCE = Presence()
"""Where nothing has to be proven: in auth's own process, and on the wire."""


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What a proof says. Whether it is true, its signature says."""

    session_id: bytes
    beacon: bytes
    host_key: bytes  # as the client was shown it: a key or a certificate, in wire form
    user: str  # the SSH user name
    key: bytes  # of the person: a key or a certificate, in wire form
    signed: bytes  # what the signature is of
    algorithm: str  # of the signature
    signature: bytes  # behind the algorithm's name, with what security keys put behind it

    @classmethod
    def read(cls, proof: Proof) -> Self:
        """Take a proof apart; ValueError naming what is not as it must be."""
        if len(proof.exchanged) + len(proof.request) + len(proof.signature) > MAX_PROOF:
            msg = "it is too long"
            raise ValueError(msg)
        if proof.hash_name not in HASHES:
            msg = f"{proof.hash_name[:32]!r} is no hash of a key exchange"
            raise ValueError(msg)
        try:
            return cls._read(proof)
        except RemoteProtocolError as error:
            msg = f"it cannot be read: {error.reason}"
            raise ValueError(msg) from None

    @classmethod
    def _read(cls, proof: Proof) -> Self:
        exchanged = Reader(proof.exchanged)
        for _ in range(3):  # both versions, the client's KEXINIT
            exchanged.string()
        beacon = _beacon(exchanged.string())
        host_key = exchanged.string()
        session_id = new(proof.hash_name, proof.exchanged).digest()
        user, key = _request(proof.request)
        signature = Reader(proof.signature)
        algorithm, value = signature.text(), signature.rest()
        return cls(session_id, beacon, host_key, user, key, string(session_id) + proof.request, algorithm, value)


def digest_of_session(session_id: bytes) -> bytes:
    """What stands for a session identifier where it need not be known."""
    return sha256(session_id).digest()


def marked(cookie: bytes, beacon: bytes) -> bytes:
    """A cookie with a beacon in it, and with as much of its own randomness as there is room for."""
    return cookie[: COOKIE - BEACON] + beacon


def _beacon(kexinit: bytes) -> bytes:
    reader = Reader(kexinit)
    if reader.byte() != KEXINIT:
        msg = "there is no KEXINIT of the server in it"
        raise ValueError(msg)
    return reader.take(COOKIE)[COOKIE - BEACON :]


def _request(request: bytes) -> tuple[str, bytes]:
    """User name and key of a request by public key."""
    reader = Reader(request)
    if reader.byte() != _USERAUTH_REQUEST:
        msg = "what was signed is no request to authenticate"
        raise ValueError(msg)
    user, service, method, signed = reader.text(), reader.string(), reader.string(), reader.boolean()
    if (service, method, signed) != (b"ssh-connection", b"publickey", True):
        msg = f"it is a request for {service[:32]!r} by {method[:32]!r}"
        raise ValueError(msg)
    reader.string()  # the algorithm, which the signature repeats
    key = reader.string()
    reader.end()
    return user, key
