"""``haven report``: one report, made here and now, as a file."""

from __future__ import annotations

import datetime as dt
import os
import uuid
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import Engine, create_engine, select
from sqlalchemy.orm import Session

import haven.models  # noqa: F401  every table must be known before the first query
from haven.billing.days import agency_day
from haven.db.base import PLATFORM
from haven.db.migrate import sqlalchemy_url
from haven.db.session import Tenant, set_tenant, tenant_session
from haven.errors import HavenError
from haven.identity.models import Agency
from haven.insight.reports.asking import FORMATS, KINDS, checked
from haven.insight.reports.document import Document
from haven.insight.reports.making import make
from haven.insight.reports.rendering import rendered

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command("report")
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.option("--from", "first", type=_DAY, required=True, help="First day, where the agency is.")
@click.option("--to", "last", type=_DAY, required=True, help="Last day; balances are of its end.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="pdf", show_default=True)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The file to write."
)
@click.option("--agency", "slug", help="Its slug; needed where there are several.")
@click.option("--property", "property_id", type=click.UUID, help="Only this property.")
@click.option("--owner", "owner_id", type=click.UUID, help="Only this owner.")
@click.option("--tenant", "tenant_id", type=click.UUID, help="The tenant of a tenant statement.")
@click.option(
    "--url", default=lambda: os.environ.get("DATABASE_URL", ""), help="PostgreSQL.  [default: DATABASE_URL]"
)
def report(
    kind: str, first: dt.datetime, last: dt.datetime, form: str, out: Path, slug: str | None, url: str,
    **ids: uuid.UUID | None,
) -> None:  # fmt: skip
    """Make a report: JSON, a workbook or a PDF."""
    if not url:
        raise click.UsageError("Give --url, or set DATABASE_URL.")
    engine = create_engine(sqlalchemy_url(url))
    filters = {name: value for name, value in ids.items() if value is not None}
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("Adding up", total=3)
            document = _made(engine, _agency(engine, slug), kind, first.date(), last.date(), form, filters)
            progress.update(task, advance=1, description="Setting")
            content = rendered(document, form)
            progress.update(task, advance=1, description="Writing")
            _write(out, content)
            progress.update(task, advance=1, description="Done")
    except HavenError as error:
        raise click.ClickException(error.detail) from None
    finally:
        engine.dispose()
    click.echo(f"{out}: {len(content):,} bytes, {document.rows:,} rows")


def _made(
    engine: Engine, agency_id: uuid.UUID, kind: str, first: dt.date, last: dt.date, form: str, filters: dict[str, uuid.UUID]
) -> Document:  # fmt: skip
    now = dt.datetime.now(dt.UTC)
    with Session(engine) as session:
        set_tenant(session, Tenant(agency_id, "terminal"))
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        ask = checked(kind, first, last, form, filters, agency_day(session, now).today)
        return make(session, ask, now)


def _agency(engine: Engine, slug: str | None) -> uuid.UUID:
    query = select(Agency.id, Agency.slug).where(Agency.id != PLATFORM).order_by(Agency.slug)
    with tenant_session(engine, PLATFORM, "terminal", is_platform=True) as session:
        found = session.execute(query if slug is None else query.where(Agency.slug == slug)).all()
    if not found:
        raise click.UsageError(f"There is no agency {slug}." if slug else "There is no agency.")
    if len(found) > 1:
        raise click.UsageError(f"Say which with --agency: {', '.join(row.slug for row in found[:20])}.")
    return found[0].id  # type: ignore[no-any-return]


def _write(out: Path, content: bytes) -> None:
    """Under its name only once it is whole."""
    part = out.with_name(f".{out.name}.part")
    try:
        part.write_bytes(content)
        part.replace(out)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise click.ClickException(f"{out}: {error.strerror}") from None
