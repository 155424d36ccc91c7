"""Other clusters: who is trusted, and join tokens for them. Frozen: a later shape is a later migration."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table and the column; tokens that exist are for nodes."""
    op.create_table(
        "trusted_clusters",
        sa.Column("relation", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("user_cas", sa.Text, nullable=False),
        sa.Column("host_cas", sa.Text, nullable=False),
        sa.Column("proxy", sa.Text, nullable=False),
        sa.Column("roles", sa.Text, nullable=False),
        sa.Column("insists", sa.Boolean, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("created", sa.String(27), nullable=False),
    )
    with op.batch_alter_table("tokens") as tokens:
        tokens.add_column(sa.Column("kind", sa.Text, nullable=False, server_default="node"))
        tokens.alter_column("kind", server_default=None)
