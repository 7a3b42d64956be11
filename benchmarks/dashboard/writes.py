"""What the dashboard costs those who pay: the writes of callbacks by pgbench, in three databases by turns."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Final

import click

from benchmarks.callbacks.__main__ import CLIENTS, load_rows, pgbench_rate
from haven.db import migrate
from haven.db.prepare import APP_ROLE, OWNER_ROLE
from tests.support.servers import Addresses, superuser_cursor

BEFORE: Final = "0008"
"""The schema without the dashboard's indexes."""
_SUMMARY: Final = Path(__file__).parent / "summary.sql"


def measure(addresses: Addresses, rounds: int, each: int) -> None:
    """Payments a second in each, and the median of each round's own ratio to the one without."""
    databases = {
        name: f"haven_writes_{number}" for number, name in enumerate(("without", "indexes", "summary"))
    }
    for name, database in databases.items():
        _prepare(addresses, name, database, CLIENTS * each * (rounds + 1))
    found: dict[str, list[float]] = {name: [] for name in databases}
    for number in range(rounds + 1):
        for name, database in databases.items():
            rate = pgbench_rate(addresses.database_url(APP_ROLE, database), CLIENTS * each * number, each)
            if number:  # the first fills the buffers
                found[name].append(rate)
        click.echo("  ".join(f"{name} {rates[-1]:,.0f}/s" for name, rates in found.items() if rates))
    click.echo(
        f"\npayments a second, medians of {rounds} rounds of {CLIENTS * each:,} over {CLIENTS} connections"
    )
    for name, rates in found.items():
        ratio = statistics.median(one / bare for one, bare in zip(rates, found["without"], strict=True))
        click.echo(f"{name:>8}   {statistics.median(rates):7,.0f}   {ratio:.2f}")


def _prepare(addresses: Addresses, name: str, database: str, count: int) -> None:
    load_rows(addresses, count, database)
    if name != "indexes":
        migrate.downgrade(addresses.database_url(OWNER_ROLE, database), BEFORE)
    if name == "summary":
        url = addresses.superuser_url.rpartition("/")[0] + f"/{database}"
        with superuser_cursor(url) as cursor:
            cursor.execute(_SUMMARY.read_text())
