"""The daemons' X.509 authorities as they change: which one certifies, which one auth shows, which ones count.

There is one, or two while one takes the other's place (`domain.rotation`). A daemon has the certificates of all of
them, its roots, as one PEM text. Certifying itself is `daemonca`.
"""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from interlock.core.errors import Denied, StoreError
from interlock.domain.rotation import AUTH_SHOWS_NEW, RotatedKind
from interlock.ports import AuthorityKey, DaemonCaKeys, DaemonCaStore, Entropy, KeyRingSource
from interlock.services.keys.daemonca import (
    DaemonCa,
    HostIdentity,
    certificate_pin,
    create_authority,
    open_daemon_ca,
    root_statement,
)

Secrets = Callable[[], Sequence[bytes]]
"""Keys that every auth of the cluster has: whatever is made is made with the first, and each of them counts."""

MAX_ROOTS = 8
"""Authorities of daemons at once, as far as anybody counts them."""

REMEMBERED = 4096
"""Certificates of which it is known by which authority they are."""

STALE = (
    "this daemon's certificate is by an authority that the cluster has replaced: it has to join again with a token"
)


class DaemonCas:
    """All of them with their keys in memory. Read by gRPC's threads too: what changes is replaced as one."""

    def __init__(self, ca: DaemonCa, ring: KeyRingSource | None = None, *, cluster: str, entropy: Entropy) -> None:
        """``ring``: where they are as they change; None: there is this one."""
        self._now = _Moment((ca,), ca, None)
        self._issuers: dict[str, str] = {}  # pins by certificates
        self._ring = ring
        self._seen: object = None
        self._cluster = cluster
        self._entropy = entropy

    @classmethod
    async def load(
        cls,
        store: DaemonCaStore,
        ring: KeyRingSource | None = None,
        *,
        cluster: str,
        entropy: Entropy,
        now: datetime,
    ) -> Self:
        """As they are now; the first one is made if there is none."""
        ca = await open_daemon_ca(store, cluster=cluster, entropy=entropy, now=now)
        made = cls(ca, ring, cluster=cluster, entropy=entropy)
        if ring is not None:
            await made._follow(ring)
        return made

    async def refresh(self) -> None:
        """Go by them as they are now; what was known last counts if that cannot be read."""
        if self._ring is not None:
            with contextlib.suppress(StoreError):
                await self._follow(self._ring)

    async def _follow(self, source: KeyRingSource) -> None:
        ring, kind = await source.keyring(), RotatedKind.DAEMON
        rotation = ring.rotations.get(kind)
        kept = [ring.current[kind.stored], *([ring.coming[kind.stored]] if rotation is not None else [])]
        seen = ([key.public for key in kept], rotation and rotation.phase)
        if seen == self._seen:
            return
        old, *coming = [self._open(key) for key in kept]
        new = coming[0] if coming else old
        signs = rotation is not None and rotation.signs_with_new
        shows = rotation is not None and rotation.phase in AUTH_SHOWS_NEW
        vouched = (old.certificate, old.vouch(new.certificate)) if shows else None
        trusted = dict.fromkeys((new, old) if signs else (old, new))
        self._now = _Moment(tuple(trusted), new if shows else old, vouched)
        self._issuers = {}
        self._seen = seen

    def _open(self, key: AuthorityKey) -> DaemonCa:
        keys = DaemonCaKeys(key.private_key, key.public)
        known = next((each for each in self._now.trusted if each.certificate == keys.certificate), None)
        return known or DaemonCa(keys, cluster=self._cluster, entropy=self._entropy)

    @property
    def shown(self) -> DaemonCa:
        """The one by which auth's own certificate is, and whose pin is in new join tokens."""
        return self._now.shown

    @property
    def vouched(self) -> tuple[str, bytes] | None:
        """The one that was shown before, PEM, and its word for the one that is shown: for older join tokens."""
        return self._now.vouched

    @property
    def roots(self) -> tuple[str, ...]:
        """All that count, PEM; first the one that certifies."""
        return tuple(each.certificate for each in self._now.trusted)

    def issue_daemon(self, csr: bytes, identity: HostIdentity, *, now: datetime) -> str:
        """`DaemonCa.issue_daemon`."""
        return self._now.trusted[0].issue_daemon(csr, identity, now=now)

    def secrets(self, purpose: str) -> Secrets:
        """Keys for a purpose, as they change: `DaemonCa.secret`."""
        return lambda: [each.secret(purpose) for each in self._now.trusted]

    def certified(self, certificate: str, identity: HostIdentity) -> HostIdentity:
        """The same with who has certified it; Denied if that does not count any more.

        TLS has verified the certificate, but maybe before the authorities changed.
        """
        issuers = self._issuers
        if certificate not in issuers:
            if len(issuers) >= REMEMBERED:
                issuers.clear()
            issuers[certificate] = issuer_pin(certificate, "".join(self.roots))
        known = replace(identity, issuer=issuers[certificate])
        self.check(known)
        return known

    def check(self, identity: HostIdentity) -> None:
        """Denied unless who has certified it still counts."""
        if identity.issuer not in {each.pin for each in self._now.trusted}:
            raise Denied(STALE, reason=f"{identity.kind.value} {identity.id} shows a certificate of before")


@dataclass(frozen=True, slots=True)
class _Moment:
    trusted: tuple[DaemonCa, ...]  # first the one that certifies
    shown: DaemonCa
    vouched: tuple[str, bytes] | None


def new_daemon_authority(cluster: str, *, entropy: Entropy, now: datetime) -> AuthorityKey:
    """One that is to take another's place."""
    keys = create_authority(cluster, entropy=entropy, now=now)
    return AuthorityKey(RotatedKind.DAEMON.stored, keys.private_key, keys.certificate, now)


def root_pins(roots: str) -> tuple[str, ...]:
    """The pins of a daemon's roots; none if they cannot be read."""
    return tuple(certificate_pin(each) for each in split_roots(roots))


def split_roots(roots: str) -> tuple[str, ...]:
    """Each of a daemon's roots, PEM; none if they cannot be read."""
    try:
        found = x509.load_pem_x509_certificates(roots.encode())
    except ValueError:
        return ()
    return tuple(each.public_bytes(serialization.Encoding.PEM).decode() for each in found)


def issuer_pin(certificate: str, roots: str) -> str:
    """The pin of the root that has signed a certificate, both PEM; empty if none of them has."""
    try:
        signed = x509.load_pem_x509_certificate(certificate.encode())
    except ValueError:
        return ""
    for root in split_roots(roots):
        with contextlib.suppress(ValueError, TypeError, InvalidSignature):
            signed.verify_directly_issued_by(x509.load_pem_x509_certificate(root.encode()))
            return certificate_pin(root)
    return ""


def vouches(before: str, signature: bytes, root: str) -> bool:
    """Whether the key of the authority ``before`` has given its word for ``root``, both PEM."""
    try:
        key = x509.load_pem_x509_certificate(before.encode()).public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            return False
        key.verify(signature, root_statement(root), ec.ECDSA(hashes.SHA256()))
    except (ValueError, InvalidSignature):
        return False
    return True


def said_roots(pins: Iterable[str]) -> str:
    """What a daemon says it trusts, as it is noted; nothing if it says more than there can be."""
    found = list(pins)
    plain = len(found) <= MAX_ROOTS and all(len(each) == 43 and each.isascii() for each in found)
    return " ".join(found) if plain else ""
