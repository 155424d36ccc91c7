"""May this user log in there, now? Asked by the proxy before it dials and by nodes that are reached directly.

A certificate lives for hours, so it decides nothing alone: what it says of roles counts only as far as the user
still has them and they still exist. Whether the certificate is genuine is `interlock.services.keys.certificates`.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime

from interlock.core.errors import Denied, InterlockError, NotFound
from interlock.core.ids import DaemonId
from interlock.domain.access import Access, SecondFactor
from interlock.domain.duties import RecordingMode
from interlock.domain.factor import required_by
from interlock.domain.granted import Granted
from interlock.domain.identity import Claims, Identity
from interlock.domain.lock import Subject
from interlock.domain.permit import Permit
from interlock.domain.rbac import Role, judge, reaching
from interlock.domain.request import AccessRequest, hint, named_askable
from interlock.domain.target import Target, unknown_node
from interlock.domain.traits import filled
from interlock.ports import (
    Clock,
    KeySource,
    LockSource,
    ModeSource,
    RequestSource,
    RoleSource,
    TargetSource,
    User,
    UserSource,
)
from interlock.services.access.locks import check_stored

HINT_S = 2.0
"""Seconds for which it is remembered which roles ask for a second factor on each connection.

The permit does not go by that: who was not asked, and should have been, is refused."""

MAX_HINTS = 1000
"""Roles of which it is remembered."""

LISTED = 8
"""IDs that the refusal of an ambiguous name lists."""


class NoRequests:
    """`ports.RequestSource` where nobody asks for anything."""

    async def request(self, request_id: str) -> AccessRequest:
        """None."""
        raise NotFound(f"there is no access request {request_id}")


NO_REQUESTS = NoRequests()


async def granted_by(requests: RequestSource, identity: Identity, now: datetime) -> set[str]:
    """The roles that somebody has by requests that the certificate names, as far as they count now."""
    names: set[str] = set()
    for each in identity.requests:
        with suppress(NotFound):
            request = await requests.request(each)
            if request.grants(identity.user, now):
                names |= set(request.roles)
    return names


async def roles_now(
    source: RoleSource, user: User, named: Sequence[str], granted: Iterable[str] = ()
) -> list[Role]:
    """Those of the user's roles, and of those granted by requests, that count; filled with the user's traits.

    ``named``: in the certificate. Of roles that it does not name, what they deny counts all the same: nobody gets
    round a new denial by not signing in again.
    """
    found = await source.roles({*user.roles, *granted})
    counting = (role if role.name in named else role.only_denying() for role in found)
    return filled((role for role in counting if role is not None), user.traits)


def check_account(claims: Claims, account: User) -> None:
    """Denied if the certificate was issued to somebody who had the account's name before it was created."""
    if claims.older_than(account.created):
        reason = f"certificate {claims.serial} names {account.name}, an account created at {account.created}"
        raise Denied(
            "access denied: your certificate is of an earlier account of this name: run ilsh login", reason=reason
        )


def refused(
    error: Denied, roles: Sequence[Role], askable: Iterable[Role], login: str, target: Target, named: str
) -> InterlockError:
    """The refusal as the person may read it: with the way out for whoever may ask for a role that allows it.

    Who does not reach the node reads what one reads of a node that does not exist, if it was ``named``.
    """
    if judge(roles, login, target).allowed:  # the refusal is about something else
        return error
    way_out = hint(askable, login, target)
    if named and not way_out and not reaching(roles, target):
        return unknown_node(named, reason=error.reason)
    return Denied(error.public + way_out, reason=error.reason)


def asked_by(roles: Iterable[Role], login: str, target: Target) -> bool:
    """Whether roles ask for a second factor on each connection to this login."""
    access = judge(roles, login, target).access
    return access is not None and access.second_factor is SecondFactor.SESSION


