"""Nodes that were removed, whose certificates count for nothing. Frozen: a later shape is a later migration."""

import sqlalchemy as sa
from alembic import op

from interlock.adapters.db.migrations.portable import ID, MOMENT

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Of those that were removed before nothing is known."""
    op.create_table(
        "removed_nodes",
        sa.Column("id", ID, primary_key=True),
        sa.Column("removed", MOMENT, nullable=False),
    )
