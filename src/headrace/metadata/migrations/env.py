"""How Alembic reaches the database: always over a connection that ``Metadata`` hands it."""

from alembic import context

from headrace.metadata.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
context.run_migrations()
