"""Indices for what is asked often of tables that grow: live trackers, old ones, a user's sessions. Frozen."""

from alembic import op

from interlock.adapters.db.migrations.portable import where

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; each holds few rows, or one per session. By the one that goes, heartbeats read a day's."""
    op.drop_index("trackers_by_daemon", "trackers")
    lives, over = "state != 2 AND NOT swept", "(state = 2 OR swept)"
    op.create_index("trackers_that_live", "trackers", ["created", "sid"], **where(lives))
    op.create_index("trackers_that_are_over", "trackers", ["expires"], **where(over))
    began = "event = 'session.start'"
    op.create_index("events_that_begin_sessions", "events", ["user", "seq"], **where(began))
    op.create_index("events_that_begin_sessions_by_time", "events", ["user", "time"], **where(began))
