"""What a rule is: which measure, compared with what, for how long; and the six that every installation begins with."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Comparison = Literal["ABOVE", "BELOW"]
Severity = Literal["WARNING", "CRITICAL"]
COMPARISONS: Final = ("ABOVE", "BELOW")
SEVERITIES: Final = ("WARNING", "CRITICAL")

RESPONSE_P95: Final = "response_p95_seconds"
ERROR_RATE: Final = "error_rate"
SLOW_QUERIES: Final = "slow_queries_per_minute"
CACHE_HIT_RATE: Final = "cache_hit_rate"
MEASURES: Final[Mapping[str, str]] = {
    RESPONSE_P95: "95 of 100 requests of a route are answered within, in seconds",
    ERROR_RATE: "Share of requests that were answered 500 or more, 0 to 1",
    SLOW_QUERIES: "Statements over SLOW_QUERY_THRESHOLD, a minute",
    CACHE_HIT_RATE: "Share of the cache's look-ups that it answered, 0 to 1",
}
"""Measures worked out of what monitoring keeps. Besides, a metric that an extension collects is a measure by its own name."""

LONGEST_S: Final = 86_400
WINDOW_LEAST_S: Final = 10
WINDOW_MOST_S: Final = 900
"""What monitoring has at hand without a database."""
COUNT_MOST: Final = 1_000_000
NAME_PATTERN: Final = "^[a-z][a-z0-9_]{0,62}$"
_NAME: Final = re.compile(NAME_PATTERN)
_LABEL: Final = re.compile("[A-Za-z_][A-Za-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class Rule:
    """When to alert.

    Args:
        metric: one of ``MEASURES``, or a metric that an extension collects, such as ``jobs_waiting``.
        threshold: an alert begins beyond it, in the unit of the metric.
        resolve_threshold: and is over only when the value is back at this one or better.
        for_s: how long the value must be beyond the threshold before the alert fires.
        resolve_for_s: how long it must be back before the alert is resolved.
        window_s: the value is of the last so many seconds.
        minimum_count: with fewer requests, look-ups or samples than this there is no value.
        labels: only series with these labels; none: every one. Each series has an alert of its own.
    """

    name: str
    metric: str
    comparison: Comparison
    threshold: float
    resolve_threshold: float
    for_s: int
    severity: Severity
    resolve_for_s: int = 120
    window_s: int = 300
    minimum_count: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    enabled: bool = True
    id: uuid.UUID = field(default_factory=uuid.uuid4)

    def is_beyond(self, value: float) -> bool:
        """Whether the value is one to alert of."""
        return value > self.threshold if self.comparison == "ABOVE" else value < self.threshold

    def is_back(self, value: float) -> bool:
        """Whether the value is good again; between the two thresholds it is neither."""
        if self.comparison == "ABOVE":
            return value <= self.resolve_threshold
        return value >= self.resolve_threshold


def faults(rule: Rule, extensions: Iterable[str]) -> list[tuple[str, str]]:
    """What is wrong with a rule: the field, and what it must be.

    Args:
        extensions: names of those whose metrics there may be.
    """
    found: list[tuple[str, str]] = []
    if not _NAME.fullmatch(rule.name):
        found.append(
            (
                "name",
                "must be lower-case letters, digits and underscores, and begin with a letter; at most 63",
            )
        )
    if not _is_measured(rule.metric, extensions):
        found.append(
            (
                "metric",
                f"must be one of {', '.join(MEASURES)}, or a metric of an extension, such as jobs_waiting",
            )
        )
    if rule.comparison not in COMPARISONS:
        found.append(("comparison", f"must be one of {', '.join(COMPARISONS)}"))
    if rule.severity not in SEVERITIES:
        found.append(("severity", f"must be one of {', '.join(SEVERITIES)}"))
    found += [
        (name, "must be a number")
        for name in ("threshold", "resolve_threshold")
        if not math.isfinite(getattr(rule, name))
    ]
    if rule.comparison == "ABOVE" and rule.resolve_threshold > rule.threshold:
        found.append(("resolve_threshold", "must not be above the threshold of a rule that is ABOVE"))
    if rule.comparison == "BELOW" and rule.resolve_threshold < rule.threshold:
        found.append(("resolve_threshold", "must not be below the threshold of a rule that is BELOW"))
    if not all(_LABEL.fullmatch(name) for name in rule.labels):
        found.append(("labels", "must have names of letters, digits and underscores"))
    for name, low, high in (
        ("for_s", 0, LONGEST_S),
        ("resolve_for_s", 0, LONGEST_S),
        ("window_s", WINDOW_LEAST_S, WINDOW_MOST_S),
        ("minimum_count", 0, COUNT_MOST),
    ):
        if not low <= getattr(rule, name) <= high:
            found.append((name, f"must be from {low} to {high}"))
    return found


def _is_measured(metric: str, extensions: Iterable[str]) -> bool:
    if metric in MEASURES:
        return True
    return bool(_NAME.fullmatch(metric)) and any(metric.startswith(f"{name}_") for name in extensions)


DEFAULT_RULES: Final = (
    Rule(
        "slow_responses", RESPONSE_P95, "ABOVE", 3.0, 2.0, 60, "WARNING", minimum_count=20,
        description="A route answers more than 5 of 100 requests later than after 3 s",
    ),
    Rule(
        "high_memory", "memory_share", "ABOVE", 0.80, 0.75, 120, "CRITICAL", window_s=60,
        description="A process or its host has used more than 80 % of the memory it may have",
    ),
    Rule(
        "slow_queries", SLOW_QUERIES, "ABOVE", 5.0, 2.0, 60, "WARNING",
        description="More than 5 statements a minute take longer than SLOW_QUERY_THRESHOLD",
    ),
    Rule(
        "high_error_rate", ERROR_RATE, "ABOVE", 0.05, 0.03, 60, "CRITICAL", minimum_count=100,
        description="More than 5 of 100 requests end with a server error",
    ),
    Rule(
        "low_cache_hit_rate", CACHE_HIT_RATE, "BELOW", 0.70, 0.75, 300, "WARNING", minimum_count=200,
        description="The cache answers less than 70 of 100 look-ups",
    ),
    Rule(
        "deep_queue", "jobs_waiting", "ABOVE", 1000.0, 500.0, 60, "WARNING", window_s=60,
        description="More than 1,000 jobs of a queue wait for a worker",
    ),
)  # fmt: skip
"""A2 of the requirements. What is right for one installation is wrong for another: they are data, to be changed."""
