"""The X.509 authority of the daemons: who may speak to auth, and as whom.

Separate from the SSH authorities on purpose: an SSH certificate opens hosts, one of these only opens auth's gRPC
service. A daemon's certificate names it by URIs (``interlock://CLUSTER/node/UUID`` or ``…/proxy/UUID``, and one
``interlock://CLUSTER/name/NAME`` per host name it registered when it joined); it has no DNS name, so that no
daemon can pass itself off as auth, and a node's has the client purpose only; proxies serve each other. Auth's own
certificate has the one DNS name that daemons insist on, and the server purpose only. RFC 5280 §4.2.1.6, §4.2.1.12.

Nothing here stores anything: keys come and go through `ports.DaemonCaStore`.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from urllib.parse import quote, unquote

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from interlock.core.errors import Denied, StoreError
from interlock.core.ids import DaemonId
from interlock.ports import DaemonCaKeys, DaemonCaStore, Entropy

AUTH_SERVER_NAME = "auth.interlock.internal"
"""The DNS name in auth's certificate, whatever address auth is reached at: the authority is the trust, not DNS."""

DAEMON_LIFE = timedelta(days=7)
"""A daemon that was away for longer than this has to join again."""

SERVER_LIFE = timedelta(days=30)
"""Life of auth's own certificate; a new one is made at every start and at half-life."""

AUTHORITY_LIFE = timedelta(days=365 * 20)

CLOCK_SKEW = timedelta(minutes=5)
"""How far behind auth's clock a daemon's may be."""

_SCHEME = "interlock"

_VOUCHED = b"interlock-daemon-authority\0"


class DaemonKind(Enum):
    """What a daemon apart from auth is; the value stands in its certificate."""

    NODE = "node"
    PROXY = "proxy"


_PURPOSES = {
    DaemonKind.NODE: (ExtendedKeyUsageOID.CLIENT_AUTH,),
    DaemonKind.PROXY: (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH),
}


@dataclass(frozen=True, slots=True)
class HostIdentity:
    """A daemon as its X.509 certificate vouches for it."""

    cluster: str
    id: DaemonId
    names: tuple[str, ...]  # host names that it may report and get SSH host certificates for
    kind: DaemonKind = DaemonKind.NODE
    issuer: str = ""  # pin of the authority that has signed it; empty: not asked


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A private key and the certificate for it, both PEM."""

    key: str
    certificate: str


class DaemonCa:
    """The authority with its key in memory."""

    def __init__(self, keys: DaemonCaKeys, *, cluster: str, entropy: Entropy) -> None:
        self._key = _load_key(keys.private_key)
        self._certificate = x509.load_pem_x509_certificate(keys.certificate.encode())
        self._cluster = cluster
        self._entropy = entropy
        self.certificate = keys.certificate
        self.pin = certificate_pin(keys.certificate)

    def issue_daemon(self, csr: bytes, identity: HostIdentity, *, now: datetime) -> str:
        """A client certificate, PEM, for the key of a DER certificate request (RFC 2986), which proves possession.

        What the request says about names counts for nothing: the identity is the caller's decision.
        """
        names = [_uri(identity.cluster, identity.kind.value, identity.id)]
        names += [_uri(identity.cluster, "name", name) for name in identity.names]
        public_key = _requested_key(csr)
        return self._issue(public_key, identity.id, names, _PURPOSES[identity.kind], DAEMON_LIFE, now)

    def secret(self, purpose: str) -> bytes:
        """A key that every auth of the cluster has and nobody else, 32 bytes, another one for each purpose."""
        raw = self._key.private_numbers().private_value.to_bytes(32)
        return hmac.digest(raw, f"interlock {purpose}".encode(), "sha256")

    def vouch(self, root: str) -> bytes:
        """This authority's word for the one, PEM, that takes its place: a signature, `daemonroots.vouches`."""
        return self._key.sign(root_statement(root), ec.ECDSA(hashes.SHA256()))

    def issue_server(self, *, now: datetime) -> KeyPair:
        """A new key and certificate for auth's listeners."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(AUTH_SERVER_NAME), _uri(self._cluster, "auth", "auth")]
        purposes = (ExtendedKeyUsageOID.SERVER_AUTH,)
        certificate = self._issue(key.public_key(), "auth", names, purposes, SERVER_LIFE, now)
        return KeyPair(_pem_key(key), certificate)

    def _issue(
        self,
        key: ec.EllipticCurvePublicKey,
        common_name: str,
        names: Sequence[x509.GeneralName],
        purposes: Sequence[x509.ObjectIdentifier],
        life: timedelta,
        now: datetime,
    ) -> str:
        authority = self._certificate.public_key()
        if not isinstance(authority, ec.EllipticCurvePublicKey):
            raise StoreError("the daemons' certificate authority has the wrong kind of key")
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
            .issuer_name(self._certificate.subject)
            .public_key(key)
            .serial_number(serial_number(self._entropy))
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(min(now + life, self._certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM).decode()


async def open_daemon_ca(store: DaemonCaStore, *, cluster: str, entropy: Entropy, now: datetime) -> DaemonCa:
    """The cluster's authority, made on the first call."""
    keys = await store.daemon_ca()
    if keys is None:
        keys = await store.keep_daemon_ca(create_authority(cluster, entropy=entropy, now=now))
    return DaemonCa(keys, cluster=cluster, entropy=entropy)


