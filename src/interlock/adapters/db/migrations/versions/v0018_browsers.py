"""What people do in browsers: links, sign-ins, errands and confirmations."""

import sqlalchemy as sa
from alembic import op

from interlock.adapters.db.migrations.portable import ID, KIND, MOMENT, TEXT

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Four new tables."""
    op.create_table(
        "links",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("user", TEXT, nullable=False, unique=True),
        sa.Column("purpose", KIND, nullable=False),
        sa.Column("created", MOMENT, nullable=False),
        sa.Column("expires", MOMENT, nullable=False),
    )
    op.create_table(
        "browser_sign_ins",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("user", TEXT, nullable=False),
        sa.Column("method", TEXT, nullable=False),
        sa.Column("device", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("created", MOMENT, nullable=False),
        sa.Column("used", MOMENT, nullable=False),
        sa.Column("proved", MOMENT, nullable=False),
    )
    op.create_index("browser_sign_ins_by_user", "browser_sign_ins", ["user", "created"])
    op.create_table(
        "errands",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("facts", TEXT, nullable=False),
        sa.Column("expires", MOMENT, nullable=False),
    )
    op.create_index("errands_by_source", "errands", ["source"])
    op.create_table(
        "confirmations",
        sa.Column("id", ID, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("purpose", KIND, nullable=False),
        sa.Column("user", TEXT, nullable=False),
        sa.Column("client", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("created", MOMENT, nullable=False),
        sa.Column("expires", MOMENT, nullable=False),
        sa.Column("verdict", KIND, nullable=False),
        sa.Column("by", TEXT, nullable=False),
        sa.Column("method", TEXT, nullable=False),
        sa.Column("device", TEXT, nullable=False),
    )
    op.create_index("confirmations_by_source", "confirmations", ["source"])
