"""``haven db``: the schema's revisions, and the roles of a server."""

from __future__ import annotations

import os
import secrets

import click

from haven.db import migrate
from haven.db.prepare import APP_ROLE, OWNER_ROLE, prepare_server, with_role

_url_option = click.option(
    "--url",
    default=lambda: os.environ.get("DATABASE_OWNER_URL") or os.environ.get("DATABASE_URL", ""),
    help="PostgreSQL, as the role that owns the tables.  [default: DATABASE_OWNER_URL or DATABASE_URL]",
)


@click.group()
def db() -> None:
    """Upgrade, downgrade and inspect the database schema."""


@db.command()
@_url_option
@click.argument("revision", default="head")
def upgrade(url: str, revision: str) -> None:
    """Bring the schema up to REVISION (the newest, if none is given)."""
    migrate.upgrade(_required(url), revision)
    click.echo(f"The schema is at revision {migrate.current(url)}.")


@db.command()
@_url_option
@click.argument("revision")
@click.confirmation_option(prompt="This removes tables and what is in them. Go on?")
def downgrade(url: str, revision: str) -> None:
    """Take the schema down to REVISION (`base`: nothing is left)."""
    migrate.downgrade(_required(url), revision)
    click.echo(f"The schema is at revision {migrate.current(url) or 'base'}.")


@db.command()
@_url_option
def current(url: str) -> None:
    """Show the revision of the database and the newest one; exit code 1 where they differ."""
    found, newest = migrate.current(_required(url)), migrate.head()
    click.echo(f"database {found or 'base'}, newest {newest}")
    if found != newest:
        raise click.exceptions.Exit(1)


@db.command()
@click.argument("superuser_url")
@click.option("--database", default="haven", show_default=True, help="Made if it is missing.")
@click.option("--owner-password", default=lambda: secrets.token_urlsafe(24), help="Made up if not given.")
@click.option("--app-password", default=lambda: secrets.token_urlsafe(24), help="Made up if not given.")
def prepare(superuser_url: str, database: str, owner_password: str, app_password: str) -> None:
    """Make Haven's two roles, its database and extensions on a server; prints the URLs to set."""
    prepare_server(superuser_url, database, owner_password, app_password)
    for variable, role, password in (
        ("DATABASE_URL", APP_ROLE, app_password),
        ("DATABASE_OWNER_URL", OWNER_ROLE, owner_password),
    ):
        click.echo(f"{variable}={with_role(superuser_url, role, password, database)}")


def _required(url: str) -> str:
    if not url:
        raise click.UsageError("Give --url, or set DATABASE_OWNER_URL or DATABASE_URL.")
    return url
