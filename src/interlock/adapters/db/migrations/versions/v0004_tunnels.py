"""Nodes that dial out, and nodes that share a hostname."""

import sqlalchemy as sa
from alembic import op

from interlock.adapters.db.migrations.portable import ID, MOMENT, TEXT

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_COLUMNS = "id, hostname, host, port, sub_kind, labels, host_keys, version, expires"


def upgrade() -> None:
    """Make the table anew: SQLite cannot drop a constraint."""
    op.rename_table("nodes", "nodes_0003")
    op.create_table(
        "nodes",
        sa.Column("id", ID, primary_key=True),
        sa.Column("hostname", TEXT, nullable=False),
        sa.Column("host", TEXT, nullable=False),
        sa.Column("port", sa.Integer, nullable=False),
        sa.Column("sub_kind", TEXT, nullable=False),
        sa.Column("labels", TEXT, nullable=False),
        sa.Column("host_keys", TEXT, nullable=False),
        sa.Column("version", TEXT, nullable=False),
        sa.Column("expires", MOMENT),
        sa.Column("tunnel", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.execute(f"INSERT INTO nodes ({_COLUMNS}) SELECT {_COLUMNS} FROM nodes_0003")  # noqa: S608 - our own names
    op.drop_table("nodes_0003")
    op.create_index("nodes_by_hostname", "nodes", ["hostname"])
