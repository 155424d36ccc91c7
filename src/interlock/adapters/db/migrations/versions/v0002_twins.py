"""Sessions that a node of before the contract recorded a second time."""

import sqlalchemy as sa
from alembic import op

from interlock.adapters.db.migrations.portable import ID, NUMBER, TEXT

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; nothing was folded before."""
    op.create_table(
        "twins",
        sa.Column("seq", NUMBER, primary_key=True),
        sa.Column("sid", ID, nullable=False, unique=True),
        sa.Column("node", ID, nullable=False),
        sa.Column("seen_from", TEXT, nullable=False),
        sa.Column("named", ID),
        sa.Column("folded", ID, unique=True),
    )
    op.create_index("twins_by_name", "twins", ["named"])
    op.create_index("twins_by_connection", "twins", ["node", "seen_from"])
