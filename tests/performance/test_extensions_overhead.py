"""What rate limits, cache and circuits cost a request of Haven together, as a share of the same request without them.

CPU of one process, for wall time on a busy machine says nothing; ways in turn, medians. `make bench` shows the figures.
"""

from __future__ import annotations

import dataclasses
import statistics
import time

import pytest
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder, run_wsgi_app

from haven.app import create_app
from tests.api.conftest import caller_of, let_a_flat

__all__ = ["caller_of"]
ROUNDS = 9
REQUESTS = 60
PLAIN = ("extensions.logs:Logs", "extensions.database:Database")
FRESH = {"Cache-Control": "no-cache"}


def us_a_request(app, environ) -> float:
    """CPU of this process (µs)."""
    began = time.process_time()
    for _ in range(REQUESTS):
        _, status, _ = run_wsgi_app(app.wsgi_app, dict(environ), buffered=True)
        assert status == "200 OK", status
    return (time.process_time() - began) / REQUESTS * 1e6


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.req("R4", "C5")
def test_what_the_three_extensions_cost_a_request_together(settings, caller_of, record_property):
    by = caller_of()
    flats = [let_a_flat(by) for _ in range(10)]
    unit_id = flats[0].unit["id"]
    apps = {
        "with": create_app(settings),
        "without": create_app(dataclasses.replace(settings, extensions=PLAIN)),
    }
    asked = {
        "one row": (f"/api/v1/units/{unit_id}", {}),
        "a page, computed": ("/api/v1/units", FRESH),
        "a page, stored": ("/api/v1/units", {}),
    }
    taken = {(name, which): list[float]() for name in asked for which in apps}
    for _ in range(ROUNDS):
        for name, (path, headers) in asked.items():
            sent = Headers({"Authorization": f"Bearer {by.token}", **headers})
            for which, app in apps.items():
                taken[name, which].append(us_a_request(app, EnvironBuilder(path, headers=sent).get_environ()))
    breaker = apps["with"].extensions["circuit_breaker"]["benchmark"]
    circuit_us = us_a_call(breaker)
    for name in asked:
        with_them, without = (statistics.median(taken[name, which]) for which in ("with", "without"))
        share = with_them / without - 1
        record_property(name, share)
        print(f"\n{name}: {without:.0f} µs without, {with_them:.0f} µs with them: {share:+.0%}")  # noqa: T201
    print(f"a call through a circuit: {circuit_us:.0f} µs")  # noqa: T201
    assert circuit_us > 0


def us_a_call(breaker) -> float:
    """CPU of one call of nothing, through a circuit that all processes share (µs)."""
    began = time.process_time()
    for _ in range(REQUESTS):
        with breaker.calling():
            pass
    return (time.process_time() - began) / REQUESTS * 1e6
