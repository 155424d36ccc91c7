"""How Alembic reaches the database: over the connection, and inside the transaction, of `engine.migrate`."""

from alembic import context
from sqlalchemy import Connection, text

from interlock.adapters.db.schema import metadata

connection: Connection = context.config.attributes["connection"]
if connection.dialect.name == "postgresql":
    connection.execute(text("SET LOCAL statement_timeout = 0"))  # what is stored may be much
context.configure(
    connection=connection,
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
