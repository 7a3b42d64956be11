"""Moves the database's schema up and down (Alembic), as the owner's role."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, make_url
from sqlalchemy.pool import NullPool

_FOLDER = Path(__file__).parent / "migrations"


def _config(url: str = "") -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["url"] = url
    return config


def upgrade(owner_url: str, revision: str = "head") -> None:
    """Bring the schema up to ``revision``; nothing happens where it is there already.

    Two that start at once take turns (an advisory lock), so that each web host may run it on release.
    """
    command.upgrade(_config(owner_url), revision)


def downgrade(owner_url: str, revision: str) -> None:
    """Take the schema down to ``revision`` (``base``: nothing is left)."""
    command.downgrade(_config(owner_url), revision)


def head() -> str:
    """The newest revision this code knows."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise LookupError("haven/db/migrations has no revision")
    return revision


def current(url: str) -> str | None:
    """The revision a database is at; None for an empty one."""
    engine = create_engine(sqlalchemy_url(url), poolclass=NullPool)
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def sqlalchemy_url(url: str) -> str:
    """``url`` with the driver named; PaaS platforms give ``postgres://``."""
    return (
        make_url(url.replace("postgres://", "postgresql://", 1))
        .set(drivername="postgresql+psycopg2")
        .render_as_string(False)
    )
