"""``haven verify``: whether every agency's books are right."""

from __future__ import annotations

import datetime as dt
import os

import click
from sqlalchemy import create_engine, select

import haven.models  # noqa: F401  every table must be known before the first query
from haven.billing.verify import RULES, verify
from haven.db.base import PLATFORM
from haven.db.migrate import sqlalchemy_url
from haven.db.session import tenant_session
from haven.identity.models import Agency


@click.command("verify")
@click.option(
    "--url", default=lambda: os.environ.get("DATABASE_URL", ""), help="PostgreSQL.  [default: DATABASE_URL]"
)
@click.option("--agency", "slug", help="Only this agency (its slug).")
def verify_command(url: str, slug: str | None) -> None:
    """Recompute every agency's books from its rows; exit code 1 where a rule is broken."""
    if not url:
        raise click.UsageError("Give --url, or set DATABASE_URL.")
    engine = create_engine(sqlalchemy_url(url))
    now = dt.datetime.now(dt.UTC)
    with tenant_session(engine, PLATFORM, "verify", is_platform=True) as session:
        query = select(Agency.id, Agency.slug).where(Agency.id != PLATFORM).order_by(Agency.slug)
        agencies = session.execute(query if slug is None else query.where(Agency.slug == slug)).all()
    if slug is not None and not agencies:
        raise click.UsageError(f"There is no agency {slug}.")
    broken = 0
    for agency in agencies:
        with tenant_session(engine, agency.id, "verify") as session:
            findings = verify(session, now)
        broken += len(findings)
        click.echo(f"{agency.slug}: " + ("right" if not findings else f"{len(findings)} rules broken"))
        for one in findings:
            click.echo(f"  not so: {one.rule}: {one.count} rows, such as {', '.join(one.examples)}")
    engine.dispose()
    click.echo(f"{len(agencies)} agencies, {len(RULES)} rules, {broken} broken")
    if broken:
        raise click.exceptions.Exit(1)
