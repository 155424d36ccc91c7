"""Other clusters: who is trusted, and join tokens for them. Frozen: a later shape is a later migration."""

import sqlalchemy as sa
from alembic import op

from interlock.adapters.db.migrations.portable import ID, MOMENT, TEXT

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table and the column; tokens that exist are for nodes."""
    op.create_table(
        "trusted_clusters",
        sa.Column("relation", TEXT, primary_key=True),
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("id", ID, nullable=False),
        sa.Column("user_cas", TEXT, nullable=False),
        sa.Column("host_cas", TEXT, nullable=False),
        sa.Column("proxy", TEXT, nullable=False),
        sa.Column("roles", TEXT, nullable=False),
        sa.Column("insists", sa.Boolean, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("created", MOMENT, nullable=False),
    )
    op.add_column("tokens", sa.Column("kind", TEXT, nullable=False, server_default="node"))
    with op.batch_alter_table(
        "tokens"
    ) as tokens:  # when those that exist have theirs: SQLite copies the table here
        tokens.alter_column("kind", server_default=None)
