"""What the operations page shows: of this second, of a window, and over time. No Flask.

Everything is of all processes and agencies together, and nothing of it is anybody's: routes are rules, callers are ids.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from extensions.monitoring import STATEMENT, State, stats
from extensions.monitoring.reader import Merged, Point
from extensions.monitoring.recorder import CACHE, EVENT, HTTP, JOB, OUTSIDE
from extensions.monitoring.sketch import Sketch
from extensions.monitoring.slots import SLOT_S
from haven.operations.kinds import KINDS, QUEUES
from haven.payments.funnel import STEPS

LIVE_S: Final = 30
"""What counts as now: the newest three slots."""
SLOW_REQUESTS: Final = 20
STATEMENTS: Final = 20
_STEPS: Final = (10, 60, 600, 3600, 21_600)
_POINTS_MOST: Final = 400

_LEVELS: Final = {
    "pool_in_use": "database_pool_in_use",
    "pool_overflow": "database_pool_overflow",
    "cpu": "memory_cpu_percent",
    "rss": "memory_rss_bytes",
    "workers": "jobs_workers",
    "memory_share": "memory_share",
    "jobs_waiting": "jobs_waiting",
}
"""Chart → metric that is a level of each process."""
_OF_ALL_ALIKE: Final = frozenset({"jobs_workers", "jobs_waiting", "memory_share"})
"""Metrics that each process tells of the same thing: the largest counts, not the sum."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, seconds since 1970, and the step of its points."""

    since: int
    until: int

    @property
    def step_s(self) -> int:
        """The finest step that makes no more points than a screen has room for."""
        wide = self.until - self.since
        return next((step for step in _STEPS if wide / step <= _POINTS_MOST), _STEPS[-1])


def live(state: State) -> dict[str, Any]:
    """This moment in a few numbers: requests a second, percentiles (ms), errors, in flight.

    Each process sends what it has counted once a second; so old it may be.
    """
    merged = state.reader.newest(LIVE_S - SLOT_S, HTTP)
    # Whole slots: from the beginning of the oldest until now.
    passed_s = LIVE_S - SLOT_S + time.time() % SLOT_S
    return {
        "at": time.time(),
        **stats.rates(merged.one(HTTP), passed_s),
        "in_flight": merged.in_flight,
        "processes": merged.processes,
        "missing": sorted(set(merged.missing)),
    }


def board(state: State, window_s: int) -> dict[str, Any]:
    """The tables of a window: routes, cache, statements, slow requests, outside services, jobs, payments."""
    merged = state.reader.window(window_s, (*stats.METRICS, STATEMENT, EVENT, JOB))
    told = state.recorder.statements_told(stats.fingerprints(merged))
    slow = state.recorder.store.slow(SLOW_REQUESTS)
    return {
        **stats.api_stats(merged, window_s),
        "statements": stats.statements(merged, told, "total", STATEMENTS, only_slow=False),
        "slow_requests": slow if slow is not None else list(state.recorder.slow)[::-1][:SLOW_REQUESTS],
        "slow_ms": state.recorder.rules.slow_ms,
        "jobs": _jobs(merged, window_s),
        "payments": _funnel(merged),
    }


