"""Nodes that dial out, and nodes that share a hostname."""

import sqlalchemy as sa
from alembic import op

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
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("hostname", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("port", sa.Integer, nullable=False),
        sa.Column("sub_kind", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("host_keys", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("expires", sa.String(27)),
        sa.Column("tunnel", sa.Boolean, nullable=False, server_default=sa.text("0")),
    )
    op.execute(f"INSERT INTO nodes ({_COLUMNS}) SELECT {_COLUMNS} FROM nodes_0003")  # noqa: S608 - our own names
    op.drop_table("nodes_0003")
    op.create_index("nodes_by_hostname", "nodes", ["hostname"])
