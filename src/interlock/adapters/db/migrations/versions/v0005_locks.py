"""Locks, and the leases of limited places."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_MOMENT = sa.String(27)


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "locks",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("created", _MOMENT, nullable=False),
        sa.Column("expires", _MOMENT),
        sa.Column("created_by", sa.Text, nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("semaphore", sa.Text, nullable=False),
        sa.Column("daemon_id", sa.Text, nullable=False),
        sa.Column("expires", _MOMENT, nullable=False),
    )
    op.create_index("leases_by_semaphore", "leases", ["semaphore"])
    op.create_index("leases_by_daemon", "leases", ["daemon_id"])
