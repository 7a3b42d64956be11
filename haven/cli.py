"""The ``haven`` command: its subcommands are imported when they are called, so ``haven status`` stays quick."""

from __future__ import annotations

import importlib
from typing import Final

import click

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "up": (
        "haven.stack_commands:up",
        "Start Haven here: PostgreSQL, Valkey, web, workers, M-Pesa simulator.",
    ),
    "down": ("haven.stack_commands:down", "Stop what `haven up` started; the data stays."),
    "status": ("haven.stack_commands:status", "Show each process of the stack: state, pid, address."),
    "db": ("haven.db.commands:db", "Upgrade, downgrade and inspect the database schema."),
    "alerts": (
        "haven.operations.alert_commands:alerts",
        "Show alerts and their rules; the rules for Prometheus; send a test.",
    ),
    "bench": ("haven.benchmarking.commands:bench", "Measure Haven; say what became slower, and since when."),
    "cache": ("haven.operations.cache_commands:cache", "Clear, warm and read the cache."),
    "cron": (
        "haven.operations.cron_commands:cron",
        "Show what the clock did last, and when it is due again.",
    ),
    "doctor": ("haven.doctor.commands:doctor", "Look for what is wrong, and say what to do."),
    "loadtest": (
        "haven.loadtest.commands:loadtest",
        "Let simulated people use Haven, and judge how it does.",
    ),
    "limits": ("haven.operations.commands:limits", "Show the rate limits and whom they refused; change one."),
    "demo": ("haven.demo.commands:demo", "Load believable Kenyan agencies: small, medium or large."),
    "import": ("haven.bulk.commands:import_command", "Create rows from a CSV, NDJSON or JSON file."),
    "export": (
        "haven.insight.exports.commands:export",
        "Write a whole list into a CSV, XLSX, NDJSON or Parquet file.",
    ),
    "report": ("haven.insight.reports.commands:report", "Make a report: JSON, a workbook or a PDF."),
    "sms-callback": (
        "haven.notifications.commands:sms_callback",
        "Show where the SMS gateway is to post delivery reports.",
    ),
    "verify": ("haven.billing.commands:verify_command", "Check every agency's books against its rows."),
    "mpesa-simulator": (
        "haven.payments.mpesa.simulator.commands:simulator",
        "Serve a stand-in for Safaricom's M-Pesa API.",
    ),
}
"""Name of each subcommand: where it lives (``module:attribute``) and its one line of help."""


class LazyGroup(click.Group):
    """A group that imports a subcommand only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}:{attribute} is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Haven, the property-management API: run it, look after its database, fill it with a demo."""
