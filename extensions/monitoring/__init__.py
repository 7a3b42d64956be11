"""Monitoring: every request measured until its answer is closed, merged over all processes, with what it spent its time on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from flask import Flask, Response, current_app

from extensions import trace
from extensions.contract import Base, Health, Metric, Setting
from extensions.hold_off import guarded_redis
from extensions.monitoring import stats
from extensions.monitoring.jobs import JobNumbers, measured_job
from extensions.monitoring.prometheus import Exporter, prepare_directory
from extensions.monitoring.reader import Cached, History, Point, Reader, Unreadable
from extensions.monitoring.recorder import HTTP, JOB, OUTSIDE, STATEMENT, Recorder, Rules
from extensions.monitoring.requests import MEASURED, ROUTE, Middleware
from extensions.monitoring.sketch import Sketch
from extensions.monitoring.store import Store

__all__ = [
    "HTTP",
    "JOB",
    "MEASURED",
    "NAME",
    "OUTSIDE",
    "ROUTE",
    "STATEMENT",
    "History",
    "JobNumbers",
    "Monitoring",
    "PerformanceMetrics",
    "Point",
    "Reader",
    "Recorder",
    "Rules",
    "Sketch",
    "State",
    "Store",
    "Unreadable",
    "measure_outermost",
    "measured_job",
    "performance_metrics",
    "prepare_directory",
]

NAME: Final = "monitoring"
_LOADED: Final = "haven_extensions"
_CACHED_S: Final = 1.0
_WINDOW_MOST_S: Final = 30 * 86_400.0


@dataclass(slots=True)
class State:
    """The monitoring of one app."""

    recorder: Recorder
    reader: Reader
    exporter: Exporter
    jobs: JobNumbers
    is_on: bool
    cached: Cached = field(default_factory=lambda: Cached(_CACHED_S))

    def observe(self, metric: str, value: float, labels: str = "", *, is_error: bool = False) -> None:
        """Count a value of any metric; it is merged, kept and shown like the others."""
        if self.is_on:
            self.recorder.observe(metric, value, labels, is_error=is_error)


class Monitoring(Base):
    """Measures an app. Without Redis it knows of its own process alone, without a database of the last quarter of an hour."""

    name = NAME
    requires = ("logs", "database", "rate_limiting", "circuit_breaker", "caching")
    settings = (
        Setting("ENABLE_PERFORMANCE_MONITORING", True, "false: nothing is measured"),
        Setting("SLOW_REQUEST_THRESHOLD", 1000, "A request over this is kept with its breakdown", "ms"),
        Setting("SLOW_REQUESTS_KEPT", 200, "Slow requests kept, over all processes"),
        Setting("SLOW_QUERY_THRESHOLD", 1000, "A statement over this counts as slow", "ms"),
        Setting("MONITORING_SERIES", 2000, "Series of a process in ten seconds; further ones are one"),
        Setting("MONITORING_PREFIX", "haven", "What every key in Redis begins with"),
        Setting("MONITORING_HOST", "", "The name of this host; empty: the operating system's"),
        Setting(
            "MONITORING_IS_OPERATOR",
            None,
            "Callable: is who was answered one who sees Server-Timing? (default: nobody)",
        ),
        Setting("METRICS_PATH", "/metrics", "Where Prometheus asks; empty: nowhere"),
        Setting("METRICS_TOKEN", "", "Bearer token for it; empty: only this host itself may ask"),
        Setting("REDIS_TIMEOUT", 250, "Longest wait for Redis", "ms"),
        Setting("REDIS_URL", "", "Where processes meet; empty: each knows of itself", "URL"),
    )

    def init_app(self, app: Flask) -> None:
        """Measure ``app`` from its first request on. Connects to nothing and starts no thread before that."""
        of = {setting.name: self.setting(app, setting.name) for setting in self.settings}
        url, prefix = of["REDIS_URL"], of["MONITORING_PREFIX"]
        client = guarded_redis(url, of["REDIS_TIMEOUT"] / 1000) if url else None
        rules = Rules(
            slow_ms=of["SLOW_REQUEST_THRESHOLD"],
            slow_statement_ms=of["SLOW_QUERY_THRESHOLD"],
            series_most=of["MONITORING_SERIES"],
            slow_kept=of["SLOW_REQUESTS_KEPT"],
        )
        recorder = Recorder(Store(client, prefix, of["MONITORING_HOST"]), rules)
        is_operator = of["MONITORING_IS_OPERATOR"] or _nobody
        jobs = JobNumbers(client, prefix)
        exporter = Exporter(jobs, of["METRICS_TOKEN"])
        state = State(recorder, Reader(recorder), exporter, jobs, is_on=of["ENABLE_PERFORMANCE_MONITORING"])
        app.extensions[self.name] = state
        if not state.is_on:
            return
        recorder.samplers.append(lambda: _collected(app))
        recorder.on_sample.append(exporter.sample)
        recorder.on_finished.append(exporter.finished)
        if of["METRICS_PATH"]:
            exporter.serve(app, of["METRICS_PATH"], recorder.sample_now)
        app.after_request(lambda response: _tell_timing(response, is_operator))
        measure_outermost(app)

    def health(self) -> Health:
        """``degraded`` while Redis does not take what this process measures: it shows itself alone then."""
        state = _state()
        recorder, store = state.recorder, state.recorder.store
        unsent = len(recorder.slots.unsent())
        numbers = {
            "is_on": state.is_on,
            "redis": "none" if not store.is_there else "away" if store.is_away else "ok",
            "slots_waiting": unsent,
            "failures": store.failures,
            "folded_together": recorder.slots.folded_together,
        }
        return Health("degraded" if store.is_away else "ok", numbers)

    def collect(self) -> Iterable[Metric]:
        recorder = _state().recorder
        yield Metric("monitoring_requests_in_flight", recorder.in_flight)
        yield Metric("monitoring_folded_total", recorder.slots.folded_together)
        yield Metric("monitoring_send_failures_total", recorder.store.failures)

    def release(self, pressure: float) -> int:  # noqa: ARG002
        """Forget slots that were read before: they are read again when they are wanted."""
        return _state().reader.forget()

    def after_fork(self, app: Flask) -> None:
        state: State = app.extensions[self.name]
        state.recorder.begin_anew()


def measure_outermost(app: Flask) -> None:
    """Measure all that stands around ``app.wsgi_app`` by now too; for an app that wraps itself after its extensions are loaded."""
    state: State | None = app.extensions.get(NAME)
    if state is not None and state.is_on and not isinstance(app.wsgi_app, Middleware):
        app.wsgi_app = Middleware(app.wsgi_app, state.recorder)  # type: ignore[method-assign]


class PerformanceMetrics:
    """The numbers of the current app, for any code in the process."""

    def get_api_stats(self, window_ms: float = 3_600_000) -> dict[str, Any]:
        """Requests of the last ``window_ms`` milliseconds, of all processes: volume, rate, errors, percentiles, by route.

        Durations are in ms; ``error_rate`` is from 0 to 1. ``missing`` names what could not be read.

        Raises:
            ValueError: a window that is not from 1 second to 30 days.
        """
        window_s = window_ms / 1000
        if not 1 <= window_s <= _WINDOW_MOST_S:
            raise ValueError("window_ms must be from 1000 (a second) to 2592000000 (30 days)")
        state = _state()
        state.recorder.flush()
        return stats.api_stats(state.reader.window(window_s, stats.METRICS), window_s)

    def get_slow_requests(self, limit: int = 50) -> list[dict[str, Any]]:
        """The newest slow requests of all processes, the newest first, each with what it spent its time on."""
        state = _state()
        state.recorder.flush()
        found = state.recorder.store.slow(limit)
        return found if found is not None else list(state.recorder.slow)[::-1][:limit]

    def get_statements(
        self,
        window_ms: float = 3_600_000,
        limit: int = 50,
        by: str = "total",
        *,
        only_slow: bool = False,
        fingerprint: str | None = None,
    ) -> list[dict[str, Any]]:
        """Statements by fingerprint, the first by ``total``, ``mean``, ``max``, ``count`` or ``slow``; or one; times in ms."""
        state = _state()
        state.recorder.flush()
        merged = state.reader.window(window_ms / 1000, (STATEMENT,))
        if fingerprint is not None:
            merged = merged.only(STATEMENT, fingerprint)
        told = state.recorder.statements_told(stats.fingerprints(merged))
        return stats.statements(merged, told, by, limit, only_slow=only_slow)


performance_metrics: Final = PerformanceMetrics()
"""Those of the current app."""


def _state() -> State:
    state: State = current_app.extensions[NAME]
    return state


def _nobody() -> bool:
    return False


def _collected(app: Flask) -> Iterator[Metric]:
    with app.app_context():
        for extension in app.extensions.get(_LOADED, ()):
            yield from extension.collect()


def _tell_timing(response: Response, is_operator: Callable[[], bool]) -> Response:
    work = trace.current()
    if work is not None and is_operator():
        response.headers["Server-Timing"] = server_timing(work)
    return response


def server_timing(work: trace.Trace) -> str:
    """The ``Server-Timing`` of a request that is about to be answered; durations in ms."""
    totals = work.totals()
    told = []
    for name, kind, word in (
        ("db", trace.SQL, "statements"),
        ("cache", trace.CACHE, "trips"),
        ("outside", trace.OUTSIDE, "calls"),
        ("json", trace.JSON, "documents"),
    ):
        count, ms = totals.get(kind, (0, 0.0))
        told.append(f'{name};dur={ms:.2f};desc="{int(count)} {word}"')
    return ", ".join(told)
