"""A session.leave for each party of a session, instead of the owner's alone."""

from alembic import op

from interlock.adapters.db.migrations.portable import where

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What is told once per session: all but the leave, which has one uid for the owner."""
    op.drop_index("events_once_per_session", "events")
    once = "event IN ('session.start', 'session.end', 'session.data', 'session.upload')"
    op.create_index("events_once_per_session", "events", ["sid", "event"], unique=True, **where(once))
