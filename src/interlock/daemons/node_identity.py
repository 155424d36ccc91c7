"""The identity of a daemon apart from auth, on its disk: one file, whole or absent, readable by nobody else.

Everything that changes together is in it together: ID, keys, certificates, whom to trust and where auth is. A
node that has it starts without a token, and serves forwarded sessions even before auth answers.
"""

from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.core.certificate import PublicKey, SignedCertificate
from interlock.core.ids import DaemonId
from interlock.daemons.kept import KeptFile
from interlock.domain.signing import DaemonRole
from interlock.ports import TrustBundle
from interlock.services.keys.daemonca import KeyPair
from interlock.services.keys.daemonroots import issuer_pin, root_pins
from interlock.services.keys.joining import Renewed

FILE = "identity.json"

MAX_PINS = 16
"""Authorities that are remembered after they are gone."""


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Who this node, or proxy, is. The X.509 part is empty for a node in auth's own process."""

    id: DaemonId
    cluster: str
    names: tuple[str, ...]  # host names in its certificates
    host_key: str  # SSH private key, OpenSSH PEM
    host_certificate: str  # OpenSSH one-line form
    user_cas: tuple[str, ...]
    host_cas: tuple[str, ...]
    service: str = ""  # auth's service for daemons, host:port
    roots: str = ""  # the daemons' authorities, PEM; first the one that certifies
    key: str = ""  # PKCS#8 PEM
    certificate: str = ""  # PEM
    tunnel_certificate: str = ""  # of the host key, for the proxy's tunnel entrance; OpenSSH one-line form
    proxy: str = ""  # where it dials out to, host:port; empty: it is dialled
    join: str = ""  # auth's join listener, host:port, if it joined there
    cluster_id: str = ""
    pins: tuple[str, ...] = ()  # of all authorities that have ever certified it: join tokens of then are known
    removed: bool = False  # auth has said so: it has to join anew

    @property
    def pair(self) -> KeyPair:
        """What it shows to auth."""
        return KeyPair(self.key, self.certificate)

    @property
    def host_public_key(self) -> str:
        """The SSH host key that is certified, OpenSSH one-line form."""
        return public_line(self.host_key)

    @property
    def signed_by_others(self) -> bool:
        """Whether a certificate of its is not signed by the authority that signs now, which auth names first."""
        pairs = ((self.host_certificate, self.host_cas), (self.tunnel_certificate, self.user_cas))
        if any(_is_by_another(line, cas[0]) for line, cas in pairs if line and cas):
            return True
        return len(found := root_pins(self.roots)) > 1 and found[0] != issuer_pin(self.certificate, self.roots)

    @property
    def known_pins(self) -> tuple[str, ...]:
        """A join token with one of these is one of before this identity; another one leads elsewhere, or anew."""
        return (*self.pins, issuer_pin(self.certificate, self.roots))

    @property
    def trust(self) -> TrustBundle:
        """Whom it trusted last."""
        return TrustBundle(self.user_cas, self.host_cas)

    def trusting(self, bundle: TrustBundle) -> "NodeIdentity":
        """The same with other authorities, and other addresses of auth if it is not reached by a tunnel."""
        service = (bundle.service or self.service) if self.service else ""
        roots = ("".join(bundle.roots) or self.roots) if self.roots else ""
        return replace(self, user_cas=bundle.user_cas, host_cas=bundle.host_cas, service=service, roots=roots)

    def renewed(self, fresh: Renewed) -> "NodeIdentity":
        """The same with fresh certificates."""
        changed = replace(
            self,
            pins=tuple(dict.fromkeys(each for each in self.known_pins if each))[-MAX_PINS:],
            certificate=fresh.certificate,
            host_certificate=fresh.host_certificate,
            tunnel_certificate=fresh.tunnel_certificate,
        )
        return changed.trusting(fresh.trust)


class IdentityFile(KeptFile[NodeIdentity]):
    """``identity.json`` of a data directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / FILE, NodeIdentity, otherwise=" and join again with a new token")


class LocalAuth(Protocol):
    """Auth, as a node in its own process uses it."""

    async def issue_host(self, public_key: str, principals: Sequence[str]) -> str:
        """`ports.HostIssuer`."""
        ...

    async def trust(self) -> TrustBundle:
        """`ports.TrustSource`."""
        ...

    def warrant(self, daemon: DaemonId, role: DaemonRole, public: bytes) -> bytes:
        """`warrants.Warranting`."""
        ...


def create_host_key() -> str:
    """A new Ed25519 host key, OpenSSH PEM."""
    pem, openssh = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH
    return Ed25519PrivateKey.generate().private_bytes(pem, openssh, serialization.NoEncryption()).decode()


def public_line(host_key: str) -> str:
    """The public key of a private OpenSSH PEM key, one line."""
    key = serialization.load_ssh_private_key(host_key.encode(), password=None)
    openssh = serialization.Encoding.OpenSSH
    return key.public_key().public_bytes(openssh, serialization.PublicFormat.OpenSSH).decode()


def _is_by_another(certificate: str, authority: str) -> bool:
    """Whether the certificate names another authority; what cannot be read names none."""
    try:
        signed = SignedCertificate.parse(b64decode(certificate.split()[1]))
        return signed.certificate.authority != PublicKey.parse(authority)
    except (ValueError, IndexError):
        return False
