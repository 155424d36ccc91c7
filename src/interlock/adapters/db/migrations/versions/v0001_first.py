"""The first tables. Frozen: a later shape is a later migration."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_MOMENT = sa.String(27)


def upgrade() -> None:
    """Create everything."""
    op.create_table(
        "cluster",
        sa.Column("only", sa.Integer, primary_key=True),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("recording_mode", sa.Text, nullable=False),
        sa.Column("created", _MOMENT, nullable=False),
    )
    op.create_table(
        "authorities",
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("private_key", sa.Text, nullable=False),
        sa.Column("public", sa.Text, nullable=False),
        sa.Column("created", _MOMENT, nullable=False),
    )
    op.create_table(
        "users",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("password_hash", sa.Text),
        sa.Column("must_change", sa.Boolean, nullable=False),
        sa.Column("roles", sa.Text, nullable=False),
        sa.Column("created", _MOMENT, nullable=False),
    )
    op.create_table(
        "roles",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("logins", sa.Text, nullable=False),
        sa.Column("node_labels", sa.Text, nullable=False),
        sa.Column("options", sa.Text, nullable=False),
    )
    op.create_table(
        "nodes",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("hostname", sa.Text, nullable=False, unique=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("port", sa.Integer, nullable=False),
        sa.Column("sub_kind", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("host_keys", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("expires", _MOMENT),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("created", _MOMENT, nullable=False),
        sa.Column("expires", _MOMENT, nullable=False),
        sa.Column("uses", sa.Integer, nullable=False),
    )
    _create_events()
    op.create_table(
        "trackers",
        sa.Column("sid", sa.String(36), primary_key=True),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("swept", sa.Boolean, nullable=False),
        sa.Column("daemon_id", sa.Text, nullable=False),
        sa.Column("created", _MOMENT, nullable=False),
        sa.Column("expires", _MOMENT, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("trackers_by_daemon", "trackers", ["daemon_id"])


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("uid", sa.Text, nullable=False, unique=True),
        sa.Column("sid", sa.String(36)),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("time", _MOMENT, nullable=False),
        sa.Column("user", sa.Text),
        sa.Column("ei", sa.Integer, nullable=False),
        sa.Column("synthesized", sa.Text),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("events_by_sid", "events", ["sid", "seq"])
    op.create_index("events_by_user", "events", ["user", "seq"])
    op.create_index("events_by_event", "events", ["event", "seq"])
    once = sa.text("event IN ('session.start', 'session.end', 'session.leave', 'session.data', 'session.upload')")
    op.create_index(
        "events_once_per_session",
        "events",
        ["sid", "event"],
        unique=True,
        sqlite_where=once,
    )
    made_up = sa.text("synthesized = 'auth'")
    op.create_index("events_made_up_by_auth", "events", ["sid"], sqlite_where=made_up)
