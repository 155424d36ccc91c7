"""Public keys of before, by which signatures are verified that were made with them."""

import sqlalchemy as sa
from alembic import op

from interlock.adapters.db.migrations.portable import KIND, MOMENT, TEXT

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A new table."""
    op.create_table(
        "former_keys",
        sa.Column("public", TEXT, primary_key=True),
        sa.Column("kind", KIND, nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("until", MOMENT, nullable=False),
    )
