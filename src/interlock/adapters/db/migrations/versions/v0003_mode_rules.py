"""Recording modes by node label."""

import sqlalchemy as sa
from alembic import op

from interlock.adapters.db.migrations.portable import TEXT

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One row for each set of labels."""
    op.create_table(
        "mode_rules",
        sa.Column("labels", TEXT, primary_key=True),
        sa.Column("mode", TEXT, nullable=False),
    )
