"""How Alembic runs here: one connection, one transaction for all revisions, one runner at a time."""

from alembic import context
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from haven.db.migrate import sqlalchemy_url
from haven.models import Base

_LOCK = 0x48415645  # "HAVE"


def run() -> None:
    """Migrate the database whose URL the caller put into the configuration."""
    engine = create_engine(sqlalchemy_url(context.config.attributes["url"]), poolclass=NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=False)
        with context.begin_transaction():
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            context.run_migrations()


run()
