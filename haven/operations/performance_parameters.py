"""The query parameters of ``/monitoring``."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Any, Final

from marshmallow import ValidationError
from werkzeug.datastructures import MultiDict

from haven.api.arguments import read_arguments
from haven.errors import Fault, Invalid

DAY_S: Final = 86_400
WINDOW_MOST_S: Final = 30 * DAY_S
WINDOW_S: Final = 3600
LIMIT_MOST: Final = 200
LIMIT: Final = 50
POINTS_MOST: Final = 2000
STEPS: Final = (10, 60, 300, 600, 1800, 3600, 21_600, 86_400)
ORDERS: Final = ("total", "mean", "max", "count", "slow")
EVERY: Final = "*"
_AIMED_AT: Final = 500
_FINGERPRINT: Final = re.compile("[0-9a-f]{12}")


def _parameter(name: str, schema: dict[str, Any], description: str, *, is_required: bool = False) -> Any:
    return {
        "in": "query",
        "name": name,
        "required": is_required,
        "schema": schema,
        "description": description,
    }


_WINDOW: Final = _parameter(
    "window",
    {"type": "integer", "minimum": 10, "maximum": WINDOW_MOST_S, "default": WINDOW_S},
    "The last so many seconds.",
)
_LIMIT: Final = _parameter(
    "limit", {"type": "integer", "minimum": 1, "maximum": LIMIT_MOST, "default": LIMIT}, "How many."
)
WINDOW: Final = [_WINDOW]
SLOW_REQUESTS: Final = [_LIMIT]
SLOW_QUERIES: Final = [
    _WINDOW,
    _LIMIT,
    _parameter("order", {"type": "string", "enum": list(ORDERS), "default": "total"}, "What comes first."),
    _parameter(
        "fingerprint",
        {"type": "string", "pattern": "^[0-9a-f]{12}$"},
        "Only this statement, and how PostgreSQL would run it (EXPLAIN).",
    ),
    _parameter("only_slow", {"type": "boolean", "default": False}, "Only those over SLOW_QUERY_THRESHOLD."),
]
HISTORY: Final = [
    _parameter(
        "metric", {"type": "string", "default": "http"}, "Such as `http`, `job`, `database_pool_in_use`."
    ),
    _parameter(
        "labels",
        {"type": "string", "default": ""},
        "One series, such as `GET /api/v1/units`; `*`: every one; left out: that of all together.",
    ),
    _parameter("from", {"type": "string", "format": "date-time"}, "An hour before `to`, if it is left out."),
    _parameter("to", {"type": "string", "format": "date-time"}, "Now, if it is left out."),
    _parameter(
        "step", {"type": "integer", "enum": list(STEPS)}, "Seconds of a point; left out: about 500 points."
    ),
    _parameter(
        "classes", {"type": "boolean", "default": False}, "With how many values there are in each class."
    ),
]


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """What is asked of history; times in seconds since 1970."""

    metric: str
    labels: str | None
    since: int
    until: int
    step_s: int
    with_classes: bool


@dataclass(frozen=True, slots=True)
class StatementsQuery:
    """What is asked of statements: a window, how many, in which order; or one of them."""

    window_s: int
    limit: int
    order: str
    only_slow: bool
    fingerprint: str | None


def read_window(arguments: MultiDict[str, str]) -> int:
    """The window in seconds."""
    return int(read_arguments(arguments, {"window": _window}).get("window", WINDOW_S))


def read_slow_requests(arguments: MultiDict[str, str]) -> int:
    """How many are asked for."""
    return int(read_arguments(arguments, {"limit": _limit}).get("limit", LIMIT))


def read_slow_queries(arguments: MultiDict[str, str]) -> StatementsQuery:
    """What is asked of statements."""
    readers = {
        "window": _window, "limit": _limit, "order": _order, "only_slow": _yes_or_no, "fingerprint": _fingerprint,
    }  # fmt: skip
    found = read_arguments(arguments, readers)
    return StatementsQuery(
        found.get("window", WINDOW_S),
        found.get("limit", LIMIT),
        found.get("order", "total"),
        found.get("only_slow", False),
        found.get("fingerprint"),
    )


def read_history(arguments: MultiDict[str, str], now: dt.datetime) -> HistoryQuery:
    """What is asked of history.

    Raises:
        Invalid: a parameter that is unknown, repeated or wrong, a time that ends before it begins or began over 30 days
            ago, or more than 2000 points.
    """
    readers = {
        "metric": _name, "labels": _labels, "from": _instant, "to": _instant, "step": _step, "classes": _yes_or_no,
    }  # fmt: skip
    found = read_arguments(arguments, readers)
    until: dt.datetime = min(found.get("to", now), now)
    since: dt.datetime = found.get("from", until - dt.timedelta(seconds=WINDOW_S))
    if since >= until:
        raise _wrong("from", "must be before to, and not in the future")
    if since < now - dt.timedelta(seconds=WINDOW_MOST_S + DAY_S):
        raise _wrong("from", "must be at most 30 days ago")
    seconds = (until - since).total_seconds()
    step_s = found.get("step") or next((step for step in STEPS if seconds / step <= _AIMED_AT), STEPS[-1])
    if seconds / step_s > POINTS_MOST:
        raise _wrong("step", f"must give at most {POINTS_MOST} points; these would be {seconds / step_s:.0f}")
    labels = found.get("labels", "")
    return HistoryQuery(
        found.get("metric", "http"),
        None if labels == EVERY else labels,
        int(since.timestamp()) // step_s * step_s,
        int(until.timestamp()) + 1,
        step_s,
        found.get("classes", False),
    )


def _wrong(name: str, detail: str) -> Invalid:
    return Invalid(f"{name}: {detail}", faults=(Fault(name, detail),))


def _window(text: str) -> int:
    return _number(text, 10, WINDOW_MOST_S)


def _limit(text: str) -> int:
    return _number(text, 1, LIMIT_MOST)


def _number(text: str, low: int, high: int) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
    if not low <= number <= high:
        raise ValidationError(f"must be a whole number from {low} to {high}")
    return number


def _step(text: str) -> int:
    if text not in map(str, STEPS):
        raise ValidationError(f"must be one of {', '.join(map(str, STEPS))} (seconds)")
    return int(text)


def _order(text: str) -> str:
    if text not in ORDERS:
        raise ValidationError(f"must be one of {', '.join(ORDERS)}")
    return text


def _fingerprint(text: str) -> str:
    if not _FINGERPRINT.fullmatch(text):
        raise ValidationError("must be the fingerprint of a statement: 12 hexadecimal digits")
    return text


def _yes_or_no(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValidationError("must be true or false")
    return text == "true"


def _name(text: str) -> str:
    if not (text.isascii() and text.replace("_", "").isalnum() and len(text) <= 100):
        raise ValidationError("must be the name of a metric, such as http")
    return text


def _labels(text: str) -> str:
    if len(text) > 300 or not text.isprintable():
        raise ValidationError("must be at most 300 printable characters")
    return text


def _instant(text: str) -> dt.datetime:
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None or not 1970 < at.year < 9000:
        raise ValidationError("must be a time with its zone, such as 2026-11-25T09:00:00Z")
    return at
