"""``python -m benchmarks.peers``: a page of 50 properties by Haven with all its guards, and by others without any.

Each round asks each program in turn, in an order that changes, over 16 connections; told are medians over the rounds and the
ratio to Haven of each round. Processor time is that of the program's own processes: it says what a page costs them whatever
else the machine does; the rate has PostgreSQL and the load generator in it, which share the processors.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from benchmarks.callbacks.load import numbered
from benchmarks.peers.programs import (
    BARE,
    DJANGO,
    EXPRESS,
    FASTIFY,
    FLASK,
    HAVEN,
    PRISMA,
    WORKER,
    Program,
    Running,
    install,
    running,
)
from benchmarks.peers.wire import ask, count_answers, request
from benchmarks.support import administrator_key, run_script
from config import load_settings
from haven.app import create_app
from haven.db.prepare import APP_ROLE, OWNER_ROLE
from tests.support.servers import Addresses, ThrowAwayServers

HERE: Final = Path(__file__).parent
DATABASE: Final = "haven_peers"
AGENCIES: Final = 16
PROPERTIES: Final = 300
UNITS: Final = 20
PATH: Final = "/api/v1/properties"


@dataclass
class Way:
    """One program asked for one thing."""

    name: str
    server: Running
    asked: bytes
    rates: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    def measure(self, seconds: float) -> None:
        cpu_s = self.server.cpu_s()
        count, took_s = count_answers(self.server.port, self.asked, seconds)
        self.cpu_us.append((self.server.cpu_s() - cpu_s) / count * 1e6)
        self.rates.append(count / took_s)


@click.command()
@click.option("--rounds", default=7, show_default=True, help="Times that each is asked; medians are told.")
@click.option("--seconds", default=2.0, show_default=True, help="How long each time.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there, as JSON."
)
def main(rounds: int, seconds: float, out: Path | None) -> None:
    """Measure Haven's page of 50 properties beside what a user would pick instead."""
    click.echo("Installing what the peers need (once) …")
    without_node = install()
    if without_node:
        click.echo(without_node)
    servers = ThrowAwayServers()
    addresses = servers.start()
    try:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            ways = _start(addresses, Path(folder), stack, with_node=without_node is None)
            _measure(ways, rounds, seconds)
    finally:
        servers.stop()
    figures = _figures(ways)
    _tell(figures)
    if out is not None:
        out.write_text(json.dumps(figures, indent=2) + "\n")


def _start(addresses: Addresses, folder: Path, stack: ExitStack, *, with_node: bool) -> list[Way]:
    addresses.new_database(DATABASE)
    superuser_url = addresses.superuser_url.rpartition("/")[0] + f"/{DATABASE}"
    run_script(superuser_url, HERE / "rows.sql", agencies=AGENCIES, properties=PROPERTIES, units=UNITS)
    haven = {
        "DATABASE_URL": addresses.database_url(APP_ROLE, DATABASE),
        "DATABASE_OWNER_URL": addresses.database_url(OWNER_ROLE, DATABASE),
        "REDIS_URL": f"{addresses.redis_url}/0",
        "SECRET_KEY": "a key that is used in benchmarks and nowhere else",
        # One caller asks more than a thousand times a minute; the limit counts all the same.
        "RATE_LIMIT_MAX_REQUESTS": "10000000",
        "LOG_LEVEL": "INFO",
    }
    agency_id = uuid.UUID(numbered(1, 7))
    token = administrator_key(create_app(load_settings(haven)), haven["DATABASE_URL"], agency_id)
    signed_in = {"Authorization": f"Bearer {token}"}
    peer = {
        "PEER_DATABASE_URL": superuser_url,
        "PEER_REDIS_URL": f"{addresses.redis_url}/1",
        "PEER_AGENCY": str(agency_id),
        "PEER_BODY": str(folder / "page.json"),
        "NODE_ENV": "production",
    }

    def start(program: Program, environ: dict[str, str], path: str) -> Running:
        return stack.enter_context(running(program, environ, folder, path))

    first = start(HAVEN, haven, "/ready")
    body = ask(first.port, request(PATH, **signed_in)).partition(b"\r\n\r\n")[2]
    (folder / "page.json").write_bytes(body)
    page, stored = request("/properties"), request("/stored/properties")
    computed = request(PATH, **signed_in, Cache_Control="no-cache")
    ways = [
        Way("Haven, computed", first, computed),
        Way(FLASK.name, start(FLASK, peer, "/properties"), page),
        Way(DJANGO.name, start(DJANGO, peer, "/properties"), page),
        Way("Haven, stored", first, request(PATH, **signed_in)),
        Way(BARE.name, start(BARE, peer, "/"), page),
        Way(WORKER.name, start(WORKER, peer, "/"), page),
    ]
    if with_node:
        express = start(EXPRESS, peer, "/properties")
        ways += [
            Way("Express, pg", express, page),
            Way("Fastify, pg", start(FASTIFY, peer, "/properties"), page),
            Way("Express, Prisma", start(PRISMA, peer, "/properties"), page),
            Way("Express, stored in Redis (ioredis)", express, stored),
        ]
    for way in ways:
        _check(way, body)
    return ways


def _check(way: Way, body: bytes) -> None:
    """That it answers the same rows: a rate of something else is no rate."""
    wanted, found = (
        [(one["id"], one["unit_count"], one["occupied_count"]) for one in json.loads(text)["data"]]
        for text in (body, ask(way.server.port, way.asked).partition(b"\r\n\r\n")[2])
    )
    if wanted != found:
        raise click.ClickException(f"{way.name} answers other rows than Haven: {found[:2]} for {wanted[:2]}")


def _measure(ways: list[Way], rounds: int, seconds: float) -> None:
    with click.progressbar(length=(rounds + 1) * len(ways), label="Measuring") as bar:
        for number in range(rounds + 1):
            for way in ways if number % 2 else reversed(ways):
                way.measure(seconds if number else 1.0)
                bar.update(1)
    for way in ways:
        # The first round warms up.
        del way.rates[0], way.cpu_us[0]


def _figures(ways: list[Way]) -> list[dict[str, Any]]:
    by_name = {way.name: way for way in ways}
    computed, stored = by_name["Haven, computed"], by_name["Haven, stored"]
    return [
        {
            "name": way.name,
            "rate": statistics.median(way.rates),
            "cpu_us": statistics.median(way.cpu_us),
            "computed_to_it": _ratio(computed.rates, way.rates),
            "computed_to_it_by_cpu": _ratio(way.cpu_us, computed.cpu_us),
            "stored_to_it": _ratio(stored.rates, way.rates),
            "stored_to_it_by_cpu": _ratio(way.cpu_us, stored.cpu_us),
        }
        for way in ways
    ]


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))


def _tell(figures: list[dict[str, Any]]) -> None:
    head = f"{'':36}{'pages/s':>9}{'CPU µs':>9}{'Haven computed':>16}{'by CPU':>8}{'Haven stored':>14}{'by CPU':>8}"
    click.echo("\n" + head)
    for one in figures:
        click.echo(
            f"{one['name']:36}{one['rate']:9.0f}{one['cpu_us']:9.0f}{one['computed_to_it']:15.2f}x"
            f"{one['computed_to_it_by_cpu']:7.2f}x{one['stored_to_it']:13.2f}x{one['stored_to_it_by_cpu']:7.2f}x"
        )


if __name__ == "__main__":
    main()
