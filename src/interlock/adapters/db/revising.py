"""What auth made up in a daemon's place gives way to what the daemon tells, without anything being removed.

A mark is appended that names what does not count any more, and readers hide both. An end that auth made up is its
session's last event, so when more comes it is told anew behind that, with the next number.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy import Boolean, bindparam, func, select, update

from interlock.adapters.db import schema
from interlock.adapters.db.chain import Chain
from interlock.adapters.db.columns import dump, whole_text
from interlock.adapters.db.prepared import Prepared
from interlock.core.ids import SessionId
from interlock.domain.audit import (
    BY_AUTH,
    NEXT,
    ONCE_PER_SESSION,
    SYNTHESIZED,
    AuditEvent,
    Kind,
    derived_uid,
    fact,
    repeatable_uid,
)

_DECODER = msgspec.json.Decoder(dict[str, Any])
_EVENTS, _WRITERS = schema.events, schema.writers

_MADE_UP = Prepared(
    select(_EVENTS, _WRITERS.c.name)
    .join(_WRITERS, _WRITERS.c.id == _EVENTS.c.writer)
    .where(schema.MADE_UP_AND_SHOWN, _EVENTS.c.sid == bindparam("sid"))
    .order_by(_EVENTS.c.seq)
)
_KNOWN = Prepared(select(_EVENTS.c.seq).where(_EVENTS.c.uid == bindparam("uid")))
_HIDE = Prepared(
    update(_EVENTS).where(_EVENTS.c.seq == bindparam("place")).values(hidden=bindparam("hide", type_=Boolean()))
)
_HIGHEST = Prepared(
    select(func.max(_EVENTS.c.ei).label("highest")).where(_EVENTS.c.sid == bindparam("sid"), ~_EVENTS.c.hidden)
)


def make_way(chain: Chain, events: Sequence[AuditEvent]) -> tuple[Sequence[AuditEvent], list[Any]]:
    """Hide what these events take the place of; which are to be stored, and what was made up and still counts."""
    sids = {event.sid for event in events if event.sid is not None}
    made_up = [row for sid in sids for row in _MADE_UP.rows(chain.connection, sid=sid)]
    if not made_up and not any(map(_by_auth, events)):
        return events, made_up
    told = []
    for event in events:
        if _known(chain, event.uid) or (_by_auth(event) and _known(chain, _fact(event))):
            continue
        told.append(event)
        for row in [each for each in made_up if _same(each, event)]:
            made_up.remove(row)
            hide(chain, row, at=event)
    return told, made_up


def store(chain: Chain, events: Iterable[AuditEvent]) -> set[SessionId | None]:
    """Append what is not stored; the sessions that got something."""
    touched = set()
    for event in events:
        numbered = event if event.index != NEXT else replace(event, index=next_index(chain, event.sid))
        if chain.add(columns(numbered)):
            touched.add(event.sid)
    return touched


def restate(chain: Chain, made_up: Iterable[Any], touched: set[SessionId | None]) -> None:
    """Tell what auth made up anew, behind what has come now; but a start where it is, since it comes first."""
    for row in made_up:
        if row.sid not in touched or row.event == Kind.SESSION_START.event:
            continue
        hide(chain, row)
        again = {"ei": next_index(chain, row.sid), "uid": derived_uid(row.uid, "restated")}
        body = dump(_DECODER.decode(row.body) | again)
        kept = {name: getattr(row, name) for name in ("sid", "event", "time", "user", SYNTHESIZED)}
        chain.add({**kept, **again, "body": body})


def hide(chain: Chain, row: Any, *, at: AuditEvent | None = None) -> None:
    """Append the mark that this stored event does not count any more, with the time of what takes its place."""
    _HIDE.run(chain.connection, place=row.seq, hide=True)
    mark = AuditEvent(
        Kind.SUPERSEDED,
        at.time if at is not None else row.time,
        derived_uid(row.uid, "superseded"),
        str(_DECODER.decode(row.body)["cluster_name"]),
        row.sid,  # whatever keeps the session's events keeps their marks
        fields={
            "superseded_uid": row.uid,
            "superseded_event": row.event,
            "writer": row.name,
            "number": row.number,
        },
    )
    chain.add(columns(mark), hidden=True)


def next_index(chain: Chain, sid: SessionId | None) -> int:
    """The number that follows the highest of a session."""
    [row] = _HIGHEST.rows(chain.connection, sid=sid)
    return 0 if row.highest is None else int(row.highest) + 1


def columns(event: AuditEvent) -> dict[str, Any]:
    """What is stored of an event, but for its place in a chain."""
    body = event.to_json()
    user = body.get("user")
    return {
        "uid": event.uid,
        "sid": event.sid,
        "event": event.kind.event,
        "time": event.time,
        "user": whole_text(user) if isinstance(user, str) else None,
        "ei": event.index,
        "synthesized": body.get(SYNTHESIZED),
        "body": dump(body),
    }


def _by_auth(event: AuditEvent) -> bool:
    return event.sid is not None and event.fields.get(SYNTHESIZED) == BY_AUTH


def _fact(event: AuditEvent) -> str:
    return fact(event.uid, event.sid, event.kind.event, event.fields.get(SYNTHESIZED))


def _known(chain: Chain, uid: str) -> bool:
    return bool(_KNOWN.rows(chain.connection, uid=uid))


def _same(row: Any, event: AuditEvent) -> bool:
    if row.sid != event.sid or row.event != event.kind.event:
        return False
    return row.event in ONCE_PER_SESSION or repeatable_uid(row.sid, row.event) == _fact(event)
