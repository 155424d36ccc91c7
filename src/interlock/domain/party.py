"""Taking part in somebody else's session: who may, in which mode, and what a moderated session needs to go on.

Three modes. A *peer* sees and types; an *observer* sees; a *moderator* sees, may end the session, and is one of
those whose presence a role may demand. The owner is the person whose session it is; nobody moderates their own.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from interlock.core.errors import Denied
from interlock.core.extensions import JoinMode
from interlock.core.ids import SessionId, parse_session_id
from interlock.domain.access import Access, OnLeave
from interlock.domain.identity import Identity
from interlock.domain.rbac import Role, reaching
from interlock.domain.target import Route, Target

OWN_MODES = (JoinMode.PEER, JoinMode.OBSERVER)
"""How a person may take part in a session of their own, whatever the roles say."""

JOIN_LOGIN = "join"
"""In the place of the login in a route: ``join%SID``, or ``join-peer%SID`` and so on to say in which mode."""

_PREFERRED = (JoinMode.OBSERVER, JoinMode.PEER, JoinMode.MODERATOR)
"""Of those who do not say how, the first that they may: an observer can do nothing by mistake."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to join, and how; None: they did not say."""

    sid: SessionId
    mode: JoinMode | None


@dataclass(frozen=True, slots=True)
class Participant:
    """Somebody who takes part, as events name them."""

    identity: Identity
    mode: JoinMode
    client_addr: str

    @property
    def user(self) -> str:
        """The gateway user."""
        return self.identity.user


def joinable_modes(
    user: str, roles: Iterable[Role], *, owner: str, target: Target | None, login: str, source: str | None = ""
) -> tuple[JoinMode, ...]:
    """How the user may take part in the owner's session as a login on a target; None: it is not known any more.

    ``source``: the user's address, with or without a port; None: it is not looked at.
    """
    if user == owner:
        return OWN_MODES
    asked = list(roles)
    if target is None or any(role.denies(login, target) for role in asked):
        return ()
    access = Access.of(role.options for role in reaching(asked, target))
    return access.join_sessions if source is None or access.allows_source(source) else ()


def parse_wish(route: Route) -> Wish | None:
    """Read a route as ``join%SID`` or ``join-MODE%SID``; None if it leads to a host."""
    login, _, mode = route.login.partition("-")
    if login != JOIN_LOGIN:
        return None
    try:
        return Wish(parse_session_id(route.target), JoinMode(mode) if mode else None)
    except ValueError:
        return None


def choose_mode(user: str, allowed: tuple[JoinMode, ...], wanted: JoinMode | None, *, owner: str) -> JoinMode:
    """The mode to take part in; Denied, with the modes that would do, if the wanted one is not allowed."""
    for mode in _PREFERRED if wanted is None else (wanted,):
        if mode in allowed:
            return mode
    if wanted is JoinMode.MODERATOR and user == owner:
        public = "access denied: nobody moderates their own session"
    elif allowed:
        others = " or ".join(each.value for each in allowed)
        public = f"access denied: you may join this session as {others} only"
    else:
        public = "access denied: no role of yours lets you join this session"
    as_what = f" as {wanted.value}" if wanted else ""
    raise Denied(public, reason=f"{user} wanted to join a session of {owner}{as_what}")


class Stage(Enum):
    """Where a session stands, as far as others matter."""

    WAITING = auto()  # for moderators, before anything runs
    RUNNING = auto()
    PAUSED = auto()  # a moderator is missing
    OVER = auto()


@dataclass(frozen=True, slots=True)
class Moderation:
    """What a session's roles demand."""

    required: int = 0
    on_leave: OnLeave = OnLeave.PAUSE

    @classmethod
    def by(cls, access: Access) -> "Moderation":
        """As the owner's access has it."""
        return cls(access.require_moderators, access.on_leave)

    def missing(self, owner: str, present: Iterable[Participant]) -> int:
        """How many moderators there are too few: people count, not terminals."""
        people = {each.user for each in present if each.mode is JoinMode.MODERATOR} - {owner}
        return max(0, self.required - len(people))


def counted(missing: int) -> str:
    """In words, for notices."""
    return "1 moderator" if missing == 1 else f"{missing} moderators"
