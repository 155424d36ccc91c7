"""The portal's answers about requests for access: what `services.access.requests` does, as messages."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from interlock.core import portal as wire
from interlock.domain.audit import AuditEvent, rfc3339
from interlock.domain.rbac import Role
from interlock.domain.request import AccessRequest
from interlock.services.access.requests import Requests

Wanted = wire.AskAccess | wire.Accesses | wire.ShowAccess | wire.ReviewAccess | wire.CancelAccess


async def answer_access(
    requests: Requests, user: str, roles: Sequence[Role], wanted: Wanted, now: datetime
) -> tuple[wire.AccessList | wire.AccessOne, AuditEvent | None]:
    """The reply, and what is to be told of it; Denied or NotFound."""
    event: AuditEvent | None = None
    match wanted:
        case wire.Accesses(limit=limit):
            found = await requests.visible(user, roles, limit)
            return wire.AccessList([_item(each, user, now) for each in found]), None
        case wire.AskAccess():
            ttl = None if wanted.ttl is None else timedelta(seconds=wanted.ttl)
            request, event = await requests.ask(user, roles, wanted.roles, wanted.reason, ttl)
        case wire.ShowAccess():
            request = await requests.show(user, roles, wanted.id)
        case wire.ReviewAccess():
            request, event = await requests.review(user, roles, wanted.id, wanted.reason, approve=wanted.approve)
        case _:
            request, event = await requests.cancel(user, wanted.id)
    return wire.AccessOne(_item(request, user, now)), event


def _item(request: AccessRequest, user: str, now: datetime) -> wire.AccessItem:
    return wire.AccessItem(
        id=request.id,
        user=request.user,
        roles=list(request.roles),
        reason=request.reason,
        state=request.state(now).value,
        created=rfc3339(request.created),
        expires=rfc3339(request.deadline),
        ttl=int(request.ttl.total_seconds()),
        approvals=request.approvals,
        reviews=[
            wire.ReviewItem(each.by, each.approves, each.reason, rfc3339(each.at)) for each in request.reviews
        ],
        yours=request.user == user,
    )
