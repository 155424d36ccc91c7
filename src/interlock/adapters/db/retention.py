"""Drops the beginnings of the audit log's chains, and leaves the proof of what is gone (`domain.chain.Cut`).

A step is one transaction: the cut that says what is missing, the event that tells of it, the deletion. It ends at
a number that a checkpoint has signed. The newest event of each chain always stays, and with it its number in the
order of arrival, which therefore is never given twice.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, and_, delete, func, select, update

from interlock.adapters.db import schema
from interlock.adapters.db.audit import append_events
from interlock.adapters.db.engine import Database
from interlock.adapters.db.holds import is_held
from interlock.adapters.db.succession import check_key
from interlock.adapters.db.words import insert
from interlock.domain.audit import AuditEvent, Kind, rfc3339
from interlock.domain.chain import Checkpoint, Cut, Gap, digest, genesis
from interlock.ports import Dropped, EventLimits, SignCut

STEP = 1000
"""Events of one step, unless a checkpoint is further away: a tenth of a second for others who write."""

SLACK = 20
"""A log that is too large is made smaller by one part in so many more, so that not each event costs a deletion."""

MAX_GAPS = 10_000
"""Gaps between what is held in one chain; beyond that nothing more of it is dropped."""

_EVENTS, _WRITERS, _CUTS = schema.events, schema.writers, schema.cuts
_CHECKPOINTS, _HEADS = schema.checkpoints, schema.checkpoint_heads
_DECODER = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one step does."""

    writer: Row[Any]
    cut: Cut | None  # as it is
    last: int  # what it drops ends here
    hash: str


class SqlEventRetention:
    """`ports.EventRetention`. ``writer``: in whose chain it tells of it."""

    def __init__(self, database: Database, writer: str) -> None:
        self._database = database
        self._writer = writer

    async def drop(
        self,
        limits: EventLimits,
        *,
        sign: SignCut,
        key: bytes,
        tell: Callable[[Dropped], AuditEvent],
        now: datetime,
        cluster: str,
    ) -> Dropped | None:
        """`ports.EventRetention`."""

        def step(connection: Connection) -> Dropped | None:
            check_key(connection, key)
            for plan in _plans(connection, limits):
                dropped, cut = _carry_out(connection, plan, now, cluster)
                if dropped is not None:
                    _put(connection, cut, sign)
                    if dropped.events:
                        append_events(connection, self._writer, [tell(dropped)])
                    _drop_checkpoints(connection, sign, now, cluster)
                    return dropped
            return None

        return await self._database.write(step)


def _plans(connection: Connection, limits: EventLimits) -> Iterator[_Plan]:
    """One for each chain of which something may be dropped."""
    oldest_kept = _beyond_size(connection, limits.bytes)
    for writer in connection.execute(select(_WRITERS).order_by(_WRITERS.c.id)).all():
        body = connection.execute(select(_CUTS.c.body).where(_CUTS.c.writer == writer.name)).scalar()
        cut = Cut.decode(body) if body is not None else None
        base = cut.last if cut is not None else 0
        reach = _reach(connection, writer.id, base)
        number = _EVENTS.c.number
        near = and_(_EVENTS.c.writer == writer.id, number > base, number <= reach)
        last = 0
        if limits.before is not None:
            young = select(number).where(near, _EVENTS.c.time >= limits.before)
            found = connection.execute(young.order_by(number).limit(1)).scalar()
            last = reach if found is None else found - 1
        if oldest_kept is not None:
            old = select(number).where(near, _EVENTS.c.seq < oldest_kept)
            found = connection.execute(old.order_by(number.desc()).limit(1)).scalar()
            last = max(last, found or 0)
        if limits.taken is not None:
            last = min(last, limits.taken.get(writer.name, 0))
        last = min(last, writer.number - 1)
        if (place := _signed(connection, writer.id, base, last)) is not None:
            yield _Plan(writer, cut, *place)
        elif cut is not None:
            yield _Plan(writer, cut, cut.last, cut.hash)  # perhaps some of what was held is not any more


def _reach(connection: Connection, writer: int, base: int) -> int:
    """How far one step may go: the checkpoint that is `STEP` away at most, or the next one; ``base``: nowhere."""
    heads = select(_HEADS.c.number).where(_HEADS.c.writer == writer, _HEADS.c.number > base)
    near = heads.where(_HEADS.c.number <= base + STEP).order_by(_HEADS.c.number.desc()).limit(1)
    found = connection.execute(near).scalar()
    if found is None:
        found = connection.execute(heads.order_by(_HEADS.c.number).limit(1)).scalar()
    return base if found is None else int(found)


def _beyond_size(connection: Connection, limit: int | None) -> int | None:
    """The place in the order of arrival before which events make the log too large; None: it is not."""
    total = connection.execute(select(func.sum(_WRITERS.c.bytes))).scalar()
    if limit is None or (excess := int(total or 0) - limit) <= 0:
        return None
    excess += limit // SLACK
    oldest = select(_EVENTS.c.seq, _EVENTS.c.body).where(~is_held()).order_by(_EVENTS.c.seq).limit(STEP)
    last = None
    for row in connection.execute(oldest):
        last, excess = int(row.seq) + 1, excess - len(row.body.encode())
        if excess <= 0:
            break
    return last


