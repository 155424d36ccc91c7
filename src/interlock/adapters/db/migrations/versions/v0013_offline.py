"""How long what auth said counts while no auth answers."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Not at all, in clusters that exist."""
    op.add_column("cluster", sa.Column("offline_s", sa.Integer, nullable=False, server_default="0"))
    with op.batch_alter_table("cluster") as cluster:  # when the row has its own: SQLite copies the table here
        cluster.alter_column("offline_s", server_default=None)
