"""Prepares a PostgreSQL server for Haven: two roles, the database, its extensions and default privileges.

Everything here may be run again at any time. Roles and extensions of a server that somebody else manages can be made
by hand instead; the README's deployment page has the same statements.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg2
from psycopg2 import errors, sql
from psycopg2.extensions import connection, make_dsn, parse_dsn
from sqlalchemy import make_url

OWNER_ROLE: Final = "haven_owner"
APP_ROLE: Final = "haven_app"
EXTENSIONS: Final = ("btree_gist", "btree_gin", "pg_trgm")
LEAKPROOF_FUNCTIONS: Final = (
    "textlike(text, text)",
    "texticlike(text, text)",
    "numeric_lt(numeric, numeric)",
    "numeric_le(numeric, numeric)",
    "numeric_eq(numeric, numeric)",
    "numeric_ge(numeric, numeric)",
    "numeric_gt(numeric, numeric)",
)
"""LIKE, ILIKE and the comparisons of money. Unless they are leakproof, a row-level-security policy is checked before them:
a search cannot use its trigram index, and a page of a list by amount reads all rows before it. A comparison of numbers has
no error; those of LIKE (a pattern ending in a backslash) say nothing of a row's content."""

log = logging.getLogger(__name__)


def prepare_server(superuser_url: str, database: str, owner_password: str, app_password: str) -> None:
    """Make, or bring up to date, the roles and the database.

    ``superuser_url`` names any database of the server. The passwords become those of haven_owner, which migrations
    run as, and haven_app, which the application runs as and which row-level security always binds.
    """
    with _connection(superuser_url) as server:
        _make_role(server, OWNER_ROLE, owner_password)
        _make_role(server, APP_ROLE, app_password)
        _make_database(server, database)
    with _connection(make_dsn(**{**parse_dsn(superuser_url), "dbname": database})) as server:
        _prepare_database(server, database)


def with_role(url: str, role: str, password: str, database: str | None = None) -> str:
    """The URL of the same database, or another of its server, signed in as another role."""
    other = make_url(url).set(username=role, password=password, database=database)
    return other.render_as_string(hide_password=False)


def is_above_row_security(url: str) -> bool:
    """Whether the role that the URL signs in as is one that no row-level security binds."""
    return _has_row(url, "SELECT 1 FROM pg_roles WHERE rolname = current_user AND (rolsuper OR rolbypassrls)")


def has_role(url: str, role: str) -> bool:
    """Whether the server has the role already."""
    return _has_row(url, "SELECT 1 FROM pg_roles WHERE rolname = %s", role)


def signs_in(url: str) -> bool:
    """Whether the server lets the URL's role in with its password."""
    try:
        psycopg2.connect(url, connect_timeout=5).close()
    except psycopg2.OperationalError:
        return False
    return True


def drop_database(superuser_url: str, database: str) -> None:
    """Remove the database with everything in it, also while somebody is connected."""
    with _connection(superuser_url) as server, server.cursor() as cursor:
        cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))


def _has_row(url: str, statement: str, *values: str) -> bool:
    with _connection(url) as server, server.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchone() is not None


@contextmanager
def _connection(dsn: str) -> Iterator[connection]:
    """An autocommit connection that is closed at the end (psycopg2's own context manager only commits)."""
    server: connection = psycopg2.connect(dsn, connect_timeout=10)
    server.autocommit = True
    try:
        yield server
    finally:
        server.close()


def _make_role(server: connection, role: str, password: str) -> None:
    with server.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,))
        verb = "ALTER" if cursor.fetchone() else "CREATE"
        attributes = "LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION"
        statement = f"{verb} ROLE {{}} {attributes} PASSWORD {{}}"
        cursor.execute(sql.SQL(statement).format(sql.Identifier(role), sql.Literal(password)))


def _make_database(server: connection, database: str) -> None:
    with server.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,))
        if cursor.fetchone() is None:
            cursor.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} ENCODING 'UTF8' TEMPLATE template0").format(
                    sql.Identifier(database), sql.Identifier(OWNER_ROLE)
                )
            )


def _prepare_database(server: connection, database: str) -> None:
    owner, app = sql.Identifier(OWNER_ROLE), sql.Identifier(APP_ROLE)
    with server.cursor() as cursor:
        for extension in EXTENSIONS:
            cursor.execute(sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(extension)))
        cursor.execute("SHOW shared_preload_libraries")
        if "pg_stat_statements" in (cursor.fetchone() or ("",))[0]:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        _make_leakproof(server)
        for statement in (
            "REVOKE ALL ON DATABASE {database} FROM PUBLIC",
            "GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {owner}, {app}",
            "GRANT USAGE, CREATE ON SCHEMA public TO {owner}",
            "GRANT USAGE ON SCHEMA public TO {app}",
            "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public"
            " GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {app}",
            "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO {app}",
            # The operations pages show slow queries and connections; statistics hold no values of rows.
            "GRANT pg_read_all_stats TO {app}",
        ):
            cursor.execute(sql.SQL(statement).format(database=sql.Identifier(database), owner=owner, app=app))


def _make_leakproof(server: connection) -> None:
    with server.cursor() as cursor:
        for function in LEAKPROOF_FUNCTIONS:
            try:
                cursor.execute(sql.SQL("ALTER FUNCTION pg_catalog.{} LEAKPROOF").format(sql.SQL(function)))
            except errors.InsufficientPrivilege:
                log.warning(
                    "%s stays as it is (needs a superuser): searches and lists by amount will read more rows",
                    function,
                )
