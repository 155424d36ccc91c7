"""OpenSSH keys and certificates (PROTOCOL.certkeys) as bytes: layout only, no signing and no judging.

Ours rather than a library's, because the libraries at hand drop the application of security keys when they
re-encode one, accept an empty list of principals as "anybody", or read certificates more leniently than sshd.
"""

import binascii
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import Self

from interlock.core.errors import RemoteProtocolError
from interlock.core.wire import Reader, string, uint32

MAX_CERTIFICATE = 16 * 1024
"""Bytes of a certificate in wire form. Ours have about 700; OpenSSH's own limit is the packet."""

_CERT = "-cert-v01@openssh.com"

_FIELDS = {
    # how many strings make up the public key after its algorithm's name (an mpint is laid out as a string)
    "ssh-ed25519": 1,
    "ssh-rsa": 2,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "sk-ssh-ed25519@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
}
_LINE = re.compile(r"([a-z0-9@.-]{1,64})[ \t]+([A-Za-z0-9+/]+={0,2})(?:[ \t]+[^\r\n\x00]*)?")


class CertKind(Enum):
    """What a certificate is for; the value is the wire's."""

    USER = 1
    HOST = 2


def cert_algorithm(key_algorithm: str) -> str:
    """The name of the certificate format for keys of this algorithm."""
    return key_algorithm.removesuffix("@openssh.com") + _CERT


_KEY_ALGORITHM = {cert_algorithm(each): each for each in _FIELDS}


TOUCHED, VERIFIED = 1, 4
"""Flags of a security key's signature (OpenSSH's PROTOCOL.u2f): somebody has touched it, and it has verified its
person, by PIN or finger."""


def wanted_flags(*, verified: bool, untouched: bool) -> int:
    """The flags that a security key's signature has to have, by what its certificate or enrolment says."""
    return (0 if untouched else TOUCHED) | (VERIFIED if verified else 0)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A plain public key: never a certificate (R15)."""

    algorithm: str
    fields: tuple[bytes, ...]

    @property
    def on_hardware(self) -> bool:
        """Whether it is a security key's (OpenSSH's PROTOCOL.u2f)."""
        return self.algorithm.startswith("sk-")

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read a one-line key as in ``id_ed25519.pub``; ValueError if it is not exactly one plain key."""
        match = _LINE.fullmatch(line.strip())
        if match is None:
            msg = "not a public key in OpenSSH's one-line form"
            raise ValueError(msg)
        try:
            key = cls.from_blob(b64decode(match[2], validate=True))
        except binascii.Error:
            msg = "the public key is not valid base64"
            raise ValueError(msg) from None
        if key.algorithm != match[1]:
            msg = f"the key is called {match[1]} but is {key.algorithm}"
            raise ValueError(msg)
        return key

    @classmethod
    def from_blob(cls, blob: bytes) -> Self:
        """Read the wire form; ValueError for certificates, unknown algorithms and trailing bytes."""
        try:
            reader = Reader(blob)
            algorithm = reader.text()
            if algorithm not in _FIELDS:
                msg = f"keys of type {algorithm[:64]!r} are not supported"
                raise ValueError(msg)
            fields = tuple(reader.string() for _ in range(_FIELDS[algorithm]))
            reader.end()
        except RemoteProtocolError as error:
            msg = f"the public key is cut short or too long: {error.reason}"
            raise ValueError(msg) from None
        return cls(algorithm, fields)

    @property
    def blob(self) -> bytes:
        """The wire form."""
        return string(self.algorithm) + b"".join(map(string, self.fields))

    @property
    def fingerprint(self) -> str:
        """As ssh-keygen -l shows it."""
        return "SHA256:" + b64encode(sha256(self.blob).digest()).decode().rstrip("=")

    def line(self, comment: str = "") -> str:
        """The one-line form."""
        return f"{self.algorithm} {b64encode(self.blob).decode()} {comment}".rstrip()


