"""``haven alerts``: alerts and their rules, from a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from config import load_settings
from extensions.alerting import DEFAULT_RULES, Rule
from extensions.alerting.prometheus import rule_file
from haven.db.base import PLATFORM
from haven.operations import alert_service as service

if TYPE_CHECKING:
    from haven.runtime import Runtime

_SHOWN = 50


@click.group()
def alerts() -> None:
    """Show alerts and their rules; the rules for Prometheus; send a test."""


@alerts.command("list")
@click.option("--all", "is_all", is_flag=True, help="Those that are over, too.")
def list_command(is_all: bool) -> None:
    """Show the alerts that are pending or firing, the newest first."""
    from haven.operations.jobs import job_session

    with job_session(_runtime(), PLATFORM, "haven alerts") as session:
        rows = service.recent(session, state=None if is_all else "OPEN", limit=_SHOWN)
    table = Table(
        "state", "severity", "alert", "value", "threshold", "since", "looked after by", "silenced until"
    )
    for row in rows:
        table.add_row(
            row["state"], row["severity"], row["fingerprint"], f"{row['value']:.4g}", f"{row['threshold']:.4g}",
            f"{row['started_at']:%Y-%m-%d %H:%M}", row["acknowledged_by"] or "", str(row["silenced_until"] or ""),
        )  # fmt: skip
    Console().print(table)


@alerts.command()
def rules() -> None:
    """Show every rule."""
    from haven.operations.jobs import job_session

    with job_session(_runtime(), PLATFORM, "haven alerts") as session:
        rows = service.rules(session)
    table = Table("rule", "metric", "", "threshold", "over at", "for", "severity", "on")
    for row in rows:
        table.add_row(
            row["name"], row["metric"], row["comparison"].lower(), f"{row['threshold']:g}",
            f"{row['resolve_threshold']:g}", f"{row['for_s']} s", row["severity"], "yes" if row["enabled"] else "no",
        )  # fmt: skip
    Console().print(table)


@alerts.command()
@click.option("--stored", is_flag=True, help="The rules of this installation, not the six it began with.")
def prometheus(stored: bool) -> None:
    """Print the rules as a rule file for Prometheus."""
    click.echo(rule_file(_stored() if stored else DEFAULT_RULES), nl=False)


@alerts.command()
def test() -> None:
    """Send an alert that is none to everybody who is told of alerts."""
    from haven.operations.alert_delivery import tell_test
    from haven.operations.jobs import job_session

    runtime = _runtime()
    with job_session(runtime, PLATFORM, "haven alerts") as session:
        count = tell_test(session, runtime.settings)
    if not count:
        raise click.ClickException("Nobody is told: set ALERT_EMAILS, ALERT_WEBHOOK_URL or ALERT_SLACK_URL.")
    click.echo(f"Queued {count}: a worker sends them. What fails is in `GET /api/v1/jobs/history`.")


def _stored() -> list[Rule]:
    from sqlalchemy import select

    from haven.operations.alert_turns import as_rule
    from haven.operations.jobs import job_session
    from haven.operations.models import AlertRule

    wanted = select(AlertRule).where(AlertRule.agency_id == PLATFORM, AlertRule.kind == "METRIC")
    with job_session(_runtime(), PLATFORM, "haven alerts") as session:
        return [as_rule(row) for row in session.scalars(wanted.order_by(AlertRule.name))]


def _runtime() -> Runtime:
    import haven.models  # noqa: F401  late: `haven --help` need not load them
    from haven.runtime import Runtime, worker_engine

    settings = load_settings()
    return Runtime.start(settings, worker_engine(settings, settings.database_url, "haven-cli"))
