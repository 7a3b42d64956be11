"""Parts that every request goes through, each alone: processor time, no server."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Callable
from decimal import Decimal

from benchmarks.suite.benchmark import Benchmark

_AGENCY = "01932c5e-0000-7000-8000-000000000001"


def serialisation() -> Benchmark:
    """A page of 50 units as JSON."""
    from haven.api.encoding import encode

    at = dt.datetime(2026, 11, 24, 9, 30, tzinfo=dt.UTC)
    rows = [
        {
            "id": uuid.UUID(int=number),
            "label": f"A{number}",
            "rent_amount": Decimal("25000.00"),
            "bedrooms": 2,
            "is_let": True,
            "created_at": at,
            "updated_at": at,
        }
        for number in range(50)
    ]
    return Benchmark("serialisation", lambda: encode({"data": rows, "next_cursor": None}), 40, "cpu")


def key_building() -> Benchmark:
    """The keys of one cached answer: its entry's, and the generation of each of its tags."""
    from extensions.caching.keys import Keys, Place

    keys = Keys()

    def build() -> None:
        place = Place(_AGENCY, "units", "limit=50&sort=-created_at", ("unit", "property"))
        keys.entry(place, "17")
        for tag in place.every_tag():
            keys.generation(place.owner, tag)

    return Benchmark("key_building", build, 600, "cpu")


def sketch() -> Benchmark:
    """200 durations counted, merged into those of another process, and three percentiles read."""
    from extensions.monitoring.sketch import Sketch

    durations = [0.2 * 1.04**number for number in range(200)]
    other = Sketch()
    for each in durations:
        other.add(each)

    def count() -> None:
        one = Sketch()
        for each in durations:
            one.add(each)
        one.merge(other)
        one.quantiles((0.5, 0.95, 0.99))

    return Benchmark("sketch", count, 8, "cpu")


def limiter() -> Benchmark:
    """A request counted in two windows of one process's memory."""
    from extensions.rate_limiting.counting import LocalWindows
    from extensions.rate_limiting.rules import Rule

    windows = LocalWindows(time.time)
    rules = [("all", Rule(1_000_000_000, 60_000)), ("writes", Rule(1_000_000_000, 60_000))]
    return Benchmark("limiter", lambda: windows.take(_AGENCY, rules), 200, "cpu")


MICRO: dict[str, Callable[[], Benchmark]] = {
    "serialisation": serialisation,
    "key_building": key_building,
    "sketch": sketch,
    "limiter": limiter,
}
