"""The audit log as evidence: what verifies it reads, and the checkpoints."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from sqlalchemy import Connection, Integer, Row, Text, func, insert, select, type_coerce

from interlock.adapters.db import schema
from interlock.adapters.db.engine import Database
from interlock.adapters.db.succession import check_key
from interlock.core.errors import StoreError
from interlock.domain.chain import Checkpoint, Head
from interlock.ports import Evidence, Sign, StoredCheckpoint, StoredCut, StoredEvent, StoredHead

SPAN = 1000
"""Events of one writer that one checkpoint covers at most: what may be dropped by policy ends at a checkpoint."""

PAGE = 1000
"""Rows that are in memory while the log is read."""

T = TypeVar("T")

_UNREADABLE = "the audit log's table holds what no Interlock writes"

_EVENTS, _WRITERS = schema.events, schema.writers
_ONE_MOMENT = {
    "sqlite": ("BEGIN",),
    # A question that is asked of all events at once takes minutes when there are very many.
    "postgresql": ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "SET LOCAL statement_timeout = 0"),
}

_AS_IT_IS: dict[str, Any] = {  # it may have been changed to anything
    "time": type_coerce(_EVENTS.c.time, Text).label("time"),
    "hidden": type_coerce(_EVENTS.c.hidden, Integer).label("hidden"),
}
_COLUMNS: list[Any] = [_AS_IT_IS.get(name, _EVENTS.c[name]) for name in StoredEvent.__dataclass_fields__]
_CHECKPOINTS, _HEADS = schema.checkpoints, schema.checkpoint_heads

_SIGNED = (
    select(func.coalesce(func.max(_HEADS.c.number), 0)).where(_HEADS.c.writer == _WRITERS.c.id).scalar_subquery()
)


class SqlEvidenceStore:
    """`ports.EvidenceStore` and `ports.CheckpointStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def inspect(self, work: Callable[[Evidence], T]) -> T:
        """All of it in one read transaction."""

        def run(connection: Connection) -> T:
            try:
                for statement in _ONE_MOMENT[connection.dialect.name]:
                    connection.exec_driver_sql(statement)
                return work(SqlEvidence(connection))
            except (AttributeError, TypeError, ValueError) as error:
                raise StoreError(_UNREADABLE, reason=f"{_UNREADABLE}: {error}") from error
            finally:
                connection.exec_driver_sql("ROLLBACK")

        return await self._database.read(run)

    async def unsigned(self) -> int:
        """`ports.CheckpointStore`."""
        [row] = await self._database.rows(select(func.sum(_WRITERS.c.number - _SIGNED)))
        return int(row[0] or 0)

    async def sign(self, sign: Sign, key: bytes) -> tuple[str, bytes] | None:
        """`ports.CheckpointStore`."""

        def work(connection: Connection) -> tuple[str, bytes] | None:
            check_key(connection, key)
            return _sign(connection, sign)

        return await self._database.write(work)


def _sign(connection: Connection, sign: Sign) -> tuple[str, bytes] | None:
    signed = _SIGNED.label("signed")
    writers = select(_WRITERS, signed).where(_WRITERS.c.number > _SIGNED).order_by(_WRITERS.c.id)
    covered = {row.id: _head(connection, row) for row in connection.execute(writers)}
    if not covered:
        return None
    last = connection.execute(select(_CHECKPOINTS.c.body).order_by(_CHECKPOINTS.c.number.desc()).limit(1)).scalar()
    body, signature = sign(last, tuple(covered.values()))
    number = Checkpoint.decode(body).number
    connection.execute(insert(_CHECKPOINTS).values(number=number, body=body, signature=signature))
    rows = [{"writer": id_, "number": head.number, "checkpoint": number} for id_, head in covered.items()]
    connection.execute(insert(_HEADS), rows)
    return body, signature


def _head(connection: Connection, row: Row[Any]) -> Head:
    """The newest event of a writer, or one on the way there."""
    if row.number - row.signed > SPAN:
        place = row.signed + SPAN
        near = select(_EVENTS.c.hash).where(_EVENTS.c.writer == row.id, _EVENTS.c.number == place)
        if (found := connection.execute(near).scalar()) is not None:
            return Head(row.name, place, found.hex())
    return Head(row.name, row.number, row.hash.hex())


class SqlEvidence:
    """`ports.Evidence` over a connection that is in a transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def heads(self) -> list[StoredHead]:
        """`ports.Evidence`."""
        rows = self._connection.execute(select(_WRITERS).order_by(_WRITERS.c.id))
        return [StoredHead(row.id, row.name, row.number, bytes(row.hash)) for row in rows]

    def events(self, writer: int) -> Iterator[StoredEvent]:
        """`ports.Evidence`."""
        yield from (_event(row) for row in self._paged(_COLUMNS, writer))

    def hashes(self, writer: int) -> Iterator[tuple[int, bytes]]:
        """`ports.Evidence`."""
        for row in self._paged([_EVENTS.c.number, _EVENTS.c.hash, _EVENTS.c.seq], writer):
            yield row.number, bytes(row.hash)

    def hash_at(self, writer: int, number: int) -> bytes | None:
        """`ports.Evidence`."""
        query = select(_EVENTS.c.hash).where(_EVENTS.c.writer == writer, _EVENTS.c.number == number)
        found = self._connection.execute(query).scalar()
        return None if found is None else bytes(found)

    def named(self, uid: str) -> list[StoredEvent]:
        """`ports.Evidence`."""
        query = select(*_COLUMNS).where(_EVENTS.c.uid == uid).order_by(_EVENTS.c.seq)
        return [_event(row) for row in self._connection.execute(query)]

    def checkpoints(self) -> Iterator[StoredCheckpoint]:
        """`ports.Evidence`."""
        after = -1
        while True:
            page = select(_CHECKPOINTS).where(_CHECKPOINTS.c.number > after).order_by(_CHECKPOINTS.c.number)
            rows = self._connection.execute(page.limit(PAGE)).all()
            if not rows:
                return
            for row in rows:
                yield StoredCheckpoint(row.number, row.body, bytes(row.signature))
            after = rows[-1].number

    def cuts(self) -> list[StoredCut]:
        """`ports.Evidence`."""
        rows = self._connection.execute(select(schema.cuts).order_by(schema.cuts.c.writer))
        return [StoredCut(row.writer, row.body, bytes(row.signature)) for row in rows]

    def repeated(self) -> Iterable[str]:
        """`ports.Evidence`."""
        query = select(_EVENTS.c.uid).group_by(_EVENTS.c.uid).having(func.count() > 1).limit(PAGE)
        return list(self._connection.execute(query).scalars())

    def of_nobody(self) -> Iterable[tuple[int, int]]:
        """`ports.Evidence`."""
        known = select(_WRITERS.c.id)
        query = select(_EVENTS.c.writer, _EVENTS.c.number).where(_EVENTS.c.writer.not_in(known)).limit(PAGE)
        return [(row.writer, row.number) for row in self._connection.execute(query)]

    def _paged(self, columns: list[Any], writer: int) -> Iterator[Any]:
        """Pages go on behind number and row: without their index, numbers may be there twice."""
        number, seq = _EVENTS.c.number, _EVENTS.c.seq
        after: tuple[int, int] | None = None
        while True:
            query = select(*columns, seq.label("place")).where(_EVENTS.c.writer == writer)
            if after is not None:
                query = query.where((number > after[0]) | ((number == after[0]) & (seq > after[1])))
                query = query.where(number >= after[0])
            rows = self._connection.execute(query.order_by(number, seq).limit(PAGE)).all()
            if not rows:
                return
            yield from rows
            after = rows[-1].number, rows[-1].place


def _event(row: Row[Any]) -> StoredEvent:
    if row.hidden not in (0, 1):
        msg = f"{row.hidden!r} in the column hidden"
        raise ValueError(msg)
    columns = {name: getattr(row, name) for name in StoredEvent.__dataclass_fields__}
    return StoredEvent(**columns | {"hash": bytes(row.hash), "hidden": bool(row.hidden)})
