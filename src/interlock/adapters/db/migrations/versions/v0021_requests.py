"""Requests for access."""

import sqlalchemy as sa
from alembic import op

from interlock.adapters.db.migrations.portable import ID, KIND, MOMENT, TEXT

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """None at first."""
    op.create_table(
        "access_requests",
        sa.Column("id", ID, primary_key=True),
        sa.Column("user", TEXT, nullable=False),
        sa.Column("roles", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("created", MOMENT, nullable=False),
        sa.Column("ttl_s", sa.Integer, nullable=False),
        sa.Column("approvals", sa.Integer, nullable=False),
        sa.Column("state", KIND, nullable=False),
        sa.Column("reviews", TEXT, nullable=False),
        sa.Column("until", MOMENT),
    )
    op.create_index("access_requests_by_user", "access_requests", ["user", "created"])
