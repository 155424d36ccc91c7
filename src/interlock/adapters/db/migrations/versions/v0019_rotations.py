"""Authorities whose keys change, and which daemon has heard of it. Frozen: a later shape is a later migration."""

import sqlalchemy as sa
from alembic import op

from interlock.adapters.db.migrations.portable import ID, KIND, MOMENT

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_TOLD = ("authorities", "rotations")


def upgrade() -> None:
    """No row: nothing is being changed, and nobody has asked yet."""
    op.create_table(
        "rotations",
        sa.Column("kind", KIND, primary_key=True),
        sa.Column("phase", KIND, nullable=False),
        sa.Column("began", MOMENT, nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("signing", MOMENT),
        sa.Column("grace_s", sa.Integer, nullable=False),
        sa.Column("compromised", sa.Boolean, nullable=False),
    )
    op.create_table(
        "heard",
        sa.Column("daemon", ID, primary_key=True),
        sa.Column("trust", KIND, nullable=False),
        sa.Column("signer", KIND, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
    )
    if op.get_bind().dialect.name != "postgresql":
        return
    for table in _TOLD:
        op.execute(
            f"CREATE TRIGGER {table}_tell AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION interlock_tell()"
        )
