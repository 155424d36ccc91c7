"""Changing the authorities' keys: begun, taken on and taken back, by hand or by time; and who is not ready yet.

What signs and what is trusted in which phase is `interlock.domain.rotation`. Here it is asked who has heard of it,
so that nobody goes on to a phase in which those who have not are shut out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from interlock.core.certificate import PublicKey
from interlock.core.errors import Denied, InterlockError
from interlock.core.ids import DaemonId
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.lock import Lock, LockKind
from interlock.domain.rotation import NEXT, Phase, RotatedKind, Rotation, begin
from interlock.domain.target import SubKind, Target
from interlock.ports import (
    AuditLog,
    AuthorityKey,
    Clock,
    Entropy,
    Heard,
    HeardStore,
    LockStore,
    MemberProxy,
    RotationStore,
    TrustBundle,
    TrustSource,
)
from interlock.services.audit.emitter import EventFactory
from interlock.services.keys.daemonca import certificate_pin
from interlock.services.keys.readiness import Member, late_for, members

_log = structlog.get_logger()


def _fingerprint(line: str) -> str:
    return PublicKey.parse(line).fingerprint


_NAMES: Mapping[RotatedKind, Callable[[str], str]] = {
    RotatedKind.USER: _fingerprint,
    RotatedKind.HOST: _fingerprint,
    RotatedKind.OPENSSH: _fingerprint,
    RotatedKind.DAEMON: certificate_pin,  # as it stands at the end of a join token
}
"""How a public key is called."""


class RotationStores(RotationStore, HeardStore, Protocol):
    """Both."""


class Targets(Protocol):
    """The inventory."""

    async def targets(self) -> list[Target]:
        """All hosts."""
        ...


class Proxies(Protocol):
    """The proxies apart."""

    async def proxies(self) -> list[MemberProxy]:
        """All of them."""
        ...


@dataclass(frozen=True, slots=True)
class Standing:
    """One authority as it is now."""

    kind: RotatedKind
    rotation: Rotation | None  # None: `Phase.STANDBY`
    keys: tuple[str, ...]  # fingerprints, or pins of daemons' authorities; first the one that signs
    waiting_for: tuple[str, ...]  # daemons that have not heard of what the next phase needs; names
    next: Phase
    breaks: str  # what would, if it went on now
    members: tuple[Member, ...] = ()  # how daemons stand to the daemons' authorities

    @property
    def phase(self) -> Phase:
        """The phase."""
        return Phase.STANDBY if self.rotation is None else self.rotation.phase


class Rotations:
    """Of the cluster's authorities."""

    def __init__(
        self,
        store: RotationStores,
        trust: TrustSource,
        targets: Targets,
        proxies: Proxies,
        *,
        locks: LockStore,
        audit: AuditLog,
        factory: EventFactory,
        clock: Clock,
        entropy: Entropy,
        make: Callable[[RotatedKind, datetime], AuthorityKey],
    ) -> None:
        """``make``: a new key for an authority."""
        self._make = make
        self._locks = locks
        self._entropy = entropy
        self._store = store
        self._trust = trust
        self._targets = targets
        self._proxies = proxies
        self._audit = audit
        self._factory = factory
        self._clock = clock

    async def status(self) -> list[Standing]:
        """All of them."""
        return [await self._standing(kind) for kind in RotatedKind]

    async def begin(
        self, kind: RotatedKind, *, grace: timedelta, compromised: bool, who: dict[str, JsonValue]
    ) -> Rotation:
        """Make a new key that is trusted beside the old one; Denied if there is one already."""
        if kind.stored not in (await self._store.keyring()).current:
            raise Denied(f"there is no {kind.value} authority to be changed yet: run interlock start")
        now = self._clock.now()
        rotation = begin(kind, now, grace=grace, compromised=compromised)
        await self._store.begin_rotation(rotation, self._make(kind, now))
        await self._tell(Kind.ROTATION_BEGIN, rotation, who)
        return rotation

    async def go(self, kind: RotatedKind, to: Phase | None, *, force: bool, who: dict[str, JsonValue]) -> Rotation:
        """Go on, or where ``to`` says; Denied if that breaks something, in words, unless by ``force``."""
        standing = await self._standing(kind, to)
        if standing.rotation is None:
            raise Denied(
                f"the {kind.value} authority is not being changed: run ilctl auth rotate --type {kind.value}"
            )
        moved = standing.rotation.to(standing.next, self._clock.now())
        if standing.breaks and not force:
            raise Denied(f"too early for {moved.phase.value}: {standing.breaks}. Wait, or say --force")
        await self._store.move_rotation(moved, standing.phase)
        ended = moved.phase is Phase.STANDBY and standing.phase is Phase.UPDATE_SERVERS
        if ended and moved.compromised and kind is not RotatedKind.DAEMON:
            await self._revoke(standing.keys[-1], moved)
        await self._tell(Kind.ROTATION_STEP, moved, who)
        return moved

    async def tick(self) -> None:
        """Let go on what is due and breaks nothing. StoreError."""
        for rotation in (await self._store.keyring()).rotations.values():
            if rotation.due is not None and self._clock.now() >= rotation.due:
                try:
                    await self.go(rotation.kind, None, force=False, who={"method": "time"})
                except Denied as error:
                    _log.info("rotation.waits", authority=rotation.kind.value, reason=error.public)

    async def _revoke(self, fingerprint: str, rotation: Rotation) -> None:
        """For plain sshd, whose list of trusted keys is not ours."""
        message = f"the {rotation.kind.value} authority's key was compromised"
        await self._locks.add_lock(
            Lock(self._entropy.uuid(), LockKind.KEY, fingerprint, self._clock.now(), message, None, "rotation")
        )

    async def _standing(self, kind: RotatedKind, to: Phase | None = None) -> Standing:
        ring, bundle = await self._store.keyring(), await self._trust.trust()
        rotation = ring.rotations.get(kind)
        phase = Phase.STANDBY if rotation is None else rotation.phase
        following = to or NEXT[phase][0]
        heard = {each.daemon: each for each in await self._store.heard()}
        names = await self._daemons(self._clock.now())
        late, words = late_for(kind, phase, following, heard, names, bundle, ring)
        waiting = tuple(sorted(names[id_] for id_ in late))
        breaks = "" if rotation is None else rotation.early(following, self._clock.now())
        if kind is RotatedKind.OPENSSH and not await self._agentless():
            breaks = ""
        if waiting:
            breaks = f"{words}: {', '.join(waiting[:10])}" + f" and {len(waiting) - 10} more" * (len(waiting) > 10)
        keys = [
            _NAMES[kind](each[kind.stored].public) for each in (ring.current, ring.coming) if kind.stored in each
        ]
        if rotation is not None and rotation.signs_with_new:
            keys.reverse()
        apart = members(heard, names) if kind is RotatedKind.DAEMON else ()
        return Standing(kind, rotation, tuple(keys), waiting, following, breaks, apart)

    async def _daemons(self, now: datetime) -> dict[DaemonId, str]:
        """Those apart from auth that were heard of lately, by name."""
        nodes = {
            each.id: each.hostname
            for each in await self._targets.targets()
            if each.sub_kind is SubKind.NODE and each.expires is not None and now < each.expires
        }
        proxies = {each.id: each.names[0] for each in await self._proxies.proxies() if each.lives(now=now)}
        return nodes | proxies

    async def _agentless(self) -> bool:
        return any(each.sub_kind is SubKind.AGENTLESS for each in await self._targets.targets())

    async def _tell(self, kind: Kind, rotation: Rotation, who: dict[str, JsonValue]) -> None:
        fields: dict[str, JsonValue] = who | {
            "authority": rotation.kind.value,
            "phase": rotation.phase.value,
            "compromised": rotation.compromised,
        }
        await self._audit.append([self._factory.make(kind, fields)])


class HeardOf:
    """Notes which daemon has heard of which authorities: once for each change."""

    def __init__(self, store: HeardStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._noted: dict[DaemonId, tuple[str, ...]] = {}

    async def told(
        self, daemon: DaemonId, bundle: TrustBundle, *, certified: bool = False, roots: str = "", issuer: str = ""
    ) -> None:
        """It has this bundle now; ``certified``: and certificates by the authorities that sign now.

        ``roots`` and ``issuer``: `Heard`.
        """
        said = (bundle.digest, bundle.signers if certified else "", roots, issuer)
        noted = self._noted.get(daemon, ("",) * len(said))
        known = tuple(new or old for new, old in zip(said, noted, strict=True))
        if known == noted:
            return
        trust, signer, *_ = said
        try:
            await self._store.note_heard(Heard(daemon, trust, signer, self._clock.now(), roots, issuer))
        except InterlockError as error:  # it is a help, and no daemon must wait for it
            _log.warning("rotation.not_noted", daemon=daemon, reason=error.reason)
            return
        self._noted[daemon] = known
