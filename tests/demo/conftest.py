"""Databases with a demo in them, and one to try loading on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import make_dsn, parse_dsn

from haven.db.prepare import OWNER_ROLE
from haven.demo.service import load
from haven.demo.sizes import SIZES
from tests.demo.loaded import EXACT, Loaded
from tests.support.servers import Addresses

LOADS = {
    "small today": (SIZES["small"], None),
    "small on a first of the month": (SIZES["small"], dt.datetime(2027, 1, 1, 7, 0, tzinfo=dt.UTC)),
    "small before the first's rent run": (SIZES["small"], dt.datetime(2027, 1, 1, 1, 30, tzinfo=dt.UTC)),
    "small on a leap day": (SIZES["small"], dt.datetime(2028, 2, 29, 20, 30, tzinfo=dt.UTC)),
    "exact": (EXACT, dt.datetime(2026, 11, 24, 9, 0, tzinfo=dt.UTC)),
}


@pytest.fixture(scope="session")
def fresh_database(addresses: Addresses, worker_number: int) -> Callable[[], str]:
    """A function that makes an empty database with the schema; the owner's URL of it."""
    count = iter(range(1000))

    def make() -> str:
        name = f"haven_demo_{worker_number}_{next(count)}"
        addresses.new_database(name)
        return addresses.database_url(OWNER_ROLE, name)

    return make


@pytest.fixture(scope="session")
def rows(superuser_url: str) -> Callable[..., list[tuple[Any, ...]]]:
    """A function that asks the database of an owner's URL as the superuser, who sees every agency."""

    def ask(url: str, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        dsn = make_dsn(**{**parse_dsn(superuser_url), "dbname": parse_dsn(url)["dbname"]})
        connection = psycopg2.connect(dsn)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(query, arguments or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    return ask


@pytest.fixture(scope="session", params=LOADS)
def loaded(
    request: pytest.FixtureRequest,
    fresh_database: Callable[[], str],
    rows: Callable[..., list[tuple[Any, ...]]],
) -> Loaded:
    """A database with the demo, for each of several days and sizes."""
    size, now = LOADS[request.param]
    now = now or dt.datetime.now(dt.UTC)
    url = fresh_database()
    return Loaded(url, size, now, load(url, size, now=now), rows)
