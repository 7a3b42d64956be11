"""The values of rules, read from what monitoring keeps of all processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from extensions.alerting.rules import CACHE_HIT_RATE, ERROR_RATE, RESPONSE_P95, SLOW_QUERIES, Rule

_SLOT_S: Final = 10
"""How often extensions are asked for their numbers."""
_HTTP, _STATEMENT, _CACHE = "http", "statement", "cache"
_ANSWERED: Final = ("hits", "stale")
_ASKED: Final = (*_ANSWERED, "misses", "bypassed")
OTHER: Final = "(other)"


class Series(Protocol):
    """Values of one series over a time, as ``extensions/monitoring`` merges them."""

    count: int
    sum: float
    errors: int

    @property
    def max(self) -> float | None: ...

    def quantiles(self, shares: Sequence[float]) -> list[float | None]: ...


class Window(Protocol):
    """All series over a time. ``missing`` says what could not be read."""

    missing: list[str]

    def one(self, metric: str, labels: str = "") -> Any: ...

    def of(self, metric: str) -> Mapping[str, Any]: ...


class Reader(Protocol):
    """What is read from: ``app.extensions["monitoring"].reader``."""

    def window(self, window_s: float, metrics: Sequence[str] = ()) -> Any: ...

    def points(
        self, metric: str, since: int, until: int, step_s: int, labels: str | None = None
    ) -> tuple[Iterable[Any], list[str]]: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """A value of one series, and of how many requests, look-ups or samples it is."""

    labels: Mapping[str, str]
    value: float
    count: int


class Readings:
    """Values at one moment. Rules of the same window share one reading of it.

    Args:
        now: seconds since 1970.
    """

    def __init__(self, reader: Reader, now: float) -> None:
        self._reader = reader
        self._now = now
        self._windows: dict[int, Window] = {}

    def of(self, rule: Rule) -> list[Reading] | None:
        """The values of a rule's series that are of enough; None where nobody can say now, since a part did not answer."""
        found = self._read(rule)
        if found is None:
            return None
        wanted = rule.labels.items()
        return [one for one in found if one.count >= rule.minimum_count and wanted <= one.labels.items()]

    def _read(self, rule: Rule) -> list[Reading] | None:
        if rule.metric not in _OF:
            return self._collected(rule)
        window = self._window(rule.window_s)
        return None if window.missing else _OF[rule.metric](window, rule)

    def _window(self, window_s: int) -> Window:
        if window_s not in self._windows:
            self._windows[window_s] = self._reader.window(window_s)
        return self._windows[window_s]

    def _collected(self, rule: Rule) -> list[Reading] | None:
        """A metric of an extension: of a level the mean, of a total what it grew by a minute.

        In each slot the largest of all processes counts: a process that is full must not be hidden by others that are not,
        and what all tell alike (the depth of a queue) is told once.
        """
        until = int(self._now) + 1
        points, missing = self._reader.points(rule.metric, until - rule.window_s, until, _SLOT_S)
        if missing:
            return None
        by: dict[str, list[Any]] = {}
        for point in points:
            by.setdefault(point.labels, []).append(point.sketch)
        is_total = rule.metric.endswith("_total")
        return [_total(rule, *one) if is_total else _level(*one) for one in by.items()]


def _level(labels: str, sketches: Sequence[Series]) -> Reading:
    largest = [sketch.max or 0.0 for sketch in sketches]
    return Reading(_labels(labels), sum(largest) / len(largest), len(largest))


def _total(rule: Rule, labels: str, sketches: Sequence[Series]) -> Reading:
    grown = sum(sketch.sum for sketch in sketches)
    return Reading(_labels(labels), grown * 60 / rule.window_s, len(sketches))


def _response_p95(window: Window, _rule: Rule) -> list[Reading]:
    found = []
    for labels, sketch in window.of(_HTTP).items():
        (p95,) = sketch.quantiles((0.95,))
        if labels and p95 is not None:
            method, _, route = labels.partition(" ")
            found.append(Reading({"method": method, "route": route or OTHER}, p95 / 1000, sketch.count))
    return found


def _error_rate(window: Window, _rule: Rule) -> list[Reading]:
    whole = window.one(_HTTP)
    return [Reading({}, whole.errors / whole.count, whole.count)] if whole.count else []


def _slow_queries(window: Window, rule: Rule) -> list[Reading]:
    statements = window.of(_STATEMENT).values()
    slow = sum(sketch.errors for sketch in statements)
    return [Reading({}, slow * 60 / rule.window_s, sum(sketch.count for sketch in statements))]


def _cache_hit_rate(window: Window, rule: Rule) -> list[Reading]:
    """Of all namespaces together; of one where the rule names it. A look-up that a dead Redis did not answer is a miss."""
    namespace = rule.labels.get("namespace")
    answered = asked = 0
    for labels, sketch in window.of(_CACHE).items():
        name, _, outcome = labels.rpartition(":")
        if namespace in (None, name) and outcome in _ASKED:
            asked += sketch.count
            answered += sketch.count if outcome in _ANSWERED else 0
    labels_of = {} if namespace is None else {"namespace": namespace}
    return [Reading(labels_of, answered / asked, asked)] if asked else []


def _labels(text: str) -> dict[str, str]:
    """``queue=exports,outcome=ok`` as a dictionary; what is no label stands as ``series``."""
    if not text:
        return {}
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(equals for _, equals, _ in pairs):
        return {"series": text}
    return {name: value for name, _, value in pairs}


_OF: Final = {
    RESPONSE_P95: _response_p95,
    ERROR_RATE: _error_rate,
    SLOW_QUERIES: _slow_queries,
    CACHE_HIT_RATE: _cache_hit_rate,
}
