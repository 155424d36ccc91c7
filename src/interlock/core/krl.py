"""Key revocation lists as OpenSSH reads them (PROTOCOL.krl), for plain sshd's ``RevokedKeys``. Bytes only."""

from collections.abc import Collection, Sequence

from interlock.core.certificate import PublicKey
from interlock.core.wire import string, uint32

_MAGIC = b"SSHKRL\n\0"
_FORMAT = 1
_CERTIFICATES, _FINGERPRINTS = b"\x01", b"\x05"  # KRL_SECTION_CERTIFICATES, KRL_SECTION_FINGERPRINT_SHA256
_SERIALS = b"\x20"  # KRL_SECTION_CERT_SERIAL_LIST


def revocation_list(
    authorities: Sequence[PublicKey],
    serials: Collection[int],
    digests: Collection[bytes],
    *,
    version: int,
    made: int,
    comment: str = "",
) -> bytes:
    """A whole file.

    ``serials``: of certificates by any of these authorities. ``digests``: SHA-256 of public keys in wire form,
    certified ones or authorities'. ``version`` grows; ``made``: seconds since 1970. ValueError for a serial that
    is none: zero means in this format, as for ssh-keygen, that there is none.
    """
    if not all(0 < serial < 1 << 64 for serial in serials):
        msg = "a serial is a number of 64 bits that is not zero"
        raise ValueError(msg)
    flags, reserved = _uint64(0), string(b"")
    parts = [_MAGIC, uint32(_FORMAT), _uint64(version), _uint64(made), flags, reserved, string(comment)]
    if serials:
        listed = _SERIALS + string(b"".join(_uint64(serial) for serial in sorted(serials)))
        for authority in authorities:
            parts += [_CERTIFICATES, string(string(authority.blob) + string(b"") + listed)]
    if digests:
        parts += [_FINGERPRINTS, string(b"".join(string(digest) for digest in sorted(digests)))]
    return b"".join(parts)


def _uint64(value: int) -> bytes:
    return value.to_bytes(8, "big")