def charts(state: State, span: Span) -> dict[str, Any]:
    """Series over time, one value for each step; None where nothing was measured. Times in seconds since 1970, durations in ms."""
    step_s = span.step_s
    times = list(range(span.since // step_s * step_s, span.until, step_s))
    asked = [(HTTP, ""), (OUTSIDE, None), (CACHE, None), *((metric, None) for metric in _LEVELS.values())]
    points, missing = state.reader.points_of(asked, span.since, span.until, step_s)
    http, outside = _by_slot(points[0]), _by_slot(points[1])
    cache = _cache_rates(points[2])
    levels = dict(zip(_LEVELS, map(_by_slot, points[3:]), strict=True))
    series: dict[str, list[Any]] = {
        "rate": [_rate(http.get(at), step_s, at, span.until) for at in times],
        "errors": [_share(http.get(at)) for at in times],
        "cache_hits": [cache.get(at) for at in times],
        "outside_errors": [_share(outside.get(at)) for at in times],
        "heat": [http[at].counts_between(stats.EDGES_MS) if at in http else None for at in times],
    }
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        series[name] = [_short(http[at].quantiles((share,))[0]) if at in http else None for at in times]
    for name, found in levels.items():
        series[name] = [_level(_LEVELS[name], found.get(at), step_s) for at in times]
    return {
        "step_s": step_s,
        "times": times,
        "edges_ms": stats.EDGES_MS,
        "series": series,
        "missing": sorted(set(missing)),
    }


def queues_of(metrics: Iterable[Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """The queues of all agencies: how many wait, since when, and how attempts ended since Redis began to count."""
    rows: dict[str, dict[str, Any]] = {
        name: {"queue": name, "waiting": 0, "oldest_s": 0.0, "outcomes": {}} for name in names
    }
    for one in metrics:
        row = rows.get(one.labels.get("queue", ""))
        if row is None:
            continue
        if one.name == "jobs_waiting":
            row["waiting"] = int(one.value)
        elif one.name == "jobs_oldest_waiting_seconds":
            row["oldest_s"] = round(one.value, 1)
        elif one.name == "jobs_attempts_total":
            row["outcomes"][one.labels["outcome"]] = int(one.value)
    return list(rows.values())


def _jobs(merged: Merged, window_s: int) -> dict[str, dict[str, Any]]:
    """Queue → attempts a minute, failed ones, and the percentile of how long they took (ms), in the window."""
    of_queue = {name: Sketch() for name in QUEUES}
    for kind, sketch in merged.of(JOB).items():
        if kind in KINDS:
            of_queue[KINDS[kind].queue].merge(sketch)
    return {
        name: {
            "per_minute": round(sketch.count / window_s * 60, 3),
            "failed": sketch.errors,
            "p95": _short(sketch.quantiles((0.95,))[0]),
        }
        for name, sketch in of_queue.items()
    }


def _funnel(merged: Merged) -> dict[str, Any]:
    """Asked, rung, paid, failed; and failures by M-Pesa's code."""
    counts = {
        label.partition(":")[2]: sketch.count
        for label, sketch in merged.of(EVENT).items()
        if label.startswith("payment:")
    }
    failed = {step.partition(" ")[2]: count for step, count in counts.items() if step.startswith("failed ")}
    steps: Mapping[str, int] = {**counts, "failed": sum(failed.values())}
    return {
        "steps": [{"step": step, "count": steps.get(step, 0)} for step in STEPS],
        "failed_by_code": [
            {"code": code, "count": count} for code, count in sorted(failed.items(), key=lambda one: -one[1])
        ],
    }


def _by_slot(points: Iterable[Point]) -> dict[int, Sketch]:
    """Every series of a slot together."""
    found: dict[int, Sketch] = {}
    for point in points:
        known = found.get(point.slot)
        if known is None:
            known = found[point.slot] = Sketch()
        known.merge(point.sketch)
    return found


def _cache_rates(points: Iterable[Point]) -> dict[int, float]:
    counts: dict[int, dict[str, int]] = {}
    for point in points:
        outcome = point.labels.rpartition(":")[2]
        of = counts.setdefault(point.slot, {})
        of[outcome] = of.get(outcome, 0) + point.sketch.count
    rates = {}
    for at, of in counts.items():
        hits = of.get("hits", 0) + of.get("stale", 0)
        asked = hits + of.get("misses", 0)
        if asked:
            rates[at] = round(hits / asked * 100, 2)
    return rates


def _rate(sketch: Sketch | None, step_s: int, at: int, until: int) -> float | None:
    # The newest step has not passed yet.
    passed = min(step_s, max(until - at, 1))
    return None if sketch is None else round(sketch.count / passed, 3)


def _share(sketch: Sketch | None) -> float | None:
    return None if sketch is None or not sketch.count else round(sketch.errors / sketch.count * 100, 3)


def _level(metric: str, sketch: Sketch | None, step_s: int) -> float | None:
    """What was true of all processes in a step, each of which tells its level once in a slot."""
    if sketch is None or not sketch.count:
        return None
    if metric in _OF_ALL_ALIKE:
        return _short(sketch.max)
    return _short(sketch.sum / (step_s / SLOT_S))


def _short(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.5g}")
