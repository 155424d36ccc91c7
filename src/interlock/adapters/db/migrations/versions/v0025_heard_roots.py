"""Which daemon trusts which X.509 authorities, and has a certificate by which."""

import sqlalchemy as sa
from alembic import op

from interlock.adapters.db.migrations.portable import TEXT

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Two new columns; auths of an older version leave them empty."""
    for name in ("roots", "issuer"):
        op.add_column("heard", sa.Column(name, TEXT, nullable=False, server_default=""))