def _signed(connection: Connection, writer: int, base: int, last: int) -> tuple[int, str] | None:
    """The last place behind ``base``, not behind ``last``, that a checkpoint has signed; its hash."""
    heads = select(_HEADS).where(_HEADS.c.writer == writer, _HEADS.c.number > base, _HEADS.c.number <= last)
    row = connection.execute(heads.order_by(_HEADS.c.number.desc()).limit(1)).first()
    if row is None:
        return None
    body = connection.execute(select(_CHECKPOINTS.c.body).where(_CHECKPOINTS.c.number == row.checkpoint)).scalar()
    names = select(_WRITERS.c.name).where(_WRITERS.c.id == writer)
    name = connection.execute(names).scalar()
    for head in Checkpoint.decode(body or "").heads:
        if (head.writer, head.number) == (name, row.number):
            return row.number, head.hash
    return None


def _carry_out(connection: Connection, plan: _Plan, now: datetime, cluster: str) -> tuple[Dropped | None, Cut]:
    gaps = list(plan.cut.gaps) if plan.cut is not None else []
    base = plan.cut.last if plan.cut is not None and plan.cut.last < plan.last else 0
    mine = and_(_EVENTS.c.writer == plan.writer.id, _EVENTS.c.number > base, _EVENTS.c.number <= plan.last)
    columns = _EVENTS.c.seq, _EVENTS.c.number, _EVENTS.c.hash, _EVENTS.c.event, _EVENTS.c.body
    rows = connection.execute(
        select(*columns).where(mine, ~is_held()).order_by(_EVENTS.c.number).limit(STEP)
    ).all()
    going = {row.seq for row in rows}
    dropped = [row for row in rows if not _still_marks(connection, row, going)]
    before = plan.cut.last if plan.cut is not None else 0
    if dropped:
        units = [Gap(row.number, row.number, "", bytes(row.hash).hex()) for row in dropped]
        gaps = _merged(connection, plan.writer, [*gaps, *units])
    if len(gaps) > MAX_GAPS or not (dropped or plan.last > before):
        return None, Cut(cluster, plan.writer.name, plan.last, plan.hash, tuple(gaps), rfc3339(now))
    for start in range(0, len(dropped), 500):
        seqs = [row.seq for row in dropped[start : start + 500]]
        connection.execute(delete(_EVENTS).where(_EVENTS.c.seq.in_(seqs)))
    size = sum(len(row.body.encode()) for row in dropped)
    less = update(_WRITERS).where(_WRITERS.c.id == plan.writer.id).values(bytes=_WRITERS.c.bytes - size)
    connection.execute(less)
    stay = select(func.count()).where(_EVENTS.c.writer == plan.writer.id, _EVENTS.c.number <= plan.last)
    held = int(connection.execute(stay).scalar() or 0)
    first = dropped[0].number if dropped else base + 1
    return (
        Dropped(plan.writer.name, first, plan.last, len(dropped), size, held),
        Cut(cluster, plan.writer.name, plan.last, plan.hash, tuple(gaps), rfc3339(now)),
    )


def _still_marks(connection: Connection, row: Any, going: set[int]) -> bool:
    """Whether this is the mark of an event that stays, which would be hidden without a reason."""
    if row.event != Kind.SUPERSEDED.event:
        return False
    uid = _DECODER.decode(row.body).get("superseded_uid")
    marked = connection.execute(select(_EVENTS.c.seq).where(_EVENTS.c.uid == uid)).scalar()
    return marked is not None and marked not in going


def _merged(connection: Connection, writer: Row[Any], gaps: list[Gap]) -> list[Gap]:
    """In order, those that touch as one. The hash before a new one is that of an event that stays."""
    merged: list[Gap] = []
    for gap in sorted(gaps, key=lambda each: each.first):
        if merged and merged[-1].last + 1 == gap.first:
            merged[-1] = Gap(merged[-1].first, gap.last, merged[-1].before, gap.after)
        else:
            merged.append(gap)
    return [gap if gap.before else _with_before(connection, writer, gap) for gap in merged]


def _with_before(connection: Connection, writer: Row[Any], gap: Gap) -> Gap:
    near = select(_EVENTS.c.hash).where(_EVENTS.c.writer == writer.id, _EVENTS.c.number == gap.first - 1)
    found = genesis(writer.name) if gap.first == 1 else connection.execute(near).scalar()
    return Gap(gap.first, gap.last, bytes(found or b"").hex(), gap.after)


def _put(connection: Connection, cut: Cut, sign: SignCut) -> None:
    body = cut.encode()
    row = {"writer": cut.writer, "body": body, "signature": sign(body)}
    changed = {"body": row["body"], "signature": row["signature"]}
    connection.execute(insert(_CUTS).values(row).on_conflict_do_update(index_elements=["writer"], set_=changed))


def _drop_checkpoints(connection: Connection, sign: SignCut, now: datetime, cluster: str) -> None:
    """Those in front that sign nothing any more but what was dropped; the last one stays."""
    for writer, body in connection.execute(select(_WRITERS.c.id, _CUTS.c.body).join(
        _CUTS, _CUTS.c.writer == _WRITERS.c.name
    )).all():  # fmt: skip
        last = Cut.decode(body).last
        connection.execute(delete(_HEADS).where(_HEADS.c.writer == writer, _HEADS.c.number < last))
    needed = connection.execute(select(func.min(_HEADS.c.checkpoint))).scalar()
    first = connection.execute(select(func.min(_CHECKPOINTS.c.number))).scalar()
    if needed is None or first is None or needed <= first:
        return
    body = connection.execute(select(_CHECKPOINTS.c.body).where(_CHECKPOINTS.c.number == needed - 1)).scalar()
    if body is None:
        return
    connection.execute(delete(_CHECKPOINTS).where(_CHECKPOINTS.c.number < needed))
    gap = Gap(1, needed - 1, "", digest(body))
    _put(connection, Cut(cluster, "", needed - 1, gap.after, (gap,), rfc3339(now)), sign)
