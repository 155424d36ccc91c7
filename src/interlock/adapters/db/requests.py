"""Requests for access."""

from datetime import timedelta
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, Row, bindparam, delete, func, select, update

from interlock.adapters.db import schema
from interlock.adapters.db.columns import dump, dump_strings, load_strings
from interlock.adapters.db.engine import Database
from interlock.adapters.db.policy import change_policy
from interlock.adapters.db.prepared import Prepared
from interlock.adapters.db.words import insert
from interlock.core.errors import Denied, NotFound
from interlock.core.ids import parse_name
from interlock.domain.request import (
    KEPT_FOR,
    MAX_PENDING,
    PENDING_FOR,
    AccessRequest,
    RequestState,
    Review,
)

_log = structlog.get_logger(__name__)

_TABLE = schema.access_requests
_ONE = Prepared(select(_TABLE).where(_TABLE.c.id == bindparam("id")))
_REVIEWS = msgspec.json.Decoder(tuple[Review, ...], strict=True)


class SqlRequestStore:
    """`ports.RequestStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def request(self, request_id: str) -> AccessRequest:
        """One request; NotFound if there is none, or it cannot be read."""
        for row in await self._database.look(_ONE, id=request_id):
            if (found := _request(row)) is not None:
                return found
        raise NotFound(f"there is no access request {request_id[:64]}")

    async def requests(self, *, user: str | None = None, limit: int) -> list[AccessRequest]:
        """The newest, of one user or of all."""
        wanted = select(_TABLE).order_by(_TABLE.c.created.desc(), _TABLE.c.id).limit(limit)
        if user is not None:
            wanted = wanted.where(_TABLE.c.user == user)
        return [found for row in await self._database.rows(wanted) if (found := _request(row)) is not None]

    async def add_request(self, request: AccessRequest) -> None:
        """Store it, and forget what was over long ago; Denied if too many of the user's wait."""

        def add(connection: Connection) -> None:
            connection.execute(delete(_TABLE).where(_TABLE.c.created < request.created - KEPT_FOR))
            waiting = select(func.count()).where(
                _TABLE.c.user == request.user,
                _TABLE.c.state == RequestState.PENDING.value,
                _TABLE.c.created > request.created - PENDING_FOR,
            )
            if int(connection.execute(waiting).scalar() or 0) >= MAX_PENDING:
                raise Denied(f"{MAX_PENDING} of your requests wait already: cancel some (ilsh request cancel ID)")
            connection.execute(insert(_TABLE).values(_row(request)))

        await self._database.write(add)

    async def replace_request(self, before: AccessRequest, after: AccessRequest) -> bool:
        """Replace it; False if somebody else was faster."""
        same = (_TABLE.c.id == before.id, _TABLE.c.state == before.decided.value)
        unread = _TABLE.c.reviews == _row(before)["reviews"]
        changed = update(_TABLE).where(*same, unread).values(_row(after))
        if before.decided is not RequestState.APPROVED:  # it has given nothing yet
            return await self._database.change(changed) == 1
        return await change_policy(self._database, changed) == 1

    async def remove_request(self, request_id: str) -> None:
        """Forget it; NotFound if there is none."""
        if not await change_policy(self._database, delete(_TABLE).where(_TABLE.c.id == request_id)):
            raise NotFound(f"there is no access request {request_id[:64]}")


def _row(request: AccessRequest) -> dict[str, Any]:
    return {
        "id": request.id,
        "user": parse_name(request.user),
        "roles": dump_strings(request.roles),
        "reason": request.reason,
        "created": request.created,
        "ttl_s": int(request.ttl.total_seconds()),
        "approvals": request.approvals,
        "state": request.decided.value,
        "reviews": dump(msgspec.to_builtins(request.reviews)),
        "until": request.until,
    }


def _request(row: Row[Any]) -> AccessRequest | None:
    try:
        return AccessRequest(
            row.id,
            row.user,
            load_strings(row.roles),
            row.reason,
            row.created,
            timedelta(seconds=row.ttl_s),
            row.approvals,
            RequestState(row.state),
            _REVIEWS.decode(row.reviews),
            row.until,
        )
    except ValueError as error:
        _log.error("access_request.unreadable", request=row.id, error=str(error), consequence="it grants nothing")
        return None
