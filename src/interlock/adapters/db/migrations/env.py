"""How Alembic reaches the database: over the connection, and inside the transaction, of `engine.migrate`."""

from alembic import context

from interlock.adapters.db.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
