"""Alembic's entry: migrate the connection that `store.engine` hands over."""

from alembic import context

from poison_guard.store.tables import METADATA

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
