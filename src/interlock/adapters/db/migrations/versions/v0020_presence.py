"""Proofs of presence: which were used, and the host keys of the proxies that show them."""

import sqlalchemy as sa
from alembic import op

from interlock.adapters.db.migrations.portable import MOMENT, TEXT

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Proxies of before have told no host key; they are asked for proofs once they have."""
    op.add_column("proxies", sa.Column("host_key", TEXT, nullable=False, server_default=""))
    op.create_table(
        "proofs",
        sa.Column("proof", TEXT, primary_key=True),
        sa.Column("used_by", TEXT, nullable=False),
        sa.Column("used", MOMENT, nullable=False),
    )
