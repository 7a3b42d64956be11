"""What watching memory costs a request: a bare app with the extension and without it, in turn, in one run.

`python -m benchmarks.memory_overhead [rounds]`. CPU time of the whole process, so that the thread which looks and what listens
to the collector are paid for too. Each round asks both ways, in an order that changes; the figure is the median of the
rounds' differences. The budget is 5 µs.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from flask import Flask
from werkzeug.test import EnvironBuilder, run_wsgi_app

from extensions.memory import Memory
from extensions.memory.shedding import Shedding

ROUNDS: Final = 15
REQUESTS: Final = 4000
BUDGET_US: Final = 5.0
CALLS: Final = 500_000


def main() -> None:
    """Print what a request of a bare Flask app costs more, and what the middleware alone does."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    plain, watched = app_of(), app_of()
    Memory(watched)
    for app in (plain, watched):
        us_a_request(app)
    watcher = watched.extensions["memory"].watcher
    more, least = [], []
    for number in range(rounds):
        taken = {}
        for is_watched in (False, True) if number % 2 else (True, False):
            # What listens to the collector does so for the whole process.
            (watcher.collector.attach if is_watched else watcher.collector.detach)()
            taken[is_watched] = us_a_request(watched if is_watched else plain)
        more.append(taken[True] - taken[False])
        least.append(taken[False])
    figure = statistics.median(more)
    quarters = statistics.quantiles(more, n=4)
    verdict = "within" if figure < BUDGET_US else "OVER"
    print(  # noqa: T201
        f"a request of a bare app {statistics.median(least):.1f} µs; with the extension {figure:+.2f} µs"
        f" (quartiles {quarters[0]:+.2f} to {quarters[2]:+.2f}), {verdict} {BUDGET_US:g} µs"
    )
    watcher.gate.set(None)
    alone = ns_a_call(Shedding(nothing, watcher.gate, watcher.start)) - ns_a_call(nothing)
    ticks = us_a_call(watcher.tick, 1000)
    print(f"the middleware alone {alone:.0f} ns; a look {ticks:.0f} µs, four times a second")  # noqa: T201


def app_of() -> Flask:
    """An app that answers a small document."""
    app = Flask("bench")
    app.add_url_rule("/rents", "rents", lambda: {"rents": [{"id": number} for number in range(10)]})
    return app


def us_a_request(app: Flask) -> float:
    """CPU of this process (µs)."""
    asked = EnvironBuilder("/rents").get_environ()
    began = time.process_time()
    for _ in range(REQUESTS):
        run_wsgi_app(app.wsgi_app, dict(asked), buffered=True)
    return (time.process_time() - began) / REQUESTS * 1e6


def nothing(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:  # noqa: ARG001
    """The least that an application does."""
    return ()


def ns_a_call(application: Callable[..., Any]) -> float:
    """CPU of a call (ns)."""
    environ: dict[str, Any] = {"PATH_INFO": "/rents"}
    began = time.process_time()
    for _ in range(CALLS):
        application(environ, None)
    return (time.process_time() - began) / CALLS * 1e9


def us_a_call(act: Callable[[], object], times: int) -> float:
    """CPU of a call (µs)."""
    began = time.process_time()
    for _ in range(times):
        act()
    return (time.process_time() - began) / times * 1e6


if __name__ == "__main__":
    main()
