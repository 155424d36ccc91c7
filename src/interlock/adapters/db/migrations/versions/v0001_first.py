"""The first tables. Frozen: a later shape is a later migration."""

import sqlalchemy as sa
from alembic import op

from interlock.adapters.db.migrations.portable import ID, KIND, MOMENT, NUMBER, TEXT, where

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything."""
    op.create_table(
        "cluster",
        sa.Column("only", sa.Integer, primary_key=True),
        sa.Column("id", ID, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("recording_mode", TEXT, nullable=False),
        sa.Column("created", MOMENT, nullable=False),
    )
    op.create_table(
        "authorities",
        sa.Column("kind", KIND, primary_key=True),
        sa.Column("private_key", TEXT, nullable=False),
        sa.Column("public", TEXT, nullable=False),
        sa.Column("created", MOMENT, nullable=False),
    )
    op.create_table(
        "users",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("password_hash", TEXT),
        sa.Column("must_change", sa.Boolean, nullable=False),
        sa.Column("roles", TEXT, nullable=False),
        sa.Column("created", MOMENT, nullable=False),
    )
    op.create_table(
        "roles",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("logins", TEXT, nullable=False),
        sa.Column("node_labels", TEXT, nullable=False),
        sa.Column("options", TEXT, nullable=False),
    )
    op.create_table(
        "nodes",
        sa.Column("id", ID, primary_key=True),
        sa.Column("hostname", TEXT, nullable=False, unique=True),
        sa.Column("host", TEXT, nullable=False),
        sa.Column("port", sa.Integer, nullable=False),
        sa.Column("sub_kind", TEXT, nullable=False),
        sa.Column("labels", TEXT, nullable=False),
        sa.Column("host_keys", TEXT, nullable=False),
        sa.Column("version", TEXT, nullable=False),
        sa.Column("expires", MOMENT),
    )
    op.create_table(
        "tokens",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("created", MOMENT, nullable=False),
        sa.Column("expires", MOMENT, nullable=False),
        sa.Column("uses", sa.Integer, nullable=False),
    )
    _create_events()
    op.create_table(
        "trackers",
        sa.Column("sid", ID, primary_key=True),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("swept", sa.Boolean, nullable=False),
        sa.Column("daemon_id", TEXT, nullable=False),
        sa.Column("created", MOMENT, nullable=False),
        sa.Column("expires", MOMENT, nullable=False),
        sa.Column("body", TEXT, nullable=False),
    )
    op.create_index("trackers_by_daemon", "trackers", ["daemon_id"])


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("seq", NUMBER, primary_key=True),
        sa.Column("uid", TEXT, nullable=False, unique=True),
        sa.Column("sid", ID),
        sa.Column("event", TEXT, nullable=False),
        sa.Column("time", MOMENT, nullable=False),
        sa.Column("user", TEXT),
        sa.Column("ei", sa.Integer, nullable=False),
        sa.Column("synthesized", TEXT),
        sa.Column("body", TEXT, nullable=False),
    )
    op.create_index("events_by_sid", "events", ["sid", "seq"])
    op.create_index("events_by_user", "events", ["user", "seq"])
    op.create_index("events_by_event", "events", ["event", "seq"])
    once = "event IN ('session.start', 'session.end', 'session.leave', 'session.data', 'session.upload')"
    op.create_index(
        "events_once_per_session",
        "events",
        ["sid", "event"],
        unique=True,
        **where(once),
    )
    made_up = "synthesized = 'auth'"
    op.create_index("events_made_up_by_auth", "events", ["sid"], **where(made_up))
