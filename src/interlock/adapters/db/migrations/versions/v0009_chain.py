"""The audit log as chains, one per writer, with signed checkpoints. Frozen: a later shape is a later migration.

What is stored already becomes the chain of the writer ``before``, in the order in which it came: nothing of it
changes, but from now on nothing of it can be changed unseen.
"""

import hashlib

import sqlalchemy as sa
from alembic import op

from interlock.adapters.db.migrations.portable import ID, MOMENT, NUMBER, TEXT, where

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_BEFORE = "before"
_PAGE = 1000
_GO_ON = """
SELECT setval(pg_get_serial_sequence('events_chained', 'seq'), (SELECT max(seq) FROM events_chained))
"""
_OLD = ("seq", "uid", "sid", "event", "time", "user", "ei", "synthesized", "body")


def upgrade() -> None:
    """Copy the events into a table that has their places, and drop the old one."""
    op.create_table(
        "writers",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", TEXT, nullable=False, unique=True),
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("bytes", NUMBER, nullable=False),
    )
    op.create_table(
        "checkpoints",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("body", TEXT, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "checkpoint_heads",
        sa.Column("writer", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("checkpoint", sa.Integer, nullable=False),
    )
    op.create_index("checkpoint_heads_by_checkpoint", "checkpoint_heads", ["checkpoint"])
    op.create_table(
        "cuts",
        sa.Column("writer", TEXT, primary_key=True),
        sa.Column("body", TEXT, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "holds",
        sa.Column("id", ID, primary_key=True),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("created", MOMENT, nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
    )
    op.create_table(
        "exports",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("cursor", TEXT, nullable=False),
        sa.Column("pending", TEXT),
        sa.Column("changed", MOMENT, nullable=False),
    )
    _create_events()
    _copy(op.get_bind())
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_GO_ON)
    op.drop_table("events")  # and its indices, whose names are free now
    op.rename_table("events_chained", "events")
    _create_indices()


def _create_events() -> None:
    op.create_table(
        "events_chained",
        sa.Column("seq", NUMBER, primary_key=True),
        sa.Column("uid", TEXT, nullable=False, unique=True),
        sa.Column("sid", ID),
        sa.Column("event", TEXT, nullable=False),
        sa.Column("time", MOMENT, nullable=False),
        sa.Column("user", TEXT),
        sa.Column("ei", sa.Integer, nullable=False),
        sa.Column("synthesized", TEXT),
        sa.Column("body", TEXT, nullable=False),
        sa.Column("writer", sa.Integer, nullable=False),
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("hidden", sa.Boolean, nullable=False),
    )


def _copy(connection: sa.Connection) -> None:
    old = sa.table("events", *(sa.column(name) for name in _OLD))
    added = [sa.column("writer"), sa.column("number"), sa.column("hash"), sa.column("hidden", sa.Boolean)]
    new = sa.table("events_chained", *(sa.column(name) for name in _OLD), *added)
    writers = sa.table("writers", *(sa.column(name) for name in ("id", "name", "number", "hash", "bytes")))
    seq, number, size = 0, 0, 0
    latest = hashlib.sha256(b"interlock-audit-chain-1\0" + _BEFORE.encode()).digest()
    writer = None
    while True:
        query = sa.select(old).where(old.c.seq > seq).order_by(old.c.seq).limit(_PAGE)
        page = [dict(row) for row in connection.execute(query).mappings()]
        if not page:
            break
        if writer is None:
            connection.execute(sa.insert(writers).values(name=_BEFORE, number=0, hash=latest, bytes=0))
            writer = connection.execute(sa.select(writers.c.id)).scalar()
        for row in page:
            body = row["body"].encode()
            seq, number, size = row["seq"], number + 1, size + len(body)
            latest = hashlib.sha256(latest + body).digest()
            row.update(writer=writer, number=number, hash=latest, hidden=False)
        connection.execute(sa.insert(new), page)
    connection.execute(sa.update(writers).values(number=number, hash=latest, bytes=size))


def _create_indices() -> None:
    op.create_index("events_by_sid", "events", ["sid", "seq"])
    op.create_index("events_by_user", "events", ["user", "seq"])
    op.create_index("events_by_event", "events", ["event", "seq"])
    op.create_index("events_in_chain", "events", ["writer", "number"], unique=True)
    once = "event IN ('session.start', 'session.end', 'session.data', 'session.upload') AND NOT hidden"
    op.create_index("events_once_per_session", "events", ["sid", "event"], unique=True, **where(once))
    made_up = "synthesized = 'auth' AND NOT hidden"
    op.create_index("events_made_up_by_auth", "events", ["sid"], **where(made_up))
    began = "event = 'session.start'"
    op.create_index("events_that_begin_sessions", "events", ["user", "seq"], **where(began))
    op.create_index("events_that_begin_sessions_by_time", "events", ["user", "time"], **where(began))
