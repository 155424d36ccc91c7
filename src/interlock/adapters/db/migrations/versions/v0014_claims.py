"""Whose session an ID is, for several auths on one database."""

import sqlalchemy as sa
from alembic import op

from interlock.adapters.db.migrations.portable import ID, MOMENT

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One row for each session of the last day."""
    op.create_table(
        "claims",
        sa.Column("sid", ID, primary_key=True),
        sa.Column("daemon", ID, nullable=False),
        sa.Column("claimed", MOMENT, nullable=False),
    )
