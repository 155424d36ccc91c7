"""Locks, and the leases of limited places."""

import sqlalchemy as sa
from alembic import op

from interlock.adapters.db.migrations.portable import ID, MOMENT, TEXT

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "locks",
        sa.Column("id", ID, primary_key=True),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("message", TEXT, nullable=False),
        sa.Column("created", MOMENT, nullable=False),
        sa.Column("expires", MOMENT),
        sa.Column("created_by", TEXT, nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("id", ID, primary_key=True),
        sa.Column("semaphore", TEXT, nullable=False),
        sa.Column("daemon_id", TEXT, nullable=False),
        sa.Column("expires", MOMENT, nullable=False),
    )
    op.create_index("leases_by_semaphore", "leases", ["semaphore"])
    op.create_index("leases_by_daemon", "leases", ["daemon_id"])
