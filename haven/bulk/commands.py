"""``haven import``: rows from a file, at the terminal."""

from __future__ import annotations

import csv
import shutil
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any, BinaryIO, Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from sqlalchemy import select

import haven.models  # noqa: F401  every table must be known before the first query
from config import load_settings
from haven.bulk import running
from haven.bulk.reading import about_rows
from haven.bulk.resources import BULK
from haven.db.base import PLATFORM
from haven.db.session import tenant_session
from haven.errors import HavenError
from haven.identity.models import Agency
from haven.operations.jobs import job_session
from haven.runtime import Runtime

_FORMATS: Final = {
    ".csv": "CSV",
    ".txt": "CSV",
    ".tsv": "CSV",
    ".ndjson": "NDJSON",
    ".jsonl": "NDJSON",
    ".json": "JSON",
}
_SHOWN: Final = 20


@click.command("import")
@click.argument("resource", type=click.Choice(list(BULK)))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--agency", "slug", help="The agency's slug; may be left out where there is one only.")
@click.option("--mode", type=click.Choice(["atomic", "partial"]), default="atomic", show_default=True)
@click.option("--dry-run", is_flag=True, help="Check every row and change nothing.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "ndjson", "json"]),
    help="[default: by the file's name; of - csv]",
)
@click.option(
    "--errors", type=click.Path(dir_okay=False, path_type=Path), help="Write the errors to this CSV file."
)
def import_command(
    resource: str,
    file: Path,
    slug: str | None,
    mode: str,
    dry_run: bool,
    form: str | None,
    errors: Path | None,
) -> None:
    """Create RESOURCE from FILE (- is the standard input). Exit code 1 where a row was refused."""
    runtime = Runtime.start(load_settings())
    agency_id = _agency(runtime, slug)
    chosen = form.upper() if form else _FORMATS.get(file.suffix.lower(), "CSV")
    order = running.Order(resource, "CREATE", mode.upper(), chosen, dry_run)
    try:
        with tempfile.TemporaryFile() as kept:
            _take(file, kept)
            tally = _run(runtime, agency_id, order, kept)
    except HavenError as error:
        raise click.ClickException(error.detail) from None
    report = tally.report(order)
    _show(report)
    if errors is not None:
        _write(errors, report["errors"])
    if tally.failed:
        raise click.exceptions.Exit(1)


def _agency(runtime: Runtime, slug: str | None) -> uuid.UUID:
    with tenant_session(runtime.engine, PLATFORM, "haven import", is_platform=True) as session:
        query = select(Agency.id, Agency.slug).where(Agency.id != PLATFORM).order_by(Agency.slug).limit(20)
        agencies = session.execute(query if slug is None else query.where(Agency.slug == slug)).all()
    if not agencies:
        raise click.UsageError("There is no agency yet." if slug is None else f"There is no agency {slug}.")
    if len(agencies) > 1:
        raise click.UsageError(f"Say --agency: one of {', '.join(agency.slug for agency in agencies)}.")
    found: uuid.UUID = agencies[0].id
    return found


def _take(file: Path, kept: BinaryIO) -> None:
    if str(file) == "-":
        shutil.copyfileobj(sys.stdin.buffer, kept)
        return
    with file.open("rb") as source:
        shutil.copyfileobj(source, kept)


def _run(runtime: Runtime, agency_id: uuid.UUID, order: running.Order, kept: BinaryIO) -> running.Tally:
    with job_session(runtime, agency_id, "haven import") as session:
        zone = running.zone_of(session)
    total = about_rows(kept, order.format)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(order.resource, total=total)
        tally = running.here(
            lambda: job_session(runtime, agency_id, "haven import"),
            order,
            order.rows(kept, zone),
            runtime.settings.bulk_batch_size,
            lambda done: progress.update(task, completed=done, total=max(done, total)),
        )
        # Line ends were counted, not rows.
        progress.update(task, completed=tally.rows, total=tally.rows)
        return tally


def _show(report: dict[str, Any]) -> None:
    console = Console()
    if report["errors"]:
        table = Table("row", "column", "value", "what is wrong")
        for one in report["errors"][:_SHOWN]:
            table.add_row(str(one["row"]), one["column"] or "", one.get("value", ""), one["detail"])
        console.print(table)
    if len(report["errors"]) > _SHOWN:
        console.print(f"… and more; --errors FILE writes the first {len(report['errors']):,}.")
    good, failed = report["succeeded"], report["failed"]
    if report["applied"]:
        console.print(f"{good:,} {report['resource']} made, {failed:,} rows refused.")
    else:
        are = "row is" if good == 1 else "rows are"
        console.print(f"Nothing was changed: {good:,} {are} good, {failed:,} not.")


def _write(path: Path, errors: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["row", "column", "value", "detail"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(errors)
