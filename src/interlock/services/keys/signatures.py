"""Signatures by people's SSH keys, of every type that a certificate may be for.

RFC 4253 §6.6, RFC 5656 §3.1.2, RFC 8332, RFC 8709, and OpenSSH's PROTOCOL.u2f for keys on hardware.
"""

import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from interlock.core.certificate import PublicKey, wanted_flags
from interlock.core.errors import RemoteProtocolError
from interlock.core.wire import Reader

_CURVES: dict[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    "ecdsa-sha2-nistp256": (ec.SECP256R1(), hashes.SHA256()),
    "ecdsa-sha2-nistp384": (ec.SECP384R1(), hashes.SHA384()),
    "ecdsa-sha2-nistp521": (ec.SECP521R1(), hashes.SHA512()),
}
_RSA: dict[str, hashes.HashAlgorithm] = {"rsa-sha2-256": hashes.SHA256(), "rsa-sha2-512": hashes.SHA512()}
_SK_ED25519, _SK_ECDSA = "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"


def is_signed(
    key: PublicKey,
    algorithm: str,
    signature: bytes,
    data: bytes,
    *,
    verified: bool = False,
    untouched: bool = False,
) -> bool:
    """Whether the key has signed the data. ``signature``: what follows the algorithm's name in its wire form.

    Not by SHA-1, and not by a security key that was not touched, unless it may be ``untouched``, or that has not
    verified its person, if it has to be ``verified``.
    """
    wanted = wanted_flags(verified=verified, untouched=untouched)
    try:
        _verify(key, algorithm, Reader(signature), data, wanted)
    except (InvalidSignature, RemoteProtocolError, ValueError):
        return False
    return True


def flags_of(key: PublicKey, signature: bytes) -> int | None:
    """The flags of a security key's signature, which is genuine; None: another key has signed."""
    if not key.on_hardware:
        return None
    reader = Reader(signature)
    reader.string()
    return reader.byte()


def _verify(key: PublicKey, algorithm: str, signature: Reader, data: bytes, flags: int) -> None:
    value = signature.string()
    match key.algorithm:
        case "ssh-ed25519":
            _expect(algorithm == key.algorithm)
            Ed25519PublicKey.from_public_bytes(key.fields[0]).verify(value, data)
        case "ssh-rsa":
            _expect(algorithm in _RSA)
            exponent, modulus = (int.from_bytes(each, "big") for each in key.fields)
            public = rsa.RSAPublicNumbers(exponent, modulus).public_key()
            size = (public.key_size + 7) // 8
            public.verify(value.rjust(size, b"\0"), data, padding.PKCS1v15(), _RSA[algorithm])
        case name if name in _CURVES:
            _expect(algorithm == name)
            curve, hashed = _CURVES[name]
            point = ec.EllipticCurvePublicKey.from_encoded_point(curve, key.fields[1])
            point.verify(_dss(value), data, ec.ECDSA(hashed))
        case name if name in (_SK_ED25519, _SK_ECDSA):
            _expect(algorithm == name)
            _verify_touched(key, value, signature, data, flags)
        case _:
            _expect(False)
    signature.end()


def _verify_touched(key: PublicKey, value: bytes, signature: Reader, data: bytes, wanted: int) -> None:
    flags = signature.byte()
    counter = signature.take(4)
    _expect(flags & wanted == wanted)
    application = hashlib.sha256(key.fields[-1]).digest()
    said = application + bytes([flags]) + counter + hashlib.sha256(data).digest()
    if key.algorithm == _SK_ED25519:
        Ed25519PublicKey.from_public_bytes(key.fields[0]).verify(value, said)
    else:
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.fields[1])
        point.verify(_dss(value), said, ec.ECDSA(hashes.SHA256()))


def _dss(value: bytes) -> bytes:
    """Two integers, as the library wants them."""
    reader = Reader(value)
    r, s = (int.from_bytes(reader.string(), "big") for _ in range(2))
    reader.end()
    return encode_dss_signature(r, s)


def _expect(fits: bool) -> None:
    if not fits:
        raise InvalidSignature
