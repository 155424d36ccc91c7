"""The audit log: events in their chains, what is signed of them, holds and exports."""

from sqlalchemy import Boolean, Column, ColumnElement, FromClause, Index, Integer, LargeBinary, Table, text

from interlock.adapters.db.schema.columns import ID, NUMBER, TEXT, Moment, metadata, some_rows
from interlock.adapters.db.words import not_by_index

# In words, as of trackers: SQLite uses an index of some rows only for queries with the same words.
SESSION_BEGAN = text("event = 'session.start'")
ONCE_AND_SHOWN = text("event IN ('session.start', 'session.end', 'session.data', 'session.upload') AND NOT hidden")
MADE_UP_AND_SHOWN = text("synthesized = 'auth' AND NOT hidden")

events = Table(
    "events",
    metadata,
    Column("seq", NUMBER, primary_key=True),  # order of arrival
    Column("uid", TEXT, nullable=False, unique=True),
    Column("sid", ID),
    Column("event", TEXT, nullable=False),
    Column("time", Moment, nullable=False),
    Column("user", TEXT),
    Column("ei", Integer, nullable=False),
    Column("synthesized", TEXT),  # null: told by the session's daemon as it happened
    Column("body", TEXT, nullable=False),  # the whole event as JSON: what the chain covers
    Column("writer", Integer, nullable=False),  # whose chain it is in
    Column("number", NUMBER, nullable=False),  # its place there, from 1
    Column("hash", LargeBinary, nullable=False),  # of the hash before and the body (`domain.chain`)
    Column("hidden", Boolean, nullable=False),  # superseded, or the mark that says so of another
    Index("events_in_chain", "writer", "number", unique=True),
    Index("events_by_sid", "sid", "seq"),
    Index("events_by_user", "user", "seq"),
    Index("events_by_event", "event", "seq"),
    Index(
        "events_once_per_session",
        "sid",
        "event",
        unique=True,
        **some_rows(ONCE_AND_SHOWN),
    ),
    Index("events_made_up_by_auth", "sid", **some_rows(MADE_UP_AND_SHOWN)),
    Index("events_that_begin_sessions", "user", "seq", **some_rows(SESSION_BEGAN)),
    Index("events_that_begin_sessions_by_time", "user", "time", **some_rows(SESSION_BEGAN)),
)

writers = Table(
    "writers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", TEXT, nullable=False, unique=True),
    Column("number", NUMBER, nullable=False),  # of the newest event of its chain
    Column("hash", LargeBinary, nullable=False),  # and its hash
    Column("bytes", NUMBER, nullable=False),  # of the bodies that are stored
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),  # from 1
    Column("body", TEXT, nullable=False),  # `domain.chain.Checkpoint` as JSON: what is signed
    Column("signature", LargeBinary, nullable=False),
)

checkpoint_heads = Table(  # an index of what checkpoints cover; what counts is their bodies
    "checkpoint_heads",
    metadata,
    Column("writer", Integer, primary_key=True, autoincrement=False),
    Column("number", NUMBER, primary_key=True, autoincrement=False),
    Column("checkpoint", Integer, nullable=False),
    Index("checkpoint_heads_by_checkpoint", "checkpoint"),
)

cuts = Table(  # what policy has dropped
    "cuts",
    metadata,
    Column("writer", TEXT, primary_key=True),  # empty: of the checkpoints
    Column("body", TEXT, nullable=False),  # `domain.chain.Cut` as JSON: what is signed
    Column("signature", LargeBinary, nullable=False),
)

holds = Table(
    "holds",
    metadata,
    Column("id", ID, primary_key=True),
    Column("kind", TEXT, nullable=False),  # a value of HoldKind
    Column("name", TEXT, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("created", Moment, nullable=False),
    Column("created_by", TEXT, nullable=False),
)

exports = Table(
    "exports",
    metadata,
    Column("name", TEXT, primary_key=True),
    Column("cursor", TEXT, nullable=False),  # up to where the receiver has everything
    Column("pending", TEXT),  # up to where the batch goes that is on its way; null: none is
    Column("changed", Moment, nullable=False),
)


def told_as(events: FromClause) -> ColumnElement[str]:
    """The column ``event`` for a query that knows the session.

    Otherwise SQLite might look for it among all events of that kind, which takes the longer the more there are.
    """
    return not_by_index(events.c.event)
