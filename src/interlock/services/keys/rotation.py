"""Changing the authorities' keys: begun, taken on and taken back, by hand or by time; and who is not ready yet.

What signs and what is trusted in which phase is `interlock.domain.rotation`. Here it is asked who has heard of it,
so that nobody goes on to a phase in which those who have not are shut out.
"""

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
    Clock,
    Entropy,
    Heard,
    HeardStore,
    KeyToken,
    LockStore,
    MemberProxy,
    RotationStore,
    TrustBundle,
    TrustSource,
)
from interlock.services.audit.emitter import EventFactory
from interlock.services.keys.signers import new_authority

_log = structlog.get_logger()


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
    keys: tuple[str, ...]  # public, one line each; first the one that signs
    waiting_for: tuple[str, ...]  # daemons that have not heard of what the next phase needs; names
    next: Phase
    breaks: str  # what would, if it went on now

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
        token: KeyToken | None = None,
    ) -> None:
        self._token = token  # where new keys are made
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
        now = self._clock.now()
        rotation = begin(kind, now, grace=grace, compromised=compromised)
        await self._store.begin_rotation(rotation, new_authority(kind.value, now, self._token))
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
        if moved.compromised and moved.phase is Phase.STANDBY and standing.phase is Phase.UPDATE_SERVERS:
            await self._revoke(PublicKey.parse(standing.keys[-1]), moved)
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

    async def _revoke(self, key: PublicKey, rotation: Rotation) -> None:
        """For plain sshd, whose list of trusted keys is not ours."""
        message = f"the {rotation.kind.value} authority's key was compromised"
        await self._locks.add_lock(
            Lock(self._entropy.uuid(), LockKind.KEY, key.fingerprint, self._clock.now(), message, None, "rotation")
        )

    async def _standing(self, kind: RotatedKind, to: Phase | None = None) -> Standing:
        rotation = (await self._store.keyring()).rotations.get(kind)
        bundle = await self._trust.trust()
        phase = Phase.STANDBY if rotation is None else rotation.phase
        following = to or NEXT[phase][0]
        waiting, words = await self._behind(kind, phase, following, bundle)
        breaks = "" if rotation is None else rotation.early(following, self._clock.now())
        if kind is RotatedKind.OPENSSH and not await self._agentless():
            breaks = ""
        if waiting:
            breaks = f"{words}: {', '.join(waiting[:10])}" + f" and {len(waiting) - 10} more" * (len(waiting) > 10)
        ring = await self._store.keyring()
        new = ring.coming.get(kind.value)
        keys = [ring.current[kind.value].public, *([new.public] if new else [])]
        if rotation is not None and rotation.signs_with_new:
            keys.reverse()
        return Standing(kind, rotation, tuple(keys), waiting, following, breaks)

    async def _behind(
        self, kind: RotatedKind, phase: Phase, following: Phase, bundle: TrustBundle
    ) -> tuple[tuple[str, ...], str]:
        """Which daemons are not ready for the phase that follows, and what becomes of them."""
        if kind is RotatedKind.OPENSSH:
            return (), ""
        heard = {each.daemon: each for each in await self._store.heard()}
        nobody = Heard(DaemonId(""), "", "", self._clock.now())
        daemons = await self._daemons(self._clock.now())
        match (phase, following):
            case (Phase.INIT, Phase.UPDATE_CLIENTS | Phase.UPDATE_SERVERS):
                late = [id_ for id_ in daemons if heard.get(id_, nobody).trust != bundle.digest]
                words = "these do not trust the new key yet, and would refuse people"
            case (Phase.UPDATE_SERVERS, Phase.STANDBY):
                late = [id_ for id_ in daemons if heard.get(id_, nobody).signer != bundle.signers]
                words = "these have no certificate by the new key yet, and would be refused"
            case _:
                return (), ""
        return tuple(sorted(daemons[id_] for id_ in late)), words

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
        self._noted: dict[DaemonId, tuple[str, str]] = {}

    async def told(self, daemon: DaemonId, bundle: TrustBundle, *, certified: bool = False) -> None:
        """It has this bundle now; ``certified``: and certificates by the authorities that sign now."""
        trust, signer = bundle.digest, bundle.signers if certified else ""
        noted = self._noted.get(daemon, ("", ""))
        if noted[0] == trust and signer in ("", noted[1]):
            return
        try:
            await self._store.note_heard(Heard(daemon, trust, signer, self._clock.now()))
        except InterlockError as error:  # it is a help, and no daemon must wait for it
            _log.warning("rotation.not_noted", daemon=daemon, reason=error.reason)
            return
        self._noted[daemon] = (trust, signer or noted[1])