@dataclass(frozen=True, slots=True)
class Certificate:
    """Everything that a certificate's signature covers. Times are seconds since 1970."""

    nonce: bytes
    key: PublicKey
    serial: int
    kind: CertKind
    key_id: str
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    critical_options: tuple[tuple[str, str | None], ...]  # None: a flag; sorted by name
    extensions: tuple[tuple[str, str | None], ...]
    authority: PublicKey

    def signed_part(self) -> bytes:
        """The bytes to be signed."""
        return b"".join(
            (
                string(cert_algorithm(self.key.algorithm)),
                string(self.nonce),
                *map(string, self.key.fields),
                _uint64(self.serial),
                uint32(self.kind.value),
                string(self.key_id),
                string(b"".join(map(string, self.principals))),
                _uint64(self.valid_after),
                _uint64(self.valid_before),
                string(_options(self.critical_options)),
                string(_options(self.extensions)),
                string(b""),
                string(self.authority.blob),
            )
        )

    def line(self, signature: bytes) -> str:
        """The one-line form with an Ed25519 signature of `signed_part`."""
        blob = self.signed_part() + string(string("ssh-ed25519") + string(signature))
        return f"{cert_algorithm(self.key.algorithm)} {b64encode(blob).decode()}"


@dataclass(frozen=True, slots=True)
class SignedCertificate:
    """A certificate as it came, not verified yet."""

    certificate: Certificate
    signed_part: bytes
    signature_algorithm: str
    signature: bytes

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Read the one-line form, of keys of all types; ValueError."""
        parts = line.split()
        if len(line.splitlines()) != 1 or len(parts) < 2:
            msg = "not a certificate in OpenSSH's one-line form"
            raise ValueError(msg)
        return cls.parse(b64decode(parts[1], validate=True))

    @classmethod
    def parse(cls, blob: bytes) -> Self:
        """Take a certificate apart; ValueError if anything is malformed, out of order, doubled or left over."""
        if len(blob) > MAX_CERTIFICATE:
            msg = "the certificate is too long"
            raise ValueError(msg)
        try:
            return cls._parse(blob)
        except RemoteProtocolError as error:
            msg = f"malformed certificate: {error.reason}"
            raise ValueError(msg) from None

    @classmethod
    def _parse(cls, blob: bytes) -> Self:
        reader = Reader(blob)
        name = reader.text()
        if name not in _KEY_ALGORITHM:
            msg = f"not a certificate: {name[:64]!r}"
            raise ValueError(msg)
        algorithm = _KEY_ALGORITHM[name]
        certificate = Certificate(
            nonce=reader.string(),
            key=PublicKey(algorithm, tuple(reader.string() for _ in range(_FIELDS[algorithm]))),
            serial=_read_uint64(reader),
            kind=CertKind(reader.uint32()),
            key_id=reader.text(),
            principals=_read_principals(reader.string()),
            valid_after=_read_uint64(reader),
            valid_before=_read_uint64(reader),
            critical_options=_read_options(reader.string()),
            extensions=_read_options(reader.string()),
            authority=_read_authority(reader),
        )
        rest = reader.rest()
        outer = Reader(rest)
        signature = Reader(outer.string())
        outer.end()
        algorithm_used, value = signature.text(), signature.string()
        signature.end()
        return cls(certificate, blob[: len(blob) - len(rest)], algorithm_used, value)


def _uint64(value: int) -> bytes:
    return value.to_bytes(8, "big")


def _read_uint64(reader: Reader) -> int:
    return int.from_bytes(reader.take(8), "big")


def _options(options: tuple[tuple[str, str | None], ...]) -> bytes:
    return b"".join(
        string(name) + string(b"" if value is None else string(value)) for name, value in sorted(options)
    )


def _read_principals(data: bytes) -> tuple[str, ...]:
    reader, size = Reader(data), 0
    principals: list[str] = []
    while size < len(data):
        principals.append(reader.text())
        size += 4 + len(principals[-1].encode())
    return tuple(principals)


def _read_options(data: bytes) -> tuple[tuple[str, str | None], ...]:
    reader, size, last = Reader(data), 0, ""
    options: list[tuple[str, str | None]] = []
    while size < len(data):
        name, raw = reader.text(), reader.string()
        if name <= last:
            msg = f"options are not in order or appear twice: {name[:64]!r}"
            raise ValueError(msg)
        last, size = name, size + 8 + len(name.encode()) + len(raw)
        options.append((name, _option_value(raw)))
    return tuple(options)


def _option_value(raw: bytes) -> str | None:
    if not raw:
        return None
    reader = Reader(raw)
    value = reader.text()
    reader.end()
    return value


def _read_authority(reader: Reader) -> PublicKey:
    if reader.string():
        msg = "the reserved field is not empty"
        raise ValueError(msg)
    return PublicKey.from_blob(reader.string())
