"""The key by which secrets are sealed, as it is wrapped. Frozen: a later shape is a later migration."""

import sqlalchemy as sa
from alembic import op

from interlock.adapters.db.migrations.portable import KIND, MOMENT, TEXT

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """No row: secrets are in the clear, as before."""
    op.create_table(
        "key_wrappers",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("kind", KIND, nullable=False),
        sa.Column("parameters", TEXT, nullable=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sa.Column("created", MOMENT, nullable=False),
    )