class RoleAdmission:
    """`ports.Admission` and `ports.Remaining`, and the proxy's `permit`."""

    def __init__(
        self,
        *,
        users: UserSource,
        roles: RoleSource,
        targets: TargetSource,
        modes: ModeSource,
        locks: LockSource,
        clock: Clock,
        requests: RequestSource = NO_REQUESTS,
        keys: KeySource | None = None,
    ) -> None:
        """``keys``: that people have enrolled; None: nobody comes by one."""
        self._keys = keys
        self._requests = requests
        self._users = users
        self._roles = roles
        self._targets = targets
        self._modes = modes
        self._locks = locks
        self._clock = clock
        self._hints: dict[str, tuple[bool, float]] = {}  # by role: whether it asks, and until when that counts

    async def admit(self, claims: Claims, login: str, target: DaemonId) -> Access:
        """What the user's current roles allow there; Denied if they do not allow the login."""
        found = await self._targets.target(target)
        return (await self.permit_for(claims, login, found, source=None)).access  # the node sees from where

    async def permit(self, claims: Claims, login: str, target_name: str) -> Permit:
        """Proof that this user may log in there now; Denied, or NotFound for a target that is not live."""
        target = await self._targets.target(target_name)
        return await self.permit_for(claims, login, target)

    async def permit_for(
        self, claims: Claims, login: str, target: Target, *, source: str | None = "", named: str = ""
    ) -> Permit:
        """The same for a target that was looked up already. ``source``: see `Permit.decide`.

        ``named``: how the person has named it, if one who does not reach it is not to learn that there is such a
        node: NotFound then.
        """
        roles = await self._roles_of(claims)
        await check_stored(self._locks, Subject.of(claims.identity, login, target), now=self._clock.now())
        modes = await self._modes.mode_policy()
        try:
            permit = Permit.decide(claims, roles, login, target, now=self._clock.now(), modes=modes, source=source)
        except Denied as error:
            raise refused(error, roles, await self.askable(roles), login, target, named) from None
        if login not in claims.logins:  # asked last, because signing in again helps only if the roles allow it
            public = f"access denied: your certificate does not allow the login {login} yet: run ilsh login"
            raise Denied(public, reason=f"{claims.identity.user} has principals {', '.join(claims.logins)}")
        return permit

    async def taken_away(self, granted: Granted) -> Denied | None:
        """`ports.Remaining`. Locks are another matter, which whoever asks knows."""
        try:
            await self._check_key(granted.claims)
            roles = await self._roles_of(granted.claims)
        except Denied as error:
            return error
        target = None if granted.target is None else await self._as_it_is(granted.target)
        return granted.taken_away(roles, target)

    async def _check_key(self, claims: Claims) -> None:
        """Denied if the person has come by an enrolled key that was removed."""
        if not claims.enrolled or self._keys is None:
            return
        with suppress(NotFound):
            if (await self._keys.enrolled_key(claims.certificate)).user == claims.identity.user:
                return
        reason = f"the key {', '.join(claims.identity.keys)} of {claims.identity.user} was removed"
        raise Denied("the key that you came with was removed: run ilsh login", reason=reason)

    async def _as_it_is(self, target: Target) -> Target:
        """With its labels of now, if it is live: one that is silent for a while has lost nothing."""
        with suppress(NotFound):
            return await self._targets.target(target.id)
        return target

    async def askable(self, roles: Sequence[Role]) -> list[Role]:
        """The roles that somebody with these roles may ask for, and does not have."""
        names = set(named_askable(roles)) - {role.name for role in roles}
        return await self._roles.roles(names) if names else []

    async def asks(self, claims: Claims, login: str, name: str) -> bool:
        """Whether a connection to this target has to be confirmed with a second factor.

        False also if it is refused anyway. Asked before a client has been told that its key was right: for people
        of whose roles none asks it costs nothing. Without login and name: whatever it is that their roles reach.
        """
        if not await self._may_ask(claims.identity.roles):
            return False
        try:
            roles = await self.current_roles(claims)
            if not name:
                return required_by(roles) is SecondFactor.SESSION
            target = await self.find(claims, name)
        except (Denied, NotFound):
            return False
        return asked_by(roles, login, target)

    async def asks_on(self, claims: Claims, target: Target) -> bool:
        """The same of any login there."""
        if not await self._may_ask(claims.identity.roles):
            return False
        return required_by(reaching(await self.current_roles(claims), target)) is SecondFactor.SESSION

    async def _may_ask(self, names: Sequence[str]) -> bool:
        """Whether one of these roles asks for a second factor on each connection."""
        now = self._clock.monotonic()
        if len(self._hints) > MAX_HINTS:
            self._hints.clear()
        unknown = [name for name in names if self._hints.get(name, (False, now))[1] <= now]
        if unknown:
            asking = {
                role.name
                for role in await self._roles.roles(unknown)
                if role.options.second_factor is SecondFactor.SESSION
            }
            self._hints |= {name: (name in asking, now + HINT_S) for name in unknown}
        return any(self._hints[name][0] for name in names)

    async def mode_before_login(self, claims: Claims, target: Target, named: str) -> RecordingMode:
        """The strictest recording mode that any login of this user has there; NotFound if no role reaches it."""
        roles = await self.current_roles(claims)
        if not reaching(roles, target):
            names = ", ".join(role.name for role in roles) or "no role"
            raise unknown_node(
                named, reason=f"{claims.identity.user} has {names}, and reaches no {target.hostname}"
            )
        return (await self._modes.mode_policy()).mode_before_login(target, roles)

    async def find(self, claims: Claims, name: str) -> Target:
        """The target that a person names: by ID, or by a hostname that only one live target has.

        NotFound otherwise; of several nodes with one name, the text lists the IDs of those that the person's roles
        reach.
        """
        found = await self._targets.named(name)
        if len(found) == 1:
            return found[0]
        if not found:
            raise unknown_node(name)
        roles = await self.current_roles(claims)
        ids = [target.id for target in found if reaching(roles, target)]
        reason = f"{len(found)} live targets are called {name}: {', '.join(each.id for each in found[:LISTED])}"
        if not ids:
            raise unknown_node(name, reason=reason)
        listed = ", ".join(ids[:LISTED]) + (", ..." if len(ids) > LISTED else "")
        raise NotFound(f"several nodes are called {name}: use the ID of one as its name: {listed}", reason=reason)

    async def current_roles(self, claims: Claims) -> list[Role]:
        """The certificate's roles that the user still has and that still exist.

        Denied if the user is gone, Locked if a lock concerns the user or one of the roles.
        """
        await check_stored(self._locks, Subject.of(claims.identity), now=self._clock.now())
        return await self._roles_of(claims)

    async def _roles_of(self, claims: Claims) -> list[Role]:
        name = claims.identity.user
        try:
            user = await self._users.user(name)
        except NotFound:
            reason = f"{claims.named}, who is no user any more"
            raise Denied("access denied: your account no longer exists", reason=reason) from None
        check_account(claims, user)
        granted = await granted_by(self._requests, claims.identity, self._clock.now())
        return await roles_now(self._roles, user, claims.identity.roles, granted)
