"""Which daemons are not ready for the phase that follows in a rotation, and what becomes of them if it comes."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from interlock.core.ids import DaemonId
from interlock.domain.rotation import Phase, RotatedKind
from interlock.ports import NO_ROOTS, Heard, KeyRing, TrustBundle
from interlock.services.keys.daemonca import certificate_pin


@dataclass(frozen=True, slots=True)
class Member:
    """A daemon as it stands to the authorities of daemons."""

    name: str
    trusts: tuple[str, ...]  # pins; none: it has not said so, or is of a version that cannot
    shows: str  # pin of the authority that has certified it; empty: not known


def late_for(
    kind: RotatedKind,
    phase: Phase,
    following: Phase,
    heard: Mapping[DaemonId, Heard],
    daemons: Collection[DaemonId],
    bundle: TrustBundle,
    ring: KeyRing,
) -> tuple[list[DaemonId], str]:
    """Those of the daemons that are not ready, and what would become of them."""
    match kind:
        case RotatedKind.OPENSSH:
            return [], ""
        case RotatedKind.DAEMON:
            return _late_for_roots(following, heard, daemons, ring)
        case RotatedKind.USER | RotatedKind.HOST:
            return _late_for_ssh(phase, following, heard, daemons, bundle)


def _late_for_ssh(
    phase: Phase,
    following: Phase,
    heard: Mapping[DaemonId, Heard],
    daemons: Collection[DaemonId],
    bundle: TrustBundle,
) -> tuple[list[DaemonId], str]:
    trusts = {each.daemon for each in heard.values() if each.trust == bundle.digest}
    shows = {each.daemon for each in heard.values() if each.signer == bundle.signers}
    match (phase, following):
        case (Phase.INIT, Phase.UPDATE_CLIENTS | Phase.UPDATE_SERVERS):
            late = [id_ for id_ in daemons if id_ not in trusts]
            return late, "these do not trust the new key yet, and would refuse people"
        case (Phase.UPDATE_SERVERS, Phase.STANDBY):
            late = [id_ for id_ in daemons if id_ not in shows]
            return late, "these have no certificate by the new key yet, and would be refused"
        case _:
            return [], ""


def _late_for_roots(
    following: Phase, heard: Mapping[DaemonId, Heard], daemons: Collection[DaemonId], ring: KeyRing
) -> tuple[list[DaemonId], str]:
    """Each says what it trusts, and shows what it has: after a rollback, too, those that have the new are late."""
    kind = RotatedKind.DAEMON
    if kind not in ring.rotations:
        return [], ""
    new = certificate_pin(ring.coming[kind.stored].public)
    stays = new if ring.rotations[kind].signs_with_new else certificate_pin(ring.current[kind.stored].public)
    has_none = {each.daemon for each in heard.values() if each.roots == NO_ROOTS}
    match following:
        case Phase.UPDATE_CLIENTS | Phase.UPDATE_SERVERS:
            ready = {each.daemon for each in heard.values() if new in each.roots.split()}
            words = "these do not trust the new key yet, and would be cut off from auth"
        case Phase.STANDBY:
            ready = {each.daemon for each in heard.values() if each.issuer == stays}
            words = "these have no certificate by the key that stays yet, and would have to join again"
        case _:
            return [], ""
    return [id_ for id_ in daemons if id_ not in ready | has_none], words


def members(heard: Mapping[DaemonId, Heard], names: Mapping[DaemonId, str]) -> tuple[Member, ...]:
    """The daemons apart from auth, by name."""
    found = ((name, heard.get(id_)) for id_, name in names.items())
    apart = [
        Member(name, tuple(each.roots.split()) if each else (), each.issuer if each else "")
        for name, each in found
        if each is None or each.roots != NO_ROOTS
    ]
    return tuple(sorted(apart, key=lambda each: each.name))
