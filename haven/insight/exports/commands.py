"""``haven export``: a list into a file here, with a progress bar."""

from __future__ import annotations

import os
import signal
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from sqlalchemy import Engine

_RESOURCES = ("properties", "units", "tenants", "leases", "invoices", "payments")


@click.command("export")
@click.argument("resource", type=click.Choice(_RESOURCES))
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "xlsx", "ndjson", "parquet"]),
    default="csv",
    show_default=True,
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file; one that is there is replaced.",
)
@click.option("--agency", "slug", help="The agency, by its slug.  [default: the only one]")
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="NAME=VALUE",
    help="As in the list's query: status=COMPLETED, amount__gte=1000, q=…; may be repeated.",
)
@click.option("--compression", type=click.Choice(["gzip", "zstd"]), help="Of CSV and NDJSON.")
def export(
    resource: str, form: str, out: Path, slug: str | None, filters: tuple[str, ...], compression: str | None
) -> None:
    """Write all of RESOURCE that the filters let through into a file. Whole, or there is none: exit code 1."""
    import haven.models  # noqa: F401
    from config import load_settings
    from haven.errors import HavenError
    from haven.insight.exports import service
    from haven.insight.exports.query import Plan
    from haven.runtime import worker_engine

    settings = load_settings()
    engine = worker_engine(settings, settings.database_url)
    # Politely ended, as by Ctrl-C: what is half written is removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        service.check_format(form, compression)
        plan = Plan.of(resource, _parsed(filters))
        rows = _write(engine, _agency(engine, slug), plan, out, form, compression)
    except HavenError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{out} cannot be written: {error.strerror}.") from None
    finally:
        engine.dispose()
    click.echo(f"{rows:,} rows in {out}", err=True)


def _write(
    engine: Engine, agency_id: uuid.UUID, plan: Any, out: Path, form: str, compression: str | None
) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from haven.db.session import tenant_session
    from haven.insight.exports.writing import Teller, write

    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with (
            Progress(*columns, console=Console(stderr=True)) as bar,
            tenant_session(engine, agency_id, "cli") as session,
        ):
            task = bar.add_task(plan.resource.name, total=None)
            teller = Teller(lambda done, total: bar.update(task, completed=done, total=total), lambda: None)
            written = write(session, plan, part, form, teller, compression=compression)
            bar.update(task, completed=written.rows, total=written.rows)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
        part.with_suffix(".errors").unlink(missing_ok=True)
    return written.rows


def _parsed(filters: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in filters:
        name, equals, value = one.partition("=")
        if not equals or name in found:
            raise click.UsageError(f"--filter {one!r}: give NAME=VALUE, each name once.")
        found[name] = value
    return found


def _agency(engine: Engine, slug: str | None) -> uuid.UUID:
    from sqlalchemy import select

    from haven.db.base import PLATFORM
    from haven.db.session import tenant_session
    from haven.identity.models import Agency

    query = select(Agency.id).where(Agency.id != PLATFORM).limit(2)
    with tenant_session(engine, PLATFORM, "cli", is_platform=True) as session:
        found = list(session.execute(query if slug is None else query.where(Agency.slug == slug)).scalars())
    if not found:
        raise click.UsageError(f"There is no agency {slug or 'yet'}.")
    if len(found) > 1:
        raise click.UsageError("There are several agencies: say which, with --agency SLUG.")
    return found[0]
