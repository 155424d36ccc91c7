"""Identity providers, and whom they vouch for."""

import sqlalchemy as sa
from alembic import op

from interlock.adapters.db.migrations.portable import MOMENT, TEXT

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Two new tables."""
    op.create_table(
        "connectors",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("issuer", TEXT, nullable=False, unique=True),
        sa.Column("client_id", TEXT, nullable=False),
        sa.Column("secret", TEXT, nullable=False),
        sa.Column("settings", TEXT, nullable=False),
    )
    op.create_table(
        "vouched",
        sa.Column("issuer", TEXT, primary_key=True),
        sa.Column("subject", TEXT, primary_key=True),
        sa.Column("user", TEXT, nullable=False, unique=True),
        sa.Column("created", MOMENT, nullable=False),
    )
