"""``python -m benchmarks.reports``: each report of one big agency, computed cold: seconds, statements, sequential scans, rows."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections import Counter
from typing import Any

import click
from sqlalchemy import Engine, create_engine, event, text

import haven.models  # noqa: F401  every table must be known before the first query
from haven.db.base import PLATFORM
from haven.db.migrate import sqlalchemy_url
from haven.db.prepare import APP_ROLE, OWNER_ROLE
from haven.db.session import tenant_session
from haven.demo.service import load_demo
from haven.demo.sizes import SIZES, Size
from haven.errors import Invalid
from haven.insight.reports.asking import KINDS, Ask
from haven.insight.reports.making import make
from haven.insight.reports.rendering import rendered
from tests.support.servers import ThrowAwayServers

_BIG = ("payment", "invoice", "invoice_line", "allocation", "ledger_entry", "ledger_transaction", "lease")


@click.command()
@click.option(
    "--payments",
    default=60_000,
    show_default=True,
    help="Of the one agency; the demo loads far more slowly from some 100,000 in one agency.",
)
@click.option("--rounds", default=3, show_default=True, help="Times that each is made; medians are told.")
def main(payments: int, rounds: int) -> None:
    """Each report of last month, and what its formats cost on top."""
    invoices = payments * 5 // 6
    SIZES["report"] = Size(
        agencies=1, months=24, units_per_property=(24, 60), invoices=invoices, payments=payments, sets_indexes_aside=True
    )  # fmt: skip
    servers = ThrowAwayServers()
    try:
        addresses = servers.start()
        addresses.new_database("reports")
        load_demo(addresses.database_url(OWNER_ROLE, "reports"), "report")
        engine = create_engine(sqlalchemy_url(addresses.database_url(APP_ROLE, "reports")))
        _measure(engine, rounds)
        engine.dispose()
    finally:
        servers.stop()


def _measure(engine: Engine, rounds: int) -> None:
    with tenant_session(engine, PLATFORM, is_platform=True) as session:
        agency_id = session.execute(text("SELECT id FROM agency WHERE slug <> 'platform'")).scalar_one()
    with tenant_session(engine, agency_id) as session:
        leases = session.execute(text("SELECT count(*) FROM lease")).scalar_one()
        owner = session.execute(
            text("SELECT owner_id FROM property WHERE owner_id IS NOT NULL LIMIT 1")
        ).scalar_one()
        tenant = session.execute(text("SELECT tenant_id FROM payment LIMIT 1")).scalar_one()
    click.echo(f"{leases:,} leases")
    last = dt.datetime.now(dt.UTC).date().replace(day=1) - dt.timedelta(days=1)
    people = {"owner-statement": {"owner_id": owner}, "tenant-statement": {"tenant_id": tenant}}
    for kind in KINDS:
        ask = Ask(kind, last.replace(day=1), last, "json", people.get(kind, {}))
        _one(engine, agency_id, ask, rounds)


def _one(engine: Engine, agency_id: uuid.UUID, ask: Ask, rounds: int) -> None:
    statements: list[tuple[str, Any]] = []

    def note(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:  # noqa: ARG001
        statements.append((statement, parameters))

    times = []
    for _ in range(rounds):
        statements.clear()
        event.listen(engine, "before_cursor_execute", note)
        began = time.perf_counter()
        with tenant_session(engine, agency_id) as session:
            document = make(session, ask, dt.datetime.now(dt.UTC))
        times.append(time.perf_counter() - began)
        event.remove(engine, "before_cursor_execute", note)
    formats = []
    for form in ("json", "xlsx", "pdf"):
        began = time.perf_counter()
        try:
            size = f"{len(rendered(document, form)):,} B"
        except Invalid as error:
            size = error.detail
        formats.append(f"{form} {time.perf_counter() - began:.2f} s ({size})")
    scans = _scans(engine, agency_id, statements)
    asked = [one for one in statements if "set_config" not in one[0]]
    click.echo(
        f"{ask.kind}: first {times[0]:.2f} s, median {sorted(times)[rounds // 2]:.2f} s, {len(asked)} statements,"
        f" {document.rows:,} rows; scans of whole big tables: {dict(scans) or 'none'}; {', '.join(formats)}"
    )


def _scans(engine: Engine, agency_id: uuid.UUID, statements: list[tuple[str, Any]]) -> Counter[str]:
    found: Counter[str] = Counter()
    with tenant_session(engine, agency_id) as session:
        for statement, parameters in statements:
            if "set_config" in statement:
                continue
            plan = session.connection().exec_driver_sql(f"EXPLAIN {statement}", parameters)
            for (line,) in plan:
                found.update(table for table in _BIG if f"Seq Scan on {table} " in line)
    return found


if __name__ == "__main__":
    main()
