"""``haven cron``: what the clock does, from a terminal."""

from __future__ import annotations

import datetime as dt

import click
from rich.console import Console
from rich.table import Table

from config import load_settings
from haven.db.base import PLATFORM
from haven.db.session import tenant_session
from haven.operations import maintenance


@click.group()
def cron() -> None:
    """Show what the clock did last, and when it is due again."""


@cron.command()
def status() -> None:
    """Show each task: its last run, how long it took, what it moved, its error, and when it is due again."""
    import haven.models  # noqa: F401  late: `haven --help` need not load them
    from haven.runtime import worker_engine

    settings = load_settings()
    engine = worker_engine(settings, settings.database_url, "haven-cli")
    now = dt.datetime.now(dt.UTC)
    with tenant_session(engine, PLATFORM, "haven cron") as session:
        rows = maintenance.tasks(session, now)
    engine.dispose()
    table = Table("task", "status", "last run", "took", "rows", "due in", "error")
    for row in rows:
        started = row["started_at"]
        table.add_row(
            row["name"],
            row["status"],
            "never" if started is None else f"{(now - started).total_seconds():,.0f} s ago",
            "" if row["took_s"] is None else f"{row['took_s']:.2f} s",
            f"{row['rows']:,}",
            f"{(row['next_at'] - now).total_seconds():,.0f} s",
            (row["error"] or "").partition("\n")[0],
        )
    Console().print(table)