def create_authority(cluster: str, *, entropy: Entropy, now: datetime) -> DaemonCaKeys:
    """A new self-signed authority that may sign end certificates only (path length 0)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Interlock daemons of {cluster}"[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial_number(entropy))
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return DaemonCaKeys(_pem_key(key), certificate.public_bytes(serialization.Encoding.PEM).decode())


def certificate_pin(certificate: str) -> str:
    """SHA-256 over the DER form of a PEM certificate, base64url without padding; ValueError if it is none."""
    der = x509.load_pem_x509_certificate(certificate.encode()).public_bytes(serialization.Encoding.DER)
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def root_statement(root: str) -> bytes:
    """What is signed to vouch for an authority, PEM; ValueError if it is none. No certificate begins like this."""
    return _VOUCHED + x509.load_pem_x509_certificate(root.encode()).public_bytes(serialization.Encoding.DER)


def read_identity(certificate: str, *, cluster: str) -> HostIdentity:
    """Who a PEM certificate that TLS has verified speaks for; Denied if that is no daemon of this cluster."""
    parsed = x509.load_pem_x509_certificate(certificate.encode())
    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (x509.ExtensionNotFound, ValueError):
        uris = []
    parts = [_split(uri) for uri in uris]
    kinds = {kind.value: kind for kind in DaemonKind}
    ids = [(kinds[kind], value) for where, kind, value in parts if where == cluster and kind in kinds]
    if len(ids) != 1 or any(where != cluster for where, _kind, _value in parts):
        public = "this certificate does not name a daemon of this cluster"
        raise Denied(public, reason=f"{public}: {', '.join(uris)[:200] or 'no names at all'}")
    hosts = tuple(value for _where, kind, value in parts if kind == "name")
    kind, daemon = ids[0]
    return HostIdentity(cluster, DaemonId(daemon), hosts, kind)


def create_request(key: str) -> bytes:
    """The certificate request, DER, of a daemon for its PEM key; it carries the key and the proof, no name."""
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return request.sign(_load_key(key), hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def create_key() -> str:
    """A new EC P-256 private key, PKCS#8 PEM."""
    return _pem_key(ec.generate_private_key(ec.SECP256R1()))


def half_life(certificate: str) -> datetime:
    """The moment at which a PEM certificate is due for renewal."""
    parsed = x509.load_pem_x509_certificate(certificate.encode())
    return parsed.not_valid_before_utc + (parsed.not_valid_after_utc - parsed.not_valid_before_utc) / 2


def expiry(certificate: str) -> datetime:
    """The moment at which a PEM certificate stops being valid."""
    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc


def serial_number(entropy: Entropy) -> int:
    """A positive serial number of at most 159 random bits (RFC 5280 §4.1.2.2)."""
    return int.from_bytes(entropy.token(20)) >> 1 or 1


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _requested_key(csr: bytes) -> ec.EllipticCurvePublicKey:
    try:
        request = x509.load_der_x509_csr(csr)
        key = request.public_key()
        genuine = request.is_signature_valid
    except (ValueError, InvalidSignature, TypeError):
        raise Denied("the certificate request is malformed") from None
    if not genuine or not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise Denied("the certificate request is not signed by an EC P-256 key of its own")
    return key


def _load_key(pem: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise StoreError(
            "a daemon's private key is of the wrong kind", reason=f"not an EC key: {type(key).__name__}"
        )
    return key


def _pem_key(key: ec.EllipticCurvePrivateKey) -> str:
    pem, pkcs8, clear = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(pem, pkcs8, clear).decode()


def _uri(cluster: str, kind: str, value: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(f"{_SCHEME}://{quote(cluster, safe='')}/{kind}/{quote(value, safe='')}")


def _split(uri: str) -> tuple[str, str, str]:
    """Cluster, kind and value of one of our URIs; empty strings for any other."""
    scheme, _, rest = uri.partition("://")
    parts = rest.split("/")
    if scheme != _SCHEME or len(parts) != 3:
        return "", "", ""
    cluster, kind, value = (unquote(part) for part in parts)
    return cluster, kind, value
