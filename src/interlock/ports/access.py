"""Narrow protocols: who may go where: people, roles, targets."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from interlock.core.errors import Denied
from interlock.core.ids import DaemonId
from interlock.domain.access import Access
from interlock.domain.granted import Granted
from interlock.domain.identity import Claims, TunnelPass
from interlock.domain.rbac import Role
from interlock.domain.target import Target
from interlock.domain.traits import Traits


class RoleSource(Protocol):
    """Current roles; what a certificate says of a role that no longer exists counts for nothing."""

    async def roles(self, names: Iterable[str]) -> list[Role]:
        """The named roles that exist, not filled; for one that cannot be read, one that denies everything."""
        ...


class TargetLookup(Protocol):
    """One target at a time."""

    async def target(self, name: str) -> Target:
        """The live target with this hostname or ID; NotFound if there is none, or several of this hostname."""
        ...


class TargetSource(TargetLookup, Protocol):
    """The inventory."""

    async def named(self, name: str) -> list[Target]:
        """The live targets with this hostname, or the one with this ID."""
        ...

    async def targets(self) -> list[Target]:
        """All live targets, by hostname."""
        ...


class PassReader(Protocol):
    """Verification of tunnel certificates against the user CA."""

    def read_pass(self, certificate: bytes, *, now: datetime) -> TunnelPass:
        """Which node a certificate in wire form speaks for; Denied if anything is wrong, a person's included."""
        ...


class ClaimsReader(Protocol):
    """Verification of user certificates against the user CA."""

    def read(self, certificate: bytes, *, now: datetime) -> Claims:
        """The claims of a certificate in wire form; Denied if type, CA, signature, time or options are wrong."""
        ...


class KeyReader(Protocol):
    """Plain keys that count without a certificate."""

    async def claims(self, blob: bytes) -> Claims:
        """What a key in wire form stands for now; NotFound if it is nobody's, Denied if it does not count now."""
        ...


class Admission(Protocol):
    """The decision for a node whose client did not come with a forwarder's certificate."""

    async def admit(self, claims: Claims, login: str, target: DaemonId) -> Access:
        """What the user's current roles allow there; Denied if they do not allow the login."""
        ...


class Remaining(Protocol):
    """The decision whether somebody who is here may stay, when policy has changed."""

    async def taken_away(self, granted: Granted) -> Denied | None:
        """Why not; None: they may. Whatever is raised says nothing of them, and nobody is ended by it."""
        ...


class Inventory(Protocol):
    """Where nodes report themselves."""

    async def heartbeat(self, node: Target) -> None:
        """Create or refresh a node; it is listed until ``node.expires``."""
        ...


@dataclass(frozen=True, slots=True)
class User:
    """A gateway account."""

    name: str
    roles: tuple[str, ...]
    password_hash: str | None  # argon2id in PHC form; None: cannot sign in by password
    must_change: bool  # the password is a one-time password
    created: datetime
    traits: Traits = field(default_factory=dict)  # what roles' templates are filled with


class UserSource(Protocol):
    """Accounts as the services look them up."""

    async def user(self, name: str) -> User:
        """The account; NotFound otherwise."""
        ...


class UserStore(UserSource, Protocol):
    """Accounts as administrators and sign-in change them."""

    async def users(self) -> list[User]:
        """All accounts, by name."""
        ...

    async def add_user(self, user: User) -> bool:
        """Create the account; False if the name is taken."""
        ...

    async def set_password(self, name: str, password_hash: str, *, must_change: bool) -> None:
        """Replace the password; NotFound if there is no such account."""
        ...

    async def remove_user(self, name: str) -> None:
        """Delete the account; NotFound if there is none."""
        ...


class UserAccess(Protocol):
    """What an account may do, as administrators change it."""

    async def set_access(self, name: str, roles: Iterable[str], traits: Traits) -> None:
        """Replace roles and traits; NotFound if there is no such account."""
        ...


class RoleStore(RoleSource, Protocol):
    """Roles as administrators change them."""

    async def all_roles(self) -> list[Role]:
        """Every role that can be read, by name."""
        ...

    async def add_role(self, role: Role) -> bool:
        """Create the role; False if the name is taken."""
        ...

    async def replace_role(self, role: Role) -> None:
        """Replace all that the role of this name says; NotFound if there is none."""
        ...

    async def remove_role(self, name: str) -> None:
        """Delete the role; NotFound if there is none."""
        ...


class TargetRegistry(Protocol):
    """Targets as administrators register them by hand."""

    async def add_target(self, target: Target) -> bool:
        """Register a target; False if its hostname is taken."""
        ...

    async def meant(self, name: str) -> tuple[DaemonId, ...]:
        """Whom this hostname or ID means, live or not; NotFound if nobody, or several live ones of a hostname."""
        ...

    async def remove_targets(self, ids: Sequence[DaemonId]) -> None:
        """Forget these, and that none of them may be a node again."""
        ...


class RemovedSource(Protocol):
    """Nodes that were removed: what they show counts for nothing, until they join anew under another ID."""

    async def removed_nodes(self) -> Mapping[DaemonId, datetime]:
        """All of them, and when."""
        ...
