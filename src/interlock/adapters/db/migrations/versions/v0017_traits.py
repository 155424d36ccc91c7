"""What is said of a user, for the templates in roles."""

import sqlalchemy as sa
from alembic import op

from interlock.adapters.db.migrations.portable import TEXT

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing is said of those who are there."""
    op.add_column("users", sa.Column("traits", TEXT, nullable=False, server_default="{}"))
