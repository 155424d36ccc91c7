"""Narrow protocols: who certifies, and what keys are kept for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from interlock.core.ids import DaemonId
from interlock.domain.cluster import LeafPass
from interlock.domain.permit import Permit
from interlock.domain.signing import DaemonRole


@dataclass(frozen=True, slots=True)
class TargetCredential:
    """What the forwarder shows to a target: an OpenSSH user certificate for its own fresh public key."""

    certificate: str  # OpenSSH one-line form


class TargetIssuer(Protocol):
    """Auth, as the forwarder needs it. The permit is the seam for the proof of presence (design §4)."""

    async def issue_for_target(
        self, permit: Permit, public_key: str, *, records: bool, client_addr: str = ""
    ) -> TargetCredential:
        """Sign ``public_key`` (one line) for exactly this user, login and target, for minutes.

        ``client_addr``: host:port of the person's client, which our node is told; empty if it is not known.
        """
        ...


class LeafIssuer(Protocol):
    """Auth, as a forwarder needs it whose target is in a leaf cluster."""

    async def issue_for_leaf(
        self, granted: LeafPass, public_key: str, *, offers: bool, client_addr: str = ""
    ) -> TargetCredential:
        """Sign ``public_key`` (one line) for exactly this user, login and leaf, for minutes.

        ``offers``: this cluster's forwarder would record the sessions. ``client_addr``: as for a target.
        """
        ...


class HostIssuer(Protocol):
    """Auth, as SSH servers need it."""

    async def issue_host(self, public_key: str, principals: Sequence[str]) -> str:
        """A host certificate of the host CA, OpenSSH one-line form."""
        ...


class TunnelIssuer(Protocol):
    """Auth, as nodes that dial out need it."""

    async def issue_tunnel(self, public_key: str, node: DaemonId) -> str:
        """With this certificate the node, and nobody as a person, enters the proxy; OpenSSH one-line form."""
        ...


class Warranting(Protocol):
    """Auth, as daemons that record need it."""

    def warrant(self, daemon: DaemonId, role: DaemonRole, public: bytes) -> bytes:
        """Say whose the raw Ed25519 public key is with which recordings are signed. Denied if it is none."""
        ...


@dataclass(frozen=True, slots=True)
class RecordingTerms:
    """How a node is to record."""

    warrant: bytes  # for the key that it has shown; empty if it showed none
    recipients: tuple[str, ...] = ()  # for whom contents are encrypted; none: they are not


class TermsSource(Protocol):
    """Auth, as a node apart from it asks how to record."""

    async def recording_terms(self, public: bytes) -> RecordingTerms:
        """The terms now. ``public``: a raw Ed25519 public key that needs a warrant, or nothing."""
        ...


@dataclass(frozen=True, slots=True)
class DaemonCaKeys:
    """The X.509 authority of daemon identities, as it is stored (kind ``x509``)."""

    private_key: str  # PKCS#8 PEM
    certificate: str  # X.509 PEM, self-signed


class DaemonCaStore(Protocol):
    """Where the X.509 authority is kept, beside the SSH ones."""

    async def daemon_ca(self) -> DaemonCaKeys | None:
        """The stored authority; None before the first start."""
        ...

    async def keep_daemon_ca(self, keys: DaemonCaKeys) -> DaemonCaKeys:
        """Store the authority unless there is one already; returns the one that counts."""
        ...


@dataclass(frozen=True, slots=True)
class AuthorityKey:
    """One certificate authority's key pair as it is stored."""

    kind: str  # user, host or openssh
    private_key: str  # PEM, PKCS #8
    public: str  # OpenSSH one-line form
    created: datetime


class AuthorityStore(Protocol):
    """Private keys of the SSH certificate authorities."""

    async def ensure_authority(self, key: AuthorityKey) -> AuthorityKey:
        """Store the key unless one of its kind is there; the stored one. Safe when two daemons start at once."""
        ...

    async def authority(self, kind: str) -> AuthorityKey:
        """The key of this kind; NotFound if there is none yet."""
        ...
