"""Roles, and the decision whether a user may log in to a target. Absent means denied."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from interlock.domain.access import Access, RoleOptions
from interlock.domain.target import Target

WILDCARD = "*"


@dataclass(frozen=True, slots=True)
class Role:
    """What a role allows."""

    name: str
    logins: tuple[str, ...] = ()
    node_labels: Mapping[str, str] = field(default_factory=dict)  # every one must match; "*" matches any value
    options: RoleOptions = field(default_factory=RoleOptions)

    def matches(self, target: Target) -> bool:
        """Whether the role reaches the target. A role without labels reaches none; ``{"*": "*"}`` all."""
        return labels_match(self.node_labels, target)


def labels_match(wanted: Mapping[str, str], target: Target) -> bool:
    """Whether the target has all of these labels; no labels match nothing, ``{"*": "*"}`` everything."""
    if not wanted:
        return False
    if wanted.get(WILDCARD) == WILDCARD:
        return True
    return all(key in target.labels and value in (WILDCARD, target.labels[key]) for key, value in wanted.items())


def logins_for(roles: Iterable[Role], target: Target) -> frozenset[str]:
    """The OS logins that the roles together allow on the target."""
    return frozenset(login for role in roles if role.matches(target) for login in role.logins)


def access_for(roles: Iterable[Role], login: str, target: Target) -> Access | None:
    """What the roles that allow this login on this target come to together; None if no role does."""
    allowing = [role for role in roles if login in role.logins and role.matches(target)]
    return Access.of(role.options for role in allowing) if allowing else None
