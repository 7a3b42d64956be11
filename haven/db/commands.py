"""``haven db``: the schema, up and down, and a server made ready."""

from __future__ import annotations

import click

from haven.db import migrate
from haven.db.prepare import prepare_server

_owner_url = click.option(
    "--url",
    envvar=["DATABASE_OWNER_URL", "DATABASE_URL"],
    required=True,
    help="PostgreSQL, as the role that owns the tables. Default: DATABASE_OWNER_URL, else DATABASE_URL.",
)


@click.group()
def db() -> None:
    """Upgrade, downgrade and inspect the database schema."""


@db.command()
@_owner_url
@click.option("--revision", default="head", show_default=True)
def upgrade(url: str, revision: str) -> None:
    """Bring the schema up to date."""
    migrate.upgrade(url, revision)
    click.echo(f"The schema is at {migrate.current(url)}.")


@db.command()
@_owner_url
@click.argument("revision")
@click.confirmation_option(prompt="Tables and their rows may be dropped. Go on?")
def downgrade(url: str, revision: str) -> None:
    """Take the schema down to REVISION (`base`: nothing is left)."""
    migrate.downgrade(url, revision)
    click.echo(f"The schema is at {migrate.current(url) or 'base'}.")


@db.command()
@_owner_url
def current(url: str) -> None:
    """Say which revision the database is at, and which one this code needs."""
    click.echo(f"The database is at {migrate.current(url) or 'base'}; this code needs {migrate.head()}.")


@db.command()
@click.option("--superuser-url", required=True, help="PostgreSQL as its administrator, any database.")
@click.option("--database", default="haven", show_default=True)
@click.option("--owner-password", prompt=True, hide_input=True)
@click.option("--app-password", prompt=True, hide_input=True)
def prepare(superuser_url: str, database: str, owner_password: str, app_password: str) -> None:
    """Make the two roles, the database and its extensions; may be run again at any time."""
    prepare_server(superuser_url, database, owner_password, app_password)
    click.echo(f"{database} is ready: haven_owner migrates it, haven_app serves it.")
