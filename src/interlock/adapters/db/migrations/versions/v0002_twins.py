"""Sessions that a node of before the contract recorded a second time."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; nothing was folded before."""
    op.create_table(
        "twins",
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("sid", sa.String(36), nullable=False, unique=True),
        sa.Column("node", sa.String(36), nullable=False),
        sa.Column("seen_from", sa.Text, nullable=False),
        sa.Column("named", sa.String(36)),
        sa.Column("folded", sa.String(36), unique=True),
    )
    op.create_index("twins_by_name", "twins", ["named"])
    op.create_index("twins_by_connection", "twins", ["node", "seen_from"])
