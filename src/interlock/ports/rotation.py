"""Narrow protocols: authorities whose keys change, and which daemon has heard of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from interlock.core.ids import DaemonId
from interlock.domain.rotation import Phase, RotatedKind, Rotation
from interlock.ports.evidence import Sign
from interlock.ports.issuing import AuthorityKey


@dataclass(frozen=True, slots=True)
class FormerLine:
    """A key that was replaced, of an authority that signs what is kept."""

    public: str  # OpenSSH one-line form
    until: datetime


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All authorities at one moment."""

    current: Mapping[str, AuthorityKey]  # by kind
    coming: Mapping[str, AuthorityKey]  # of those that are rotated
    rotations: Mapping[RotatedKind, Rotation]
    former: Mapping[str, tuple[FormerLine, ...]] = field(default_factory=dict)  # by kind, newest first


class KeyRingSource(Protocol):
    """The authorities as they change."""

    async def keyring(self) -> KeyRing:
        """As they are now."""
        ...


class RotationStore(KeyRingSource, Protocol):
    """The same as administrators change them. Each call is one transaction."""

    async def begin_rotation(self, rotation: Rotation, key: AuthorityKey) -> None:
        """Keep the new key; Denied if a rotation of this authority is under way."""
        ...

    async def move_rotation(self, rotation: Rotation, before: Phase) -> None:
        """Store its new phase, and at its end put the new key in the old one's place, or drop it.

        Denied if it is not in the phase ``before`` any more.
        """
        ...


@dataclass(frozen=True, slots=True)
class LastWord:
    """What the audit log's key signs when another one takes its place, and that one instead of it."""

    checkpoint: Sign  # by the old key
    cut: Callable[[str, bytes], bytes | None]  # body and signature: the new key's; None: it was not the old one's


class SuccessionStore(Protocol):
    """Keys that sign what is kept."""

    async def succeed(self, before: AuthorityKey, key: AuthorityKey, last_word: LastWord | None) -> None:
        """Put the key in the place of the one before, whose public key is kept; all of it is one transaction.

        Denied if that one has been replaced meanwhile.
        """
        ...


@dataclass(frozen=True, slots=True)
class Heard:
    """What one daemon apart has been told last."""

    daemon: DaemonId
    trust: str  # `TrustBundle.digest`
    signer: str  # `TrustBundle.signers` at the time when its certificates were signed; empty: not known
    at: datetime
    roots: str = ""  # pins of the X.509 authorities that it trusts, by spaces; `NO_ROOTS`; empty: not known
    issuer: str = ""  # pin of the one by which the certificate is that it showed; empty: not known


NO_ROOTS = "none"
"""In the place of pins: it is in auth's own process, and needs none."""


class HeardStore(Protocol):
    """Which daemon has heard of what."""

    async def heard(self) -> list[Heard]:
        """Of all daemons that have asked."""
        ...

    async def note_heard(self, heard: Heard) -> None:
        """Keep the newest word about a daemon; what is empty leaves what was noted."""
        ...
