"""Proof that policy allowed one user one login on one target. Every dial takes one."""

from collections.abc import Iterable
from dataclasses import InitVar, dataclass, field
from datetime import datetime
from typing import Self

import msgspec

from interlock.core.errors import Denied
from interlock.core.presence import NO_PRESENCE, Presence
from interlock.domain.access import NOTHING_SPECIAL, Access
from interlock.domain.bounds import Permission
from interlock.domain.cluster import LeafPass
from interlock.domain.duties import RecordingMode
from interlock.domain.factor import check_factor, check_hardware, hardware_required_by, required_by
from interlock.domain.identity import Claims, Identity, Joining
from interlock.domain.modes import ModePolicy
from interlock.domain.party import JOIN_LOGIN
from interlock.domain.rbac import Judgement, Role, judge
from interlock.domain.target import Target

_DECIDER = object()


@dataclass(frozen=True, slots=True)
class Permit:
    """A positive decision; only the class methods make one, so code that holds it need not ask again."""

    identity: Identity
    login: str
    target: Target
    expires: datetime
    access: Access  # what else is allowed on the connection, and how it is watched
    decided_by: InitVar[object]  # not kept, so that a copy with other contents cannot inherit it
    joining: Joining | None = None  # a session there to take part in; then the login is nobody's
    certificate: bytes = field(default=b"", repr=False, compare=False)  # as the claims have it
    presence: Presence = field(default=NO_PRESENCE, repr=False, compare=False)  # likewise

    def __post_init__(self, decided_by: object) -> None:
        """Refuse a permit that nobody decided."""
        if decided_by is not _DECIDER:
            msg = "a Permit comes from Permit.decide"
            raise TypeError(msg)

    @property
    def mode(self) -> RecordingMode:
        """Where the sessions are recorded, as `decide` found it."""
        return RecordingMode(self.access.recording)

    @classmethod
    def decide(
        cls,
        claims: Claims,
        roles: Iterable[Role],
        login: str,
        target: Target,
        *,
        now: datetime,
        modes: ModePolicy = ModePolicy(),  # noqa: B008 - immutable
        source: str | None = "",
    ) -> Self:
        """Judge one login by the user's current roles; Denied if any check fails.

        ``source``: the person's address, with or without a port; empty: not known; None: whoever gets the permit
        looks at ``access.source_networks`` itself. ``modes``: what the cluster says of recording; the result is in
        ``access.recording``, for the node to see.
        """
        identity = claims.identity
        if not claims.valid_after <= now < claims.valid_before:
            public = "your certificate has expired: run ilsh login"
            raise Denied(public, reason=f"certificate {claims.serial} of {identity.user} is not valid now")
        judged = judge(roles, login, target)
        access = judged.access
        if access is None:
            public = f"access denied: you may not log in as {login} on {target.hostname}"
            raise Denied(public, reason=_why_not(identity, judged))
        check_factor(access.second_factor, identity)
        check_hardware(access.hardware_key, identity)
        if source is not None:
            check_source(identity, access, source)
        mode = modes.mode_for(target, access.recording)
        access = msgspec.structs.replace(access, recording=mode.value, second_factor=None, hardware_key=None)
        access = access.within(claims.bounds)
        return cls(
            identity,
            login,
            target,
            claims.valid_before,
            access,
            _DECIDER,
            certificate=claims.certificate,
            presence=claims.presence,
        )

    @classmethod
    def to_join(
        cls, claims: Claims, roles: Iterable[Role], target: Target, joining: Joining, *, now: datetime
    ) -> Self:
        """To take part in a session on our node, which was judged by `domain.party`, and in nothing else there.

        If any of the person's roles asks for a second factor or a key on hardware, whatever it is about, joining
        takes it.
        """
        if not claims.valid_after <= now < claims.valid_before:
            public = "your certificate has expired: run ilsh login"
            raise Denied(public, reason=f"certificate {claims.serial} of {claims.identity.user} is not valid now")
        roles = list(roles)
        check_factor(required_by(roles), claims.identity)
        check_hardware(hardware_required_by(roles), claims.identity)
        check_may_join(claims)
        access = msgspec.structs.replace(NOTHING_SPECIAL, recording=RecordingMode.NODE.value)
        before, shown, proof = claims.valid_before, claims.certificate, claims.presence
        return cls(claims.identity, JOIN_LOGIN, target, before, access, _DECIDER, joining, shown, proof)

    @classmethod
    def by_leaf(cls, granted: LeafPass, target: Target, access: Access, mode: RecordingMode) -> Self:
        """What a leaf has decided on somebody whom this cluster let go there; the leaf dials, not this gateway.

        ``mode``: this cluster's, for the case that it records. Places are the leaf's to count.
        """
        access = msgspec.structs.replace(access, recording=mode.value, max_connections=None)
        access = access.within(granted.bounds)  # an answer that leaves them out is not believed
        return cls(granted.identity, granted.login, target, granted.expires, access, _DECIDER)


def check_may_join(claims: Claims) -> None:
    """Denied to whom a certificate or key leaves one command or no terminal: a session is neither."""
    if claims.bounds.command is not None or Permission.PTY in claims.bounds.withheld:
        public = "your certificate or key is restricted to less than a session: join it with another one"
        reason = f"{claims.identity.user} wanted to join with {', '.join(claims.bounds.facts)}"
        raise Denied(public, reason=reason)


def check_source(identity: Identity, access: Access, source: str) -> None:
    """Denied unless roles let the person come from this address."""
    if not access.allows_source(source):
        networks = ", ".join(access.source_networks or ()) or "nowhere"
        public = "access denied: your roles do not let you come from this address"
        raise Denied(public, reason=f"{identity.user} came from {source or 'somewhere'}, and may from {networks}")


def _why_not(identity: Identity, judged: Judgement) -> str:
    what = f"{judged.login} on {judged.target.hostname}"
    if judged.denying:
        return f"{', '.join(role.name for role in judged.denying)} of {identity.user} denies {what}"
    return f"no role of {identity.user} ({', '.join(identity.roles)}) allows {what}"
