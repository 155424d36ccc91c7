"""Requests for access: made and decided by people at the portal, or decided by an administrator.

Nobody learns here which roles there are: what may not be asked for and what does not exist are refused alike.
Access that is taken back is locked, so that what is live ends at once wherever it is.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from interlock.core.errors import Denied, NotFound
from interlock.domain.audit import AuditEvent, JsonValue, Kind, rfc3339
from interlock.domain.lock import Lock, LockKind
from interlock.domain.rbac import Role
from interlock.domain.request import (
    MAX_CARRIED,
    MAX_ROLES,
    AccessRequest,
    Act,
    RequestState,
    approvals_for,
    check_reason,
    may_ask,
    may_review,
    ttl_for,
)
from interlock.ports import Clock, Entropy, LockStore, RequestStore, RoleSource
from interlock.services.audit.emitter import EventFactory
from interlock.services.keys.authority import MAX_USER_TTL

LISTED = 1000
"""Requests that are looked through for those that somebody may see."""

MAX_TAKEN_BACK = 20
"""Accesses of one person that were given up or taken back and are still locked: all locks together are bounded."""

TRIES = 5
"""How often a decision is tried when others decide at the same moment."""


async def usable_by(store: RequestStore, user: str, now: datetime) -> list[AccessRequest]:
    """The requests of somebody that give access now; what ends last comes first."""
    mine = [each for each in await store.requests(user=user, limit=LISTED) if each.grants(user, now)]
    return sorted(mine, key=lambda each: each.deadline, reverse=True)[:MAX_CARRIED]


class Requests:
    """See the module's docstring. What is done is an event, which the caller has to tell."""

    def __init__(
        self,
        store: RequestStore,
        *,
        roles: RoleSource,
        locks: LockStore,
        factory: EventFactory,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self.store = store
        self._roles = roles
        self._locks = locks
        self._factory = factory
        self._clock = clock
        self._entropy = entropy

    async def ask(
        self, user: str, roles: Sequence[Role], wanted: Sequence[str], reason: str, ttl: timedelta | None
    ) -> tuple[AccessRequest, AuditEvent]:
        """Ask for roles; Denied if one may not be asked for. ``roles``: what the person has now."""
        names = tuple(dict.fromkeys(wanted))
        if not 1 <= len(names) <= MAX_ROLES:
            raise Denied(f"a request is for 1 to {MAX_ROLES} roles")
        _checked_reason(reason)
        had = {role.name for role in roles} & set(names)
        if had:
            raise Denied(f"you have the role {min(had)} already: if it does not count yet, run ilsh login")
        found = {role.name: role for role in await self._roles.roles(names)}
        for name in names:
            if name not in found or not may_ask(roles, name):
                public = (
                    f"you may not ask for the role {name[:128]}: if you may since you signed in, run ilsh login"
                )
                raise Denied(public, reason=f"{user} asked for {name[:128]}")
        await self._check_taken_back(user)
        request = AccessRequest(
            id=self._entropy.uuid(),
            user=user,
            roles=names,
            reason=reason,
            created=self._clock.now(),
            ttl=ttl_for(found.values(), ttl),
            approvals=approvals_for(found.values()),
        )
        await self.store.add_request(request)
        return request, self._told(Kind.ACCESS_REQUEST_CREATE, request, user)

    async def visible(self, user: str, roles: Sequence[Role], limit: int) -> list[AccessRequest]:
        """The person's own, and those that wait for the person; the newest first."""
        now = self._clock.now()
        mine = await self.store.requests(user=user, limit=limit)
        every = await self.store.requests(limit=LISTED) if any(r.options.review_roles for r in roles) else []
        others = [
            each
            for each in every
            if each.state(now) in {RequestState.PENDING, RequestState.APPROVED} and may_review(roles, user, each)
        ]
        return sorted((*mine, *others), key=lambda each: each.created, reverse=True)[:limit]

    async def show(self, user: str, roles: Sequence[Role], request_id: str) -> AccessRequest:
        """One of those; NotFound for anybody else's."""
        request = await self._find(request_id)
        if request.user != user and not may_review(roles, user, request):
            raise _none(request_id)
        return request

    async def review(
        self, user: str, roles: Sequence[Role], request_id: str, reason: str, *, approve: bool
    ) -> tuple[AccessRequest, AuditEvent]:
        """Say yes or no; Denied to whoever may not, first of all to whoever asked."""
        request = await self.show(user, roles, request_id)
        if not may_review(roles, user, request):
            raise Denied("nobody decides on a request of their own", reason=f"{user} reviewed {request.id}")
        return await self._act(Act.APPROVE if approve else Act.DENY, request_id, user, reason)

    async def cancel(self, user: str, request_id: str) -> tuple[AccessRequest, AuditEvent]:
        """Take one's own request back, or give up what it gave."""
        request = await self._find(request_id)
        if request.user != user:
            raise _none(request_id)
        return await self._act(Act.CANCEL, request_id, user, "")

    async def decide(
        self, admin: str, request_id: str, reason: str, *, approve: bool
    ) -> tuple[AccessRequest, AuditEvent]:
        """An administrator's word, which is enough."""
        act = Act.APPROVE if approve else Act.DENY
        return await self._act(act, request_id, admin, reason, alone=True)

    async def remove(self, admin: str, request_id: str) -> AuditEvent:
        """Forget a request, and take back what it gave."""
        request = await self._find(request_id)
        await self._end(request, admin)
        await self.store.remove_request(request.id)
        return self._told(Kind.ACCESS_REQUEST_DELETE, request, admin)

    async def usable(self, user: str) -> list[AccessRequest]:
        """Those of the person that give access now; what ends last comes first."""
        return await usable_by(self.store, user, self._clock.now())

    async def _act(
        self, act: Act, request_id: str, by: str, reason: str, *, alone: bool = False
    ) -> tuple[AccessRequest, AuditEvent]:
        _checked_reason(reason)
        ended = False
        for _ in range(TRIES):
            before = await self._find(request_id)
            after = before.act(act, by, reason, now=self._clock.now(), alone=alone)
            if before.decided is RequestState.APPROVED and not ended:
                # First of all: where no lock can be made, nothing is taken back that would go on all the same.
                await self._end(before, by)
                ended = True
            if await self.store.replace_request(before, after):
                kind = Kind.ACCESS_REQUEST_UPDATE if act is Act.CANCEL else Kind.ACCESS_REQUEST_REVIEW
                return after, self._told(kind, after, by, act=act, review_reason=reason)
        raise Denied("others decide on this request at this moment: try again")

    async def _end(self, request: AccessRequest, by: str) -> None:
        """What is live by it ends, and certificates that name it open nothing, for as long as there can be any."""
        now = self._clock.now()
        if not request.grants(request.user, now):
            return
        await self._locks.add_lock(
            Lock(
                id=self._entropy.uuid(),
                kind=LockKind.ACCESS_REQUEST,
                name=request.id,
                created=now,
                message="the access that was given to you for a while was taken back: run ilsh login for the rest",
                expires=now + MAX_USER_TTL,
                created_by=by,
            )
        )

    async def _check_taken_back(self, user: str) -> None:
        """Denied if the person's locks are too many: two who agree could fill the list that keeps them out."""
        mine = {each.id for each in await self.store.requests(user=user, limit=LISTED)}
        now = self._clock.now()
        locked = [each for each in await self._locks.locks() if each.name in mine and each.in_force(now)]
        if len(locked) >= MAX_TAKEN_BACK:
            public = "you have given up too much access lately: ask again tomorrow"
            raise Denied(public, reason=f"{len(locked)} accesses of {user} are locked")

    async def _find(self, request_id: str) -> AccessRequest:
        try:
            return await self.store.request(str(UUID(request_id)))
        except (ValueError, NotFound):
            raise _none(request_id) from None

    def _told(
        self, kind: Kind, request: AccessRequest, by: str, *, act: Act | None = None, review_reason: str = ""
    ) -> AuditEvent:
        fields: dict[str, JsonValue] = {
            "id": request.id,
            "user": by,
            "requester": request.user,
            "roles": list(request.roles),
            "state": request.state(self._clock.now()).value.upper(),
            "reason": request.reason,
            "expires": rfc3339(request.deadline),
        }
        if act is not None and act is not Act.CANCEL:
            said: dict[str, JsonValue] = {
                "reviewer": by,
                "proposed_state": "APPROVED" if act is Act.APPROVE else "DENIED",
                "review_reason": review_reason,
            }
            fields |= said
        return self._factory.make(kind, fields)


def _none(request_id: str) -> NotFound:
    return NotFound(f"there is no access request {request_id[:64]} that you may see")


def _checked_reason(reason: str) -> None:
    try:
        check_reason(reason)
    except ValueError as error:
        raise Denied(str(error)) from None
