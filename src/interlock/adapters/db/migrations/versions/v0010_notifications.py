"""What changes is told to who listens, where the database can. Frozen: a later shape is a later migration.

On PostgreSQL; the tables stay as they are, and SQLite's are not touched at all.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TOLD = ("locks", "trackers", "mode_rules", "cluster", "trusted_clusters", "users", "roles")

_TELL = """
CREATE FUNCTION interlock_tell() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_notify('interlock', TG_TABLE_NAME); RETURN NULL; END $$
"""


def upgrade() -> None:
    """One trigger for each statement that changes one of these tables, whoever makes it."""
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute(_TELL)
    for table in _TOLD:
        op.execute(
            f"CREATE TRIGGER {table}_tell AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION interlock_tell()"
        )
