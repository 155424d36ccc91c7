"""Proxies apart from auth."""

import sqlalchemy as sa
from alembic import op

from interlock.adapters.db.migrations.portable import ID, MOMENT, TEXT

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One row for each."""
    op.create_table(
        "proxies",
        sa.Column("id", ID, primary_key=True),
        sa.Column("names", TEXT, nullable=False),
        sa.Column("joined", MOMENT, nullable=False),
        sa.Column("peer", TEXT, nullable=False),
        sa.Column("tunnels", TEXT, nullable=False),
        sa.Column("expires", MOMENT),
    )
