"""A slow request, with what it spent its time on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from extensions import trace
from extensions.monitoring.requests import Finished

SPANS_KEPT: Final = 60
"""Of each slow request the longest so many pieces of work are kept."""


def slow_request(one: Finished, fingerprint: Callable[[str], tuple[str, str]]) -> dict[str, Any]:
    """What is kept of it, as JSON values; times in ms, ``spans`` in the order in which they began.

    ``other_ms`` is what nobody accounts for: Python, waiting for a thread, and the client's line.

    Args:
        fingerprint: gives that and the text without values for a statement as it was sent.
    """
    totals = one.trace.totals()
    sql, cache, outside, json = (
        totals.get(kind, [0, 0.0]) for kind in (trace.SQL, trace.CACHE, trace.OUTSIDE, trace.JSON)
    )
    accounted = sql[1] + cache[1] + outside[1] + json[1]
    lookups = [span.name.rpartition(":")[2] for span in one.trace.spans if span.kind == trace.LOOKUP]
    work = [span for span in one.trace.spans if span.kind not in (trace.LOOKUP, trace.EVENT)]
    longest = sorted(work, key=lambda span: -span.ms)[:SPANS_KEPT]
    return {
        "at": round(one.at, 3),
        "request_id": one.request_id,
        "method": one.method,
        "route": one.route,
        "status": one.status,
        "ms": round(one.ms, 2),
        "bytes": one.bytes,
        "wait_ms": None if one.wait_ms is None else round(one.wait_ms, 2),
        "sql": {"count": int(sql[0]), "ms": round(sql[1], 2)},
        "cache": {
            "hits": lookups.count("hits") + lookups.count("stale"),
            "misses": lookups.count("misses"),
            "trips": int(cache[0]),
            "ms": round(cache[1], 2),
        },
        "outside": {"count": int(outside[0]), "ms": round(outside[1], 2)},
        "json_ms": round(json[1], 2),
        "other_ms": round(max(one.ms - accounted, 0.0), 2),
        "spans": [_shown(span, one, fingerprint) for span in sorted(longest, key=lambda span: span.started)],
    }


def _shown(span: trace.Span, one: Finished, fingerprint: Callable[[str], tuple[str, str]]) -> dict[str, Any]:
    shown = {
        "kind": span.kind,
        "name": span.name,
        "from_ms": round((span.started - one.started) * 1000, 2),
        "ms": round(span.ms, 2),
        "has_failed": span.has_failed,
    }
    if span.kind == trace.SQL:
        shown["fingerprint"], shown["name"] = fingerprint(span.name)
    return shown
