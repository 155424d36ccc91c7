"""Second factors of users, their recovery codes, and keys that count without a certificate."""

import sqlalchemy as sa
from alembic import op

from interlock.adapters.db.migrations.portable import ID, KIND, MOMENT, NUMBER, TEXT

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One row for each device, each unspent code and each key."""
    op.create_table(
        "mfa_devices",
        sa.Column("id", ID, primary_key=True),
        sa.Column("user", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("kind", KIND, nullable=False),
        sa.Column("added", MOMENT, nullable=False),
        sa.Column("used", MOMENT),
        sa.Column("counter", NUMBER, nullable=False),
        sa.Column("secret", sa.LargeBinary),
        sa.Column("credential", sa.LargeBinary, unique=True),
        sa.Column("public_key", sa.LargeBinary),
        sa.Column("transports", TEXT),
    )
    op.create_index("mfa_devices_by_name", "mfa_devices", ["user", "name"], unique=True)
    op.create_table(
        "recovery_codes",
        sa.Column("user", TEXT, primary_key=True),
        sa.Column("digest", sa.LargeBinary, primary_key=True),
    )
    op.create_table(
        "user_keys",
        sa.Column("blob", sa.LargeBinary, primary_key=True),
        sa.Column("user", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("options", TEXT, nullable=False),
        sa.Column("added", MOMENT, nullable=False),
        sa.Column("expires", MOMENT),
    )
    op.create_index("user_keys_by_name", "user_keys", ["user", "name"], unique=True)
