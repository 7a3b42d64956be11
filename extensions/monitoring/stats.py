"""The numbers that people read, made of sketches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from extensions.monitoring import recorder as names
from extensions.monitoring.reader import Merged, Point
from extensions.monitoring.sketch import Sketch

SHARES: Final = (0.5, 0.9, 0.95, 0.99, 0.999)
_NAMES: Final = ("p50", "p90", "p95", "p99", "p999")
METRICS: Final = (
    names.HTTP, names.SQL, names.BYTES, names.STATUS, names.WAIT, names.CACHE, names.OUTSIDE, names.STREAM,
)  # fmt: skip
"""Those that ``api_stats`` is made of."""
EDGES_MS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
"""Upper edges of the classes of a latency heat map, in ms; the last class has none."""


def numbers(sketch: Sketch) -> dict[str, Any]:
    """``count``, ``errors``, ``mean``, percentiles and ``max`` of one series, in its unit; None where there are none."""
    quantiles = dict(zip(_NAMES, map(_short, sketch.quantiles(SHARES)), strict=True))
    return {
        "count": sketch.count,
        "errors": sketch.errors,
        "mean": _short(sketch.mean),
        **quantiles,
        "max": _short(sketch.max),
    }


def api_stats(merged: Merged, window_s: float) -> dict[str, Any]:
    """What all processes answered in the window: over all, by route, by status, and what the cache did."""
    whole = merged.one(names.HTTP)
    statuses = merged.of(names.STATUS)
    routes = [
        _route(merged, route, sketch, window_s) for route, sketch in merged.of(names.HTTP).items() if route
    ]
    routes.sort(key=lambda row: -row["count"])
    return {
        "window_s": window_s,
        **rates(whole, window_s),
        "statuses": {status: statuses[status].count for status in sorted(statuses)},
        "in_flight": merged.in_flight,
        "processes": merged.processes,
        "queue_wait": numbers(merged.one(names.WAIT)),
        "cache": _cache(merged),
        "outside": [
            {"name": name, **numbers(sketch)} for name, sketch in sorted(merged.of(names.OUTSIDE).items())
        ],
        "streams": sum(sketch.count for sketch in merged.of(names.STREAM).values()),
        "endpoints": routes,
        "missing": sorted(set(merged.missing)),
    }


def rates(sketch: Sketch, window_s: float) -> dict[str, Any]:
    """``numbers``, with how many a second, and the share of errors (0 to 1; None of nothing)."""
    share = sketch.errors / sketch.count if sketch.count else None
    return {
        **numbers(sketch),
        "per_second": round(sketch.count / window_s, 3) if window_s else 0.0,
        "error_rate": None if share is None else round(share, 5),
    }


def point_numbers(point: Point, *, with_classes: bool = False) -> dict[str, Any]:
    """A point of history; ``classes`` are the counts between ``EDGES_MS``."""
    told: dict[str, Any] = {
        "at": point.slot,
        "labels": point.labels,
        "sum": _short(point.sketch.sum),
        **rates(point.sketch, point.step_s),
    }
    if with_classes:
        told["classes"] = point.sketch.counts_between(EDGES_MS)
    return told


def statements(
    merged: Merged, told: dict[str, dict[str, str]], by: str, limit: int, *, only_slow: bool
) -> list[dict[str, Any]]:
    """Statements by fingerprint, the first by ``by``: ``total``, ``mean``, ``max``, ``count`` or ``slow``."""
    rows = [
        _statement(fingerprint, sketch, told.get(fingerprint, {}))
        for fingerprint, sketch in merged.of(names.STATEMENT).items()
        if sketch.errors or not only_slow
    ]
    key = {"total": "total_ms", "mean": "mean_ms", "max": "max_ms"}.get(by, by)
    rows.sort(key=lambda row: (-(row[key] or 0), row["fingerprint"]))
    return rows[:limit]


def fingerprints(merged: Merged) -> list[str]:
    """Those of all statements in the window."""
    return list(merged.of(names.STATEMENT))


def _statement(fingerprint: str, sketch: Sketch, told: dict[str, str]) -> dict[str, Any]:
    return {
        "fingerprint": fingerprint,
        "text": told.get("text", ""),
        "count": sketch.count,
        "slow": sketch.errors,
        "total_ms": _short(sketch.sum),
        "mean_ms": _short(sketch.mean),
        "p95_ms": _short(sketch.quantiles((0.95,))[0]),
        "max_ms": _short(sketch.max),
        "route": told.get("route", ""),
        "last_request_id": told.get("request_id", ""),
    }


def _route(merged: Merged, route: str, sketch: Sketch, window_s: float) -> dict[str, Any]:
    method, _, path = route.partition(" ")
    sql, size = merged.one(names.SQL, route), merged.one(names.BYTES, route)
    count = sketch.count or 1
    return {
        "method": method,
        "route": path or route,
        **rates(sketch, window_s),
        "statements_mean": round(sql.count / count, 2),
        "sql_ms_mean": round(sql.sum / count, 3),
        "bytes_mean": round(size.sum / count, 1),
    }


def _cache(merged: Merged) -> list[dict[str, Any]]:
    """Look-ups of the cache by namespace."""
    by: dict[str, dict[str, int]] = {}
    for label, sketch in merged.of(names.CACHE).items():
        namespace, _, outcome = label.rpartition(":")
        by.setdefault(namespace, {})[outcome] = sketch.count
    return [_namespace(name, by[name]) for name in sorted(by)]


def _namespace(name: str, counts: dict[str, int]) -> dict[str, Any]:
    hits = counts.get("hits", 0) + counts.get("stale", 0)
    asked = hits + counts.get("misses", 0)
    return {
        "namespace": name,
        "hits": hits,
        "misses": counts.get("misses", 0),
        "hit_rate": round(hits / asked, 4) if asked else None,
    }


def by_label(points: Iterable[Point]) -> list[str]:
    """The labels that points have, sorted."""
    return sorted({point.labels for point in points})


def _short(number: float | None) -> float | None:
    """Six significant digits: more than a sketch knows."""
    return None if number is None else float(f"{number:.6g}")
