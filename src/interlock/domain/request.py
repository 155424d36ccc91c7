"""Requests for access: somebody asks for roles for a while, and others decide.

What may be asked for, and who decides, are options of roles (`access.RoleOptions`): ``request_roles`` and
``review_roles`` of those who ask and decide; ``approvals`` and ``max_request_ttl`` of the roles that are wanted.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from interlock.core.errors import Denied
from interlock.domain.pattern import matches
from interlock.domain.rbac import Role
from interlock.domain.target import Target

PENDING_FOR = timedelta(days=7)
"""How long a request waits for a decision."""

DEFAULT_TTL = timedelta(hours=8)
"""For how long access is given if neither the person nor a role says."""

MAX_TTL = timedelta(days=14)
"""The longest that anybody may ask for."""

KEPT_FOR = timedelta(days=90)
"""How long it is listed, counted from when it was made; the audit log has it for as long as it has anything."""

MAX_ROLES = 16
"""Roles in one request."""

MAX_PENDING = 20
"""Requests of one person that wait."""

MAX_CARRIED = 8
"""Requests in one certificate."""

MAX_REASON = 500
"""Characters of a reason."""


class RequestState(Enum):
    """Where a request stands."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    CANCELLED = "cancelled"  # by whoever asked, before or after the decision
    EXPIRED = "expired"  # never stored: nobody decided in time, or the time of access is over


class Act(Enum):
    """What people do to one."""

    APPROVE = "approve"
    DENY = "deny"
    CANCEL = "cancel"


NEXT: dict[tuple[RequestState, Act], RequestState] = {
    (RequestState.PENDING, Act.APPROVE): RequestState.APPROVED,  # once there are enough approvals
    (RequestState.PENDING, Act.DENY): RequestState.DENIED,
    (RequestState.PENDING, Act.CANCEL): RequestState.CANCELLED,
    (RequestState.APPROVED, Act.DENY): RequestState.DENIED,  # access is taken back
    (RequestState.APPROVED, Act.CANCEL): RequestState.CANCELLED,
}
"""What becomes of it; anything else is refused."""


@dataclass(frozen=True, slots=True)
class Review:
    """One person's word."""

    by: str
    approves: bool
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """One request. It is replaced as a whole, never changed."""

    id: str
    user: str
    roles: tuple[str, ...]
    reason: str
    created: datetime
    ttl: timedelta  # of the access, from the decision on
    approvals: int = 1  # how many it takes
    decided: RequestState = RequestState.PENDING
    reviews: tuple[Review, ...] = ()
    until: datetime | None = None  # the end of the access; set when it is approved

    @property
    def deadline(self) -> datetime:
        """When it expires as things stand."""
        return self.until or self.created + PENDING_FOR

    def state(self, now: datetime) -> RequestState:
        """Where it stands."""
        waits = self.decided in {RequestState.PENDING, RequestState.APPROVED}
        return RequestState.EXPIRED if waits and now >= self.deadline else self.decided

    def grants(self, user: str, now: datetime) -> bool:
        """Whether its roles count for this person now."""
        return self.user == user and self.until is not None and self.state(now) is RequestState.APPROVED

    def act(self, act: Act, by: str, reason: str, *, now: datetime, alone: bool = False) -> "AccessRequest":
        """The request after this; Denied if that cannot be done now. ``alone``: one approval is enough."""
        became = NEXT.get((self.state(now), act))
        if became is None:
            raise Denied(f"this request is {self.state(now).value}: nothing can be changed any more")
        if act is Act.CANCEL:
            return replace(self, decided=became)
        if any(each.by == by and each.approves is (act is Act.APPROVE) for each in self.reviews):
            raise Denied("you have reviewed this request already")
        made = replace(self, reviews=(*self.reviews, Review(by, act is Act.APPROVE, reason, now)))
        if act is Act.DENY:
            return replace(made, decided=became)
        enough = alone or sum(each.approves for each in made.reviews) >= self.approvals
        return replace(made, decided=became, until=now + self.ttl) if enough else made


def may_ask(roles: Iterable[Role], name: str) -> bool:
    """Whether somebody with these roles may ask for that one."""
    return any(matches(each, name) for role in roles for each in role.options.request_roles or ())


def may_review(roles: Iterable[Role], user: str, request: AccessRequest) -> bool:
    """Whether somebody with these roles may decide: about each role in it, and never on a request of their own."""
    mine = [each for role in roles for each in role.options.review_roles or ()]
    return user != request.user and all(any(matches(each, name) for each in mine) for name in request.roles)


def named_askable(roles: Iterable[Role]) -> list[str]:
    """The roles that may be asked for, as far as they are named and not only matched."""
    patterns = {each for role in roles for each in role.options.request_roles or ()}
    return sorted({name for each in patterns for name in each.split("|") if "*" not in name})


def approvals_for(wanted: Iterable[Role]) -> int:
    """How many approvals it takes for these roles: as many as the one that asks for most."""
    return max((role.options.approvals or 1 for role in wanted), default=1)


def ttl_for(wanted: Iterable[Role], asked: timedelta | None) -> timedelta:
    """For how long; Denied if that is longer than a role gives."""
    said = [role.options.max_request_ttl for role in wanted if role.options.max_request_ttl is not None]
    longest = min([MAX_TTL, *(timedelta(seconds=each) for each in said)])
    if asked is not None and not timedelta(0) < asked <= longest:
        raise Denied(f"these roles can be had for at most {_words(longest)} at a time")
    return asked if asked is not None else min(longest, DEFAULT_TTL)


def _words(time: timedelta) -> str:
    seconds = int(time.total_seconds())
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def check_reason(text: str) -> str:
    """A reason: one printable line; ValueError otherwise."""
    if len(text) > MAX_REASON or not text.isprintable():
        msg = f"a reason is one line of at most {MAX_REASON} printable characters"
        raise ValueError(msg)
    return text


def hint(askable: Iterable[Role], login: str, target: Target) -> str:
    """What is added to a refusal for somebody who may ask for roles (``askable``) that allow it."""
    names = sorted(role.name for role in askable if role.allows(login, target))
    return f"; you may ask for it: ilsh request create {names[0]} --reason TEXT" if names else ""
