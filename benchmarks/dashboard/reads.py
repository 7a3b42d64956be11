"""What the dashboard's figures cost, computed: interleaved over databases of several sizes."""

from __future__ import annotations

import datetime as dt
import json
import re
import statistics
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import click
from sqlalchemy import Engine, create_engine, text

from haven.billing.service import agency_day
from haven.db.base import PLATFORM
from haven.db.migrate import sqlalchemy_url
from haven.db.prepare import APP_ROLE, OWNER_ROLE
from haven.db.session import tenant_session
from haven.demo.service import load
from haven.demo.sizes import Size
from haven.insight import service
from haven.insight.figures import FIGURES, parameters
from haven.insight.periods import month_of
from tests.support.servers import Addresses

# The demo's story ends at this moment: most of the month's rent has come, and last month is closed.
NOW: Final = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Loaded:
    """A database with the demo in it, and the agency that is looked at."""

    engine: Engine
    agency_id: uuid.UUID


def measure(addresses: Addresses, families: Mapping[str, Mapping[str, Size]], rounds: int) -> None:
    """Load each size once, compute by turns, and tell the medians."""
    loaded: dict[Size, Loaded] = {}
    for sizes in families.values():
        for size in sizes.values():
            if size not in loaded:
                loaded[size] = _load(addresses, f"haven_dashboard_{len(loaded)}", size)
    for family, sizes in families.items():
        databases = {name: loaded[size] for name, size in sizes.items()}
        for month in (None, "2026-08"):
            _tell(family, month, databases, rounds)


def _load(addresses: Addresses, name: str, size: Size) -> Loaded:
    addresses.new_database(name)
    began = time.monotonic()
    load(addresses.database_url(OWNER_ROLE, name), size, now=NOW)
    click.echo(
        f"loaded {(size.payments or 0) * size.agencies:,} payments in {time.monotonic() - began:.0f} s"
    )
    engine = create_engine(sqlalchemy_url(addresses.database_url(APP_ROLE, name)))
    with tenant_session(engine, PLATFORM, is_platform=True) as session:
        query = text("SELECT id FROM agency WHERE slug <> 'platform' ORDER BY id LIMIT 1")
        return Loaded(engine, session.execute(query).scalar_one())


def _tell(family: str, month: str | None, databases: Mapping[str, Loaded], rounds: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in databases}
    for number in range(rounds + 3):
        for name, one in databases.items():
            took_ms = _compute(one, month)
            if number >= 3:  # the first ones fill PostgreSQL's buffers and this connection's caches
                times[name].append(took_ms)
    medians = {name: statistics.median(found) for name, found in times.items()}
    least = medians[next(iter(medians))]
    click.echo(f"\n{family}, {month or 'the running month'}, {rounds} rounds")
    click.echo(
        "payments in all   cold, ms   ratio   planned, ms   executed, ms   blocks   in the month: payments"
    )
    for name, one in databases.items():
        plan = _plan(one, month)
        nodes = list(_nodes(plan["Plan"]))
        click.echo(
            f"{name:>15}   {medians[name]:8.2f}   {medians[name] / least:5.2f}   {plan['Planning Time']:11.2f}"
            f"   {plan['Execution Time']:12.2f}   {plan['Plan']['Shared Hit Blocks']:6}   {_payments(nodes):>8}"
        )
    whole = sorted(
        {f"{node['Node Type']} on {node['Relation Name']}" for node in nodes if "Relation Name" in node}
    )
    click.echo(f"reads by: {', '.join(whole)}")


def _compute(one: Loaded, month: str | None) -> float:
    """Milliseconds of the figures, with their transaction, from nothing that is stored."""
    began = time.perf_counter()
    with tenant_session(one.engine, one.agency_id) as session:
        service.stats(session, month, None, NOW)
    return (time.perf_counter() - began) * 1000


def _plan(one: Loaded, month: str | None) -> dict[str, Any]:
    with tenant_session(one.engine, one.agency_id) as session:
        values = parameters(one.agency_id, month_of(agency_day(session, NOW), month), None)
        found = session.execute(
            text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {FIGURES}"), values
        ).scalar_one()
    plan: dict[str, Any] = (json.loads(found) if isinstance(found, str) else found)[0]
    return plan


def _payments(nodes: list[dict[str, Any]]) -> str:
    """How many payments of the month were read."""
    rows = [
        node["Actual Rows"] for node in nodes if re.search("payment_received", node.get("Index Name", ""))
    ]
    return f"{rows[0]:,.0f}" if rows else "?"


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)
