"""Roles, and the decision whether a user may log in to a target. Absent means denied, and a denial wins.

Roles are judged as they count for one person: templates are filled before (`domain.traits`), and one that was not
filled matches nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from interlock.core.ids import DaemonId
from interlock.domain.access import Access, Deny, RoleOptions, Verb
from interlock.domain.pattern import matches
from interlock.domain.target import SubKind, Target

WILDCARD = "*"

TEMPLATE = "{{"
"""What a login or a value with this in it is."""


@dataclass(frozen=True, slots=True)
class Role:
    """What a role allows, and what it denies (`options.deny`)."""

    name: str
    logins: tuple[str, ...] = ()
    node_labels: Mapping[str, str] = field(default_factory=dict)  # every one must match; values are patterns
    options: RoleOptions = field(default_factory=RoleOptions)

    def matches(self, target: Target) -> bool:
        """Whether the role reaches the target. A role without labels reaches none; ``{"*": "*"}`` all."""
        return labels_match(self.node_labels, target)

    def allows(self, login: str, target: Target) -> bool:
        """Whether it has the login there, as far as nothing denies it."""
        return login in self.logins and self.matches(target)

    def denies(self, login: str, target: Target) -> bool:
        """Whether it takes the login there away from everybody who has the role."""
        deny = self.options.deny
        if deny is None or (deny.logins is None and (deny.node_labels is None or deny.verbs is not None)):
            return False
        if deny.logins is not None and not any(matches(each, login) for each in deny.logins):
            return False
        return deny.node_labels is None or labels_match(deny.node_labels, target)

    def shuts(self, target: Target) -> bool:
        """Whether it takes the whole target away, with every login."""
        deny = self.options.deny
        if deny is None or deny.logins is not None or deny.node_labels is None or deny.verbs is not None:
            return False
        return labels_match(deny.node_labels, target)

    def denies_verb(self, verb: Verb, target: Target | None) -> bool:
        """Whether it takes away what may be done there; None: one's own, wherever it is."""
        deny = self.options.deny
        if deny is None or verb not in (deny.verbs or ()):
            return False
        return deny.node_labels is None or target is None or labels_match(deny.node_labels, target)

    def only_denying(self) -> "Role | None":
        """What it takes away, and nothing else; None if that is nothing."""
        deny = self.options.deny
        return None if deny is None else Role(self.name, options=RoleOptions(deny=deny))


def unreadable(name: str) -> Role:
    """What stands for a role that cannot be read: it may have denied anything, so it denies everything (R6)."""
    return Role(name, options=RoleOptions(deny=Deny(node_labels={WILDCARD: WILDCARD})))


def labels_match(wanted: Mapping[str, str], target: Target) -> bool:
    """Whether the target has all of these labels; no labels match nothing, ``{"*": "*"}`` everything."""
    if not wanted:
        return False
    if wanted.get(WILDCARD) == WILDCARD:
        return True
    return all(key in target.labels and _fits(value, target.labels[key]) for key, value in wanted.items())


def _fits(pattern: str, value: str) -> bool:
    return TEMPLATE not in pattern and matches(pattern, value)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What roles come to about one login on one target."""

    login: str
    target: Target
    allowing: tuple[Role, ...]
    denying: tuple[Role, ...]

    @property
    def allowed(self) -> bool:
        """Whether at least one role allows it and none denies it."""
        return bool(self.allowing) and not self.denying

    @property
    def access(self) -> Access | None:
        """What the roles that allow it come to together; None if it is not allowed."""
        return Access.of(role.options for role in self.allowing) if self.allowed else None


def judge(roles: Iterable[Role], login: str, target: Target) -> Judgement:
    """The one place where roles are judged."""
    asked = list(roles)
    return Judgement(
        login,
        target,
        tuple(role for role in asked if role.allows(login, target)),
        tuple(role for role in asked if role.denies(login, target)),
    )


def reaching(roles: Iterable[Role], target: Target) -> list[Role]:
    """The roles that reach the target with whatever login; none if one of them takes it away."""
    asked = list(roles)
    if any(role.shuts(target) for role in asked):
        return []
    return [role for role in asked if role.matches(target)]


def may(roles: Iterable[Role], verb: Verb, target: Target | None) -> bool:
    """Whether the roles together let somebody do this with others' sessions, recordings or events there.

    None: it is not known where. It may be anywhere, so a role has to reach every node, and none may be denied.
    """
    asked = list(roles)
    if any(role.denies_verb(verb, target) for role in asked):
        return False
    return any(verb in (role.options.allow or ()) for role in reaching(asked, target or _NOWHERE))


_NOWHERE = Target(DaemonId(""), "", "", 0, SubKind.NODE)
"""A node of which nothing is known: only a role that reaches every node reaches it."""


def may_see_own(roles: Iterable[Role]) -> bool:
    """Whether somebody may list and play recordings of their own sessions."""
    return not any(role.denies_verb(Verb.OWN_RECORDINGS, None) for role in roles)


def may_list(user: str, roles: Iterable[Role], owner: str, target: Target | None) -> bool:
    """Whether the user may see that the owner has a session there; None: the target is not known any more."""
    return user == owner or (target is not None and may(roles, Verb.LIST_SESSIONS, target))


def logins_for(roles: Iterable[Role], target: Target) -> frozenset[str]:
    """The OS logins that the roles together allow on the target."""
    asked = list(roles)
    found = {login for role in reaching(asked, target) for login in role.logins}
    return frozenset(login for login in found if not any(role.denies(login, target) for role in asked))
