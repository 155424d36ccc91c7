"""What people do in browsers: links, sign-ins, errands and confirmations. Digests of secrets, never secrets."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Table, bindparam, delete, func, select, update

from interlock.adapters.db import schema
from interlock.adapters.db.columns import dump_labels, load_labels
from interlock.adapters.db.engine import Database
from interlock.adapters.db.prepared import Prepared
from interlock.adapters.db.words import insert
from interlock.core.address import source_of
from interlock.core.ids import parse_name
from interlock.domain.browser import LIFE, BrowserSignIn, Confirmation, Errand, Link, LinkPurpose, Purpose, Verdict

_LINKS, _SIGN_INS, _ERRANDS, _WAITING = schema.links, schema.browser_sign_ins, schema.errands, schema.confirmations
_CONFIRMATION = Prepared(select(_WAITING).where(_WAITING.c.id == bindparam("id")))


class SqlBrowserStore:
    """`ports.browser`: all of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put_link(self, link: Link) -> None:
        """`LinkStore`."""
        row = {
            "digest": link.digest,
            "user": parse_name(link.user),
            "purpose": link.purpose.value,
            "created": link.created,
            "expires": link.expires,
        }

        def put(connection: Connection) -> None:
            connection.execute(delete(_LINKS).where(_LINKS.c.user == link.user))
            connection.execute(insert(_LINKS).values(row))

        await self._database.write(put)

    async def link(self, digest: bytes) -> Link | None:
        """`LinkStore`."""
        rows = await self._database.rows(select(_LINKS).where(_LINKS.c.digest == digest))
        return next(map(_link, rows), None)

    async def spend_link(self, digest: bytes) -> bool:
        """`LinkStore`."""
        return await self._database.change(delete(_LINKS).where(_LINKS.c.digest == digest)) == 1

    async def put_sign_in(self, sign_in: BrowserSignIn, *, most: int) -> None:
        """`BrowserSignInStore`."""
        table = _SIGN_INS
        row = {
            "digest": sign_in.digest,
            "user": parse_name(sign_in.user),
            "method": sign_in.method,
            "device": sign_in.device,
            "source": sign_in.source,
            "created": sign_in.created,
            "used": sign_in.used,
            "proved": sign_in.proved,
        }
        newest = select(table.c.digest).where(table.c.user == sign_in.user).order_by(table.c.created.desc())

        def put(connection: Connection) -> None:
            connection.execute(delete(table).where(table.c.created <= sign_in.created - LIFE))
            others = [each.digest for each in connection.execute(newest.offset(most - 1))]
            connection.execute(delete(table).where(table.c.digest.in_(others)))
            connection.execute(insert(table).values(row))

        await self._database.write(put)

    async def sign_in(self, digest: bytes) -> BrowserSignIn | None:
        """`BrowserSignInStore`."""
        rows = await self._database.rows(select(_SIGN_INS).where(_SIGN_INS.c.digest == digest))
        return next((BrowserSignIn(**row._mapping) for row in rows), None)  # noqa: SLF001 - SQLAlchemy's, public

    async def touch_sign_in(self, digest: bytes, *, used: datetime, proved: datetime) -> None:
        """`BrowserSignInStore`."""
        noted = update(_SIGN_INS).where(_SIGN_INS.c.digest == digest).values(used=used, proved=proved)
        await self._database.change(noted)

    async def remove_sign_in(self, digest: bytes) -> None:
        """`BrowserSignInStore`."""
        await self._database.change(delete(_SIGN_INS).where(_SIGN_INS.c.digest == digest))

    async def remove_sign_ins(self, user: str) -> int:
        """`BrowserSignInStore`."""
        return await self._database.change(delete(_SIGN_INS).where(_SIGN_INS.c.user == user))

    async def put_errand(self, errand: Errand, *, now: datetime, most: int, of_source: int) -> bool:
        """`ErrandStore`."""
        row = {
            "digest": errand.digest,
            "kind": errand.kind,
            "source": errand.source,
            "facts": dump_labels(errand.facts),
            "expires": errand.expires,
        }

        def put(connection: Connection) -> bool:
            connection.execute(delete(_ERRANDS).where(_ERRANDS.c.expires <= now))
            connection.execute(delete(_ERRANDS).where(_ERRANDS.c.digest == errand.digest))
            if not _room(connection, _ERRANDS, errand.source, most=most, of_source=of_source):
                return False
            connection.execute(insert(_ERRANDS).values(row))
            return True

        return await self._database.write(put)

    async def take_errand(self, digest: bytes, kind: str) -> Errand | None:
        """`ErrandStore`."""
        wanted = _ERRANDS.c.digest == digest, _ERRANDS.c.kind == kind

        def take(connection: Connection) -> Errand | None:
            row = connection.execute(select(_ERRANDS).where(*wanted)).first()
            if row is None or not connection.execute(delete(_ERRANDS).where(*wanted)).rowcount:
                return None
            return Errand(row.digest, row.kind, row.source, load_labels(row.facts), row.expires)

        return await self._database.write(take)

    async def put_confirmation(
        self, confirmation: Confirmation, *, now: datetime, most: int, of_source: int
    ) -> bool:
        """`ConfirmationStore`."""
        source = source_of(confirmation.source)
        row = {
            "id": confirmation.id,
            "digest": confirmation.digest,
            "purpose": confirmation.purpose.value,
            "user": confirmation.user,
            "client": confirmation.source,
            "source": source,
            "created": confirmation.created,
            "expires": confirmation.expires,
            "verdict": confirmation.verdict.value,
            "by": "",
            "method": "",
            "device": "",
        }

        def put(connection: Connection) -> bool:
            connection.execute(delete(_WAITING).where(_WAITING.c.expires <= now))
            if not _room(connection, _WAITING, source, most=most, of_source=of_source):
                return False
            connection.execute(insert(_WAITING).values(row))
            return True

        return await self._database.write(put)

    async def confirmation(self, confirmation_id: str) -> Confirmation | None:
        """`ConfirmationStore`."""
        return next(map(_confirmation, await self._database.look(_CONFIRMATION, id=confirmation_id)), None)

    async def confirmation_of(self, digest: bytes) -> Confirmation | None:
        """`ConfirmationStore`."""
        rows = await self._database.rows(select(_WAITING).where(_WAITING.c.digest == digest))
        return next(map(_confirmation, rows), None)

    async def decide(self, confirmation_id: str, verdict: Verdict, *, by: str, method: str, device: str) -> bool:
        """`ConfirmationStore`."""
        wanted = _WAITING.c.id == confirmation_id, _WAITING.c.verdict == Verdict.PENDING.value
        decided = update(_WAITING).where(*wanted)
        said = decided.values(verdict=verdict.value, by=by, method=method, device=device)
        return await self._database.change(said) == 1

    async def spend_confirmation(self, confirmation_id: str) -> bool:
        """`ConfirmationStore`."""
        wanted = _WAITING.c.id == confirmation_id, _WAITING.c.verdict == Verdict.CONFIRMED.value
        return (
            await self._database.change(update(_WAITING).where(*wanted).values(verdict=Verdict.SPENT.value)) == 1
        )


