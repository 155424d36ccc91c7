"""Machine users. Frozen: a later shape is a later migration."""

import sqlalchemy as sa
from alembic import op

from interlock.adapters.db.migrations.portable import MOMENT, TEXT

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One row for each bot, beside its account."""
    op.create_table(
        "bots",
        sa.Column("user", TEXT, primary_key=True),
        sa.Column("logins", TEXT, nullable=False),
        sa.Column("life_s", sa.Integer, nullable=False),
        sa.Column("sources", TEXT, nullable=False),
        sa.Column("created", MOMENT, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("signed", MOMENT),
        sa.Column("token_hash", sa.LargeBinary),
        sa.Column("token_expires", MOMENT),
    )
