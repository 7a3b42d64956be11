"""``haven demo``: loads the demo and shows what it did and how to sign in."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from haven.demo.service import DEFAULT_SEED, DemoRefused, load_demo
from haven.demo.sizes import SIZES


@click.command()
@click.option(
    "--size", type=click.Choice(list(SIZES)), default="small", show_default=True, help="How much to load."
)
@click.option(
    "--seed", type=int, default=DEFAULT_SEED, show_default=True, help="Names and figures follow from it."
)
@click.option(
    "--database-owner-url",
    envvar=["DATABASE_OWNER_URL", "DATABASE_URL"],
    help="PostgreSQL, as the role that owns the tables. Default: DATABASE_OWNER_URL, else DATABASE_URL.",
)
def demo(size: str, seed: int, database_owner_url: str | None) -> None:
    """Load believable Kenyan agencies: small, medium or large."""
    if not database_owner_url:
        raise click.UsageError(
            "Say which database: set DATABASE_OWNER_URL, or give --database-owner-url. A stack with a demo of its own:"
            f" `haven up --demo {size} --data .haven-{size}`."
        )
    console = Console()
    began = time.monotonic()
    try:
        with _Account(console) as account:
            logins = load_demo(database_owner_url, size, seed=seed, progress=account)
    except DemoRefused as refusal:
        raise click.ClickException(str(refusal)) from None
    console.print(account.table())
    console.print(f"{account.rows:,} rows in {time.monotonic() - began:.1f} s.\n")
    console.print(_logins(logins))
    # Not in the table: a key cut off at the terminal's edge is no key.
    console.print(
        f"\nAPI key of the agency: {logins['agency_admin']['api_key']}\n", soft_wrap=True, highlight=False
    )
    console.print(
        "The passwords and the key are stored only as hashes: note them now.\n"
        "Phones are made up but shaped like real ones: never let a demo database talk to the real M-Pesa."
    )


class _Account:
    """Shows the step that runs, and keeps rows and seconds of each table."""

    def __init__(self, console: Console) -> None:
        self._rows: Counter[str] = Counter()
        self._seconds: dict[str, float] = {}
        self._display = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._display.add_task("Loading …")

    def __enter__(self) -> _Account:
        self._display.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._display.stop()

    def __call__(self, step: str, rows: int, seconds: float) -> None:
        name = _heading(step)
        self._rows[name] += rows
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds
        self._display.update(self._task, description=f"{self.rows:,} rows · {step}")

    @property
    def rows(self) -> int:
        """Rows written so far."""
        return self._rows.total()

    def table(self) -> Table:
        """Rows, seconds and rows a second of each table and step; seconds include the wait for rows to be made."""
        table = Table("step", box=None)
        for heading in ("rows", "s", "rows/s"):
            table.add_column(heading, justify="right")
        for name, seconds in self._seconds.items():
            rows = self._rows[name]
            rate = f"{rows / seconds:,.0f}" if rows and seconds > 0 else ""
            table.add_row(name, f"{rows:,}" if rows else "", f"{seconds:.2f}", rate)
        return table


def _heading(step: str) -> str:
    """A table by its name; the many keys and indexes under one heading each."""
    for start, heading in (("foreign key ", "foreign keys"), ("key ", "keys"), ("index ", "indexes")):
        if step.startswith(start):
            return heading
    return step


def _logins(logins: dict[str, Any]) -> Table:
    table = Table("role", "e-mail", "password", box=None)
    table.add_row("PLATFORM_ADMIN", logins["platform_admin"]["email"], logins["platform_admin"]["password"])
    admin = logins["agency_admin"]
    table.add_row("AGENCY_ADMIN", admin["email"], admin["password"])
    for other in logins["others"]:
        table.add_row(other["role"], other["email"], other["password"])
    return table