def _room(connection: Connection, table: Table, source: str, *, most: int, of_source: int) -> bool:
    """Whether one more may be stored, of this source and in all; the source with most may lose its oldest."""
    count = func.count()
    total = select(count).select_from(table)
    mine = int(connection.execute(total.where(table.c.source == source)).scalar_one())
    if mine >= of_source:
        return False
    if int(connection.execute(total).scalar_one()) < most:
        return True
    by_source = select(table.c.source, count.label("has")).group_by(table.c.source)
    busiest = connection.execute(by_source.order_by(count.desc()).limit(1)).one()
    if busiest.has <= mine + 1:
        return False
    [key] = table.primary_key.columns
    oldest = select(key).where(table.c.source == busiest.source).order_by(table.c.expires).limit(1)
    return connection.execute(delete(table).where(key == connection.execute(oldest).scalar_one())).rowcount == 1


def _link(row: Row[Any]) -> Link:
    return Link(row.digest, row.user, LinkPurpose(row.purpose), row.created, row.expires)


def _confirmation(row: Any) -> Confirmation:
    return Confirmation(
        row.id,
        bytes(row.digest),
        Purpose(row.purpose),
        row.user,
        row.client,
        row.created,
        row.expires,
        Verdict(row.verdict),
        row.by,
        row.method,
        row.device,
    )
