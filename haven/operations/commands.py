"""``haven limits``: the rate limits from a terminal, for when nobody can sign in."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console
from rich.table import Table

from config import load_settings
from extensions.rate_limiting import RateLimiting
from haven.db.base import PLATFORM
from haven.db.session import tenant_session
from haven.errors import HavenError
from haven.operations import rate_limits


@click.command()
@click.argument("changes", nargs=-1, metavar="[NAME=RULE ...]")
def limits(changes: tuple[str, ...]) -> None:
    """Show the rate limits and whom they refused in the last hour.

    With NAME=RULE change them, in every process within seconds: `haven limits "login=5 per minute"`. An empty RULE puts a
    limit back to its setting.
    """
    from haven.app import create_app  # late: `haven --help` need not load the application

    app = create_app(load_settings())
    with app.app_context():
        limiting = RateLimiting()
        if changes:
            _change(app.extensions["haven"].engine, limiting, changes)
        _show(limiting.report())


def _change(engine: Any, limiting: RateLimiting, changes: tuple[str, ...]) -> None:
    wanted: dict[str, str | None] = {}
    for change in changes:
        name, equals, rule = change.partition("=")
        if not equals or name not in rate_limits.NAMES:
            raise click.UsageError(f"Write NAME=RULE, with a NAME of {', '.join(rate_limits.NAMES)}.")
        wanted[name] = rule.strip() or None
    try:
        with tenant_session(engine, PLATFORM, "haven limits", is_platform=True) as session:
            rate_limits.change(session, limiting.override, wanted)
    except HavenError as error:
        raise click.ClickException(error.detail) from None


def _show(report: dict[str, Any]) -> None:
    table = Table("limit", "in force", "setting", "refused in the last hour")
    for one in report["limits"]:
        refused = report["refused_by_limit"].get(one["name"], 0)
        table.add_row(one["name"], one["limit"], one["setting"], f"{refused:,}")
    console = Console()
    console.print(table)
    for one in report["most_refused"]:
        console.print(f"{one['refused']:>8,}  {one['limit']}  {one['caller']}", highlight=False)
