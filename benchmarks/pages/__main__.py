"""``python -m benchmarks.pages``: the 10,000th page of a list, reached by its cursor, against the first.

Whole requests, computed anew (``no-cache``), in one process, in turn; medians and their ratio, by processor time of the process
and by time. A list that skipped rows to get there would take as long as there are rows before the page.
"""

from __future__ import annotations

import gc
import statistics
import time
import uuid
from pathlib import Path
from typing import Any, Final

import click
from flask import Flask
from sqlalchemy import Text, cast, create_engine, select
from sqlalchemy.orm import Session

from benchmarks.callbacks.load import numbered
from benchmarks.support import administrator_key, run_script
from config import load_settings
from extensions.logs import configure_logging
from haven.api.cursors import Cursor
from haven.api.listing import Listing
from haven.api.resource import CACHED
from haven.app import create_app
from haven.db.migrate import sqlalchemy_url
from haven.db.prepare import APP_ROLE, OWNER_ROLE
from haven.db.session import tenant_session
from haven.payments.listings import PAYMENTS
from tests.support.servers import ThrowAwayServers

HERE: Final = Path(__file__).parent
DATABASE: Final = "haven_pages"
PAGE: Final = 10_000
LIMIT: Final = 50
MOST: Final = 1.2
SORTS: Final = {
    "properties": ("-created_at", "name"),
    "units": ("-created_at", "label", "-rent_amount"),
    "tenants": ("-created_at", "full_name"),
    "leases": ("-created_at", "start_date"),
    "invoices": ("-created_at", "due_at", "-total"),
    "payments": ("-created_at", "-paid_at", "amount"),
}


@click.command()
@click.option(
    "--rounds", default=41, show_default=True, help="Times that each page is asked for; medians are told."
)
@click.option("--page", default=PAGE, show_default=True, help="Which page is compared with the first.")
def main(rounds: int, page: int) -> None:
    """Compare a page far down each list with its first."""
    servers = ThrowAwayServers()
    addresses = servers.start()
    try:
        addresses.new_database(DATABASE)
        superuser_url = addresses.superuser_url.rpartition("/")[0] + f"/{DATABASE}"
        click.echo(f"Making {(page + 1) * LIMIT:,} rows of each resource …")
        run_script(superuser_url, HERE / "rows.sql", rows=(page + 1) * LIMIT)
        database_url = addresses.database_url(APP_ROLE, DATABASE)
        app = create_app(
            load_settings(
                {
                    "DATABASE_URL": database_url,
                    "DATABASE_OWNER_URL": addresses.database_url(OWNER_ROLE, DATABASE),
                    "REDIS_URL": f"{addresses.redis_url}/0",
                    "SECRET_KEY": "a key that is used in benchmarks and nowhere else",
                    "RATE_LIMIT_MAX_REQUESTS": "10000000",
                    "LOG_LEVEL": "WARNING",
                }
            )
        )
        configure_logging("WARNING")
        agency_id = uuid.UUID(numbered(1, 0))
        token = administrator_key(app, database_url, agency_id)
        with tenant_session(create_engine(sqlalchemy_url(database_url)), agency_id) as session:
            _measure(app, session, token, rounds, page)
    finally:
        servers.stop()


def _measure(app: Flask, session: Session, token: str, rounds: int, page: int) -> None:
    client, headers = app.test_client(), {"Authorization": f"Bearer {token}", "Cache-Control": "no-cache"}

    def taken(path: str) -> tuple[float, float]:
        """Processor and wall time of one request, ms."""
        cpu_s, began = time.process_time(), time.perf_counter()
        answer = client.get(path, headers=headers)
        times = (time.process_time() - cpu_s) * 1000, (time.perf_counter() - began) * 1000
        assert len(answer.get_json()["data"]) == LIMIT, answer.get_json()
        return times

    click.echo(f"{'':28}{'first':>10}{f'page {page:,}':>14}{'ratio':>8}{'by CPU':>8}")
    for name, sorts in SORTS.items():
        listing = CACHED[name].listing if name in CACHED else PAYMENTS
        for sort in sorts:
            path = f"/api/v1/{name}?limit={LIMIT}&sort={sort}"
            far = f"{path}&cursor={_cursor(session, listing, sort, page).text()}"
            for one in (path, far):
                taken(one)
            gc.collect()
            pairs = [(taken(path), taken(far)) for _ in range(rounds)]
            cpu, wall = (_ratio(pairs, at) for at in (0, 1))
            first, last = (statistics.median(pair[at][1] for pair in pairs) for at in (0, 1))
            verdict = "" if wall <= MOST else f"  OVER {MOST}"
            click.echo(f"{name:12}{sort:16}{first:7.2f} ms{last:11.2f} ms{wall:8.2f}{cpu:8.2f}{verdict}")


def _cursor(session: Session, listing: Listing, sort: str, page: int) -> Cursor:
    """The place after the last row of the page before."""
    name = sort.removeprefix("-")
    column: Any = listing.key if name == "created_at" else listing.sorts[name]
    order = [part.desc() if sort.startswith("-") else part.asc() for part in (column, listing.key)]
    wanted = select(cast(column, Text), listing.key).order_by(*order).offset((page - 1) * LIMIT - 1).limit(1)
    value, row_id = session.execute(wanted).one()
    return Cursor(sort, None if column is listing.key else value, row_id)


def _ratio(pairs: list[tuple[tuple[float, float], tuple[float, float]]], at: int) -> float:
    return statistics.median(far[at] / first[at] for first, far in pairs)


if __name__ == "__main__":
    main()
