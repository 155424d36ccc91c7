"""The number of what policy says. Frozen: a later shape is a later migration."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Any number will do: it is only compared with the one before."""
    op.add_column("cluster", sa.Column("policy", sa.Integer, nullable=False, server_default="0"))
