"""What a request pays for its rate limits: CPU and round trips, of ours and of Flask-Limiter's own sliding window.

`python -m benchmarks.rate_limiting`. CPU time of one process, for wall time on a busy machine says nothing; ways in turn,
medians.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

from flask import Flask
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from werkzeug.test import EnvironBuilder, run_wsgi_app

from extensions.rate_limiting import RateLimiting, RouteClass
from tests.support.own_valkey import OwnValkey, own_valkey

REQUESTS: Final = 3000
ROUNDS: Final = 5
MANY: Final = 10_000_000
CLASS: Final = RouteClass("writes", 0.5, ("POST /hello",))


def main() -> None:
    """Print a line for each way."""
    with tempfile.TemporaryDirectory() as folder, own_valkey(Path(folder) / "valkey") as valkey:
        ways = {
            "no limiter": (bare(), "GET"),
            "ours, one limit": (ours(valkey.url), "GET"),
            "ours, two limits": (ours(valkey.url), "POST"),
            "ours in memory, one limit": (ours(""), "GET"),
            "Flask-Limiter's own, one limit": (theirs(valkey.url), "GET"),
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, (app, method) in ways.items():
                taken[name].append(us_a_request(app, method, REQUESTS))
        for name, (app, method) in ways.items():
            trips = trips_a_request(valkey, app, method)
            print(f"{name:32} {statistics.median(taken[name]):6.0f} µs  {trips:.0f} round trips")  # noqa: T201


def bare() -> Flask:
    """An app that does nothing."""
    app = Flask("bare")
    app.add_url_rule("/hello", view_func=lambda: "hello", methods=["GET", "POST"])
    return app


def ours(url: str) -> Flask:
    """One limit for a GET, two for a POST."""
    app = bare()
    app.config.update(
        REDIS_URL=url, REDIS_TIMEOUT=20_000, RATE_LIMIT_MAX_REQUESTS=MANY, RATE_LIMIT_CLASSES=(CLASS,)
    )
    RateLimiting(app)
    return app


def theirs(url: str) -> Flask:
    """Flask-Limiter as it comes."""
    app = bare()
    Limiter(
        get_remote_address,
        app=app,
        application_limits=[f"{MANY} per minute"],
        storage_uri=url,
        strategy="sliding-window-counter",
        headers_enabled=True,
    )
    return app


def us_a_request(app: Flask, method: str, count: int) -> float:
    """CPU of this process (µs)."""
    asked = EnvironBuilder(
        "/hello", method=method, environ_base={"REMOTE_ADDR": "198.51.100.7"}
    ).get_environ()
    began = time.process_time()
    for _ in range(count):
        _, status, _ = run_wsgi_app(app.wsgi_app, dict(asked), buffered=True)
        assert status == "200 OK", status
    return (time.process_time() - began) / count * 1e6


def trips_a_request(valkey: OwnValkey, app: Flask, method: str, count: int = 100) -> float:
    """Each round trip is a script here; what a script does within Redis is none."""
    client = valkey.client()
    client.config_resetstat()
    us_a_request(app, method, count)
    return float(client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]) / count


if __name__ == "__main__":
    main()
