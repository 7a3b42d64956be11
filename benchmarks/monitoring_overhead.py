"""What all of monitoring costs a request: the list of properties with it and without it, in turn, in one run.

`python -m benchmarks.monitoring_overhead [rounds]`. Processor time; wall time on a busy machine says little. A round is a
second of each way in slices that alternate, so that what else the machine does meets both; what was measured in it is counted
and sent at its end, as once a second in production, and that is part of its time. The figure is the median of the rounds'
ratios.
"""

from __future__ import annotations

import dataclasses
import gc
import statistics
import sys
import time
from typing import Final

from flask import Flask
from sqlalchemy import create_engine
from werkzeug.test import EnvironBuilder, run_wsgi_app

from benchmarks.support import administrator_key
from config import Settings, load_settings
from extensions.logs import configure_logging
from haven.app import create_app
from haven.db.migrate import sqlalchemy_url
from haven.db.prepare import APP_ROLE, OWNER_ROLE
from tests.api.conftest import make_agency
from tests.support.builders import a_property
from tests.support.servers import ThrowAwayServers

ROUNDS: Final = 15
SLICES: Final = 40
SLICE_S: Final = 0.025
"""So that a round has as much of each way as lies between two sendings of a process."""
PROPERTIES: Final = 50
DATABASE: Final = "haven_bench"
BUDGET: Final = 1.05
"""M8: under 5 % of a request's time."""


def main() -> None:
    """Print the median ratio of each way."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    servers = ThrowAwayServers()
    try:
        addresses = servers.start()
        addresses.new_database(DATABASE)
        settings = load_settings(
            {
                "DATABASE_URL": addresses.database_url(APP_ROLE, DATABASE),
                "DATABASE_OWNER_URL": addresses.database_url(OWNER_ROLE, DATABASE),
                "REDIS_URL": f"{addresses.redis_url}/0",
                "SECRET_KEY": "a key that is used in benchmarks and nowhere else",
                "RATE_LIMIT_MAX_REQUESTS": "10000000",
                "ARGON2_MEMORY_KIB": "64",
                "ARGON2_TIME_COST": "1",
                "LOG_LEVEL": "WARNING",
                "CACHE_TIMEOUT": "10",
                "REDIS_TIMEOUT": "20000",
            }
        )
        token = prepared(settings)
        for name, is_cached in (("computed", False), ("from the cache", True)):
            report(name, dataclasses.replace(settings, enable_cache=is_cached), token, rounds)
    finally:
        servers.stop()


def report(name: str, settings: Settings, token: str, rounds: int) -> None:
    """Measure one way and print its line."""
    ways = {
        is_on: create_app(dataclasses.replace(settings, enable_performance_monitoring=is_on))
        for is_on in (False, True)
    }
    configure_logging("WARNING")
    # As gunicorn.conf.py does once all is loaded: else each full collection walks both applications.
    gc.collect()
    gc.freeze()
    for app in ways.values():
        # Counted and sent by hand, so that it is in the time of the way whose it is.
        app.extensions["monitoring"].recorder.start()
        app.extensions["monitoring"].recorder.stop()
        ask(app, token, Turn())
    ratios, off = [], []
    for _ in range(rounds):
        taken = a_round(ways, token)
        ratios.append(taken[True].us / taken[False].us)
        off.append(taken[False].us)
    ratio = statistics.median(ratios)
    quarters = statistics.quantiles(ratios, n=4)
    verdict = "within" if ratio < BUDGET else "OVER"
    print(  # noqa: T201
        f"GET /properties, {PROPERTIES} rows, {name:15} {statistics.median(off):6.0f} µs without;"
        f" with monitoring x {ratio:.3f} (quartiles {quarters[0]:.3f} to {quarters[2]:.3f}), {verdict} 5 %"
    )


@dataclasses.dataclass
class Turn:
    """Requests of one way, and the processor time that they took."""

    count: int = 0
    taken_s: float = 0.0

    @property
    def us(self) -> float:
        return self.taken_s / self.count * 1e6


def a_round(ways: dict[bool, Flask], token: str) -> dict[bool, Turn]:
    """A second of each way."""
    turns = {is_on: Turn() for is_on in ways}
    for number in range(SLICES):
        for is_on in (False, True) if number % 2 else (True, False):
            ask(ways[is_on], token, turns[is_on])
    began = time.process_time()
    ways[True].extensions["monitoring"].recorder.flush()
    turns[True].taken_s += time.process_time() - began
    return turns


def ask(app: Flask, token: str, turn: Turn) -> None:
    """Requests for the time of a slice."""
    environ = EnvironBuilder(
        f"/api/v1/properties?limit={PROPERTIES}", headers=[("Authorization", f"Bearer {token}")]
    ).get_environ()
    began, ended = time.process_time(), 0.0
    while ended < began + SLICE_S:
        _, status, _ = run_wsgi_app(app.wsgi_app, dict(environ), buffered=True)
        assert status == "200 OK", status
        turn.count += 1
        ended = time.process_time()
    turn.taken_s += ended - began


def prepared(settings: Settings) -> str:
    """An agency with properties, and an API key of its administrator."""
    app = create_app(dataclasses.replace(settings, enable_performance_monitoring=False))
    engine = create_engine(sqlalchemy_url(settings.database_url))
    agency_id = make_agency(engine)
    key = administrator_key(app, settings.database_url, agency_id)
    for number in range(PROPERTIES):
        a_property(engine, agency_id, name=f"Umoja {number}", location="Umoja", county="Nairobi")
    engine.dispose()
    return key


if __name__ == "__main__":
    main()
