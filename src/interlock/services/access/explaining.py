"""``ilctl access explain``: the decision on somebody who would sign in now and connect, and how it came about.

The decision is asked of the same admission that decides at the gateway, so the explanation cannot say otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import msgspec

from interlock.core.errors import Denied, NotFound
from interlock.domain.access import MERGE, Access, HardwareKey
from interlock.domain.explain import Finding, explain
from interlock.domain.identity import Claims, Identity
from interlock.domain.lock import Lock, Subject, in_force
from interlock.domain.permit import Permit
from interlock.domain.rbac import Role, labels_match
from interlock.domain.request import AccessRequest
from interlock.domain.target import Target
from interlock.domain.traits import fill, filled
from interlock.ports import Clock, LockSource, ModeSource, RequestStore, RoleSource, TargetSource, User, UserSource
from interlock.services.access.admission import RoleAdmission

LISTED = 1000
"""Requests of the user that are looked through for those that give access now."""

ASSUMED = "assumed"
"""Stands for the second-factor devices of somebody of whom it is only asked what if."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that a decision went by."""

    user: str
    login: str
    target: Target
    permit: Permit | None  # None: refused
    public: str  # what the person would read; empty if there is a permit
    reason: str  # what the audit log would say
    findings: tuple[Finding, ...]  # by role
    missing: tuple[str, ...]  # roles of the user that do not exist
    said_by: Mapping[str, tuple[str, ...]]  # of each option that counts: which roles say it
    mode_why: tuple[str, ...]
    locks: tuple[Lock, ...]  # those that concern it
    access: Access | None  # what would be allowed on the connection; None if there is no permit
    requests: tuple[AccessRequest, ...]  # by which the user has roles beside
    askable: tuple[str, ...]  # roles that would allow it, and that the user may ask for


class Explainer:
    """See the module's docstring."""

    def __init__(
        self,
        admission: RoleAdmission,
        *,
        cluster: str,
        users: UserSource,
        roles: RoleSource,
        targets: TargetSource,
        modes: ModeSource,
        locks: LockSource,
        requests: RequestStore,
        clock: Clock,
    ) -> None:
        self._requests = requests
        self._admission = admission
        self._cluster = cluster
        self._users = users
        self._roles = roles
        self._targets = targets
        self._modes = modes
        self._locks = locks
        self._clock = clock

    async def explain(self, user: str, login: str, node: str, *, source: str | None = None) -> Explanation:
        """Why; NotFound for a user or a node that there is not, or a name of several nodes.

        ``source``: the address that the person would come from; None: that does not matter.
        """
        account, target = await self._users.user(user), await self._target(node)
        now = self._clock.now()
        requests = [
            each for each in await self._requests.requests(user=user, limit=LISTED) if each.grants(user, now)
        ]
        names = dict.fromkeys((*account.roles, *(name for each in requests for name in each.roles)))
        roles = [fill(role, account.traits) for role in await self._roles.roles(names)]
        judged, findings = explain(roles, login, target)
        claims = self._signed_in(account, login, tuple(names), requests)
        permit, refused = await self._decide(claims, login, target, source)
        allowing = judged.allowing if judged.allowed else ()
        subject = Subject.of(claims.identity, login, target)
        found = await self._admission.askable([each.role for each in roles])
        askable = [role for role in filled(found, account.traits) if role.allows(login, target)]
        return Explanation(
            user=user,
            login=login,
            target=target,
            permit=permit,
            public=refused.public if refused is not None else "",
            reason=refused.reason if refused is not None else "",
            findings=tuple(findings),
            missing=tuple(name for name in names if name not in {each.role.name for each in roles}),
            said_by=_said_by(allowing),
            mode_why=await self._mode_why(allowing, target),
            locks=tuple(each for each in in_force(await self._locks.locks(), now) if each.concerns(subject)),
            access=self._access(permit, allowing),
            requests=tuple(requests),
            askable=tuple(role.name for role in askable) if permit is None else (),
        )

    async def _decide(
        self, claims: Claims, login: str, target: Target, source: str | None
    ) -> tuple[Permit | None, Denied | None]:
        try:
            return await self._admission.permit_for(claims, login, target, source=source), None
        except Denied as error:
            return None, error

    def _access(self, permit: Permit | None, allowing: Sequence[Role]) -> Access | None:
        """With the second factor and the kind of key that roles ask for, which no permit has."""
        if permit is None:
            return None
        asked = Access.of(role.options for role in allowing)
        said = {"second_factor": asked.second_factor, "hardware_key": asked.hardware_key}
        return msgspec.structs.replace(permit.access, **said)

    def _signed_in(
        self, account: User, login: str, roles: tuple[str, ...], requests: Sequence[AccessRequest]
    ) -> Claims:
        """As a certificate would say that is made now, of somebody with every factor that is asked for."""
        now = self._clock.now()
        asked_by = tuple(each.id for each in requests)
        hardware = HardwareKey.PIN
        identity = Identity(
            account.name, roles, self._cluster, ASSUMED, ASSUMED, requests=asked_by, hardware=hardware
        )
        return Claims(identity, (login,), now, now + timedelta(minutes=1), serial=0)

    async def _target(self, node: str) -> Target:
        found = await self._targets.named(node)
        if not found:
            raise NotFound(f"there is no live node called {node}")
        if len(found) > 1:
            ids = ", ".join(each.id for each in found)
            raise NotFound(f"several nodes are called {node}: say which by its ID: {ids}")
        return found[0]

    async def _mode_why(self, allowing: Sequence[Role], target: Target) -> tuple[str, ...]:
        policy = await self._modes.mode_policy()
        rules = [rule for rule in policy.rules if labels_match(rule.labels, target)]
        why = [f"the rule for {_labels(rule.labels)} says {rule.mode.value}" for rule in rules]
        said = [(role.name, role.options.recording) for role in allowing]
        why += [f"the role {name} says {mode}" for name, mode in said if mode is not None]
        return tuple(why) or (f"the cluster says {policy.default.value}",)


def _said_by(allowing: Sequence[Role]) -> dict[str, tuple[str, ...]]:
    said = {
        name: tuple(role.name for role in allowing if getattr(role.options, name) is not None) for name in MERGE
    }
    return {name: roles for name, roles in said.items() if roles}


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())
