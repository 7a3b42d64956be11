"""What was counted, merged over generators: by second, by what was asked, and in all."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

HTTP: Final = "HTTP"
"""One request."""
FLOW: Final = "FLOW"
"""What a person waits for: the requests of a page, a payment until it is PAID, a file until it is loaded."""

Key = tuple[str, str]
"""Kind (``HTTP`` or ``FLOW``) and name (``GET /properties``)."""


@dataclass(slots=True)
class Series:
    """Durations in ms, kept to three digits: a percentile is off by 0.5 % at most. Failed ones count, too."""

    count: int = 0
    failed: int = 0
    sum_ms: float = 0.0
    times: Counter[float] = field(default_factory=Counter)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add what a generator counted."""
        self.count += row["count"]
        self.failed += row["failed"]
        self.sum_ms += row["sum_ms"]
        for ms, count in row["times"].items():
            self.times[float(ms)] += count

    def merge(self, other: Series) -> None:
        """Add another series."""
        self.count += other.count
        self.failed += other.failed
        self.sum_ms += other.sum_ms
        self.times.update(other.times)

    @property
    def mean(self) -> float | None:
        return self.sum_ms / self.count if self.count else None

    @property
    def error_rate(self) -> float | None:
        return self.failed / self.count if self.count else None

    @property
    def max(self) -> float | None:
        return max(self.times, default=None)

    def percentiles(self, shares: Sequence[float]) -> list[float | None]:
        """The least duration that this share (0 to 1) of all do not exceed; shares in rising order."""
        found: list[float | None] = []
        passed, ordered = 0, iter(sorted(self.times.items()))
        ms: float | None = None
        for share in shares:
            while passed < share * self.count:
                ms, count = next(ordered)
                passed += count
            found.append(ms)
        return found

    def document(self) -> dict[str, Any]:
        p50, p95, p99 = self.percentiles((0.5, 0.95, 0.99))
        return {
            "count": self.count,
            "failed": self.failed,
            "mean_ms": short(self.mean),
            "p50_ms": p50,
            "p95_ms": p95,
            "p99_ms": p99,
            "max_ms": self.max,
        }


def merged(series: Iterable[Series]) -> Series:
    """All of them as one."""
    whole = Series()
    for one in series:
        whole.merge(one)
    return whole


class Tally:
    """Everything that the generators told, by second since the test began."""

    def __init__(self) -> None:
        self.of: dict[Key, Series] = defaultdict(Series)
        self.requests: dict[int, Series] = defaultdict(Series)
        """Requests (no flows) by second in which they ended."""
        self.errors: Counter[str] = Counter()
        self._users: dict[int, dict[int, int]] = defaultdict(dict)

    def add(self, generator: int, told: Mapping[str, Any]) -> None:
        """Add what a generator counted in about a second."""
        second = int(told["at"])
        self._users[second][generator] = told["users"]
        for row in told["series"]:
            self.of[row["kind"], row["name"]].add(row)
            if row["kind"] == HTTP:
                self.requests[second].add(row)
        self.errors.update(told["errors"])

    def all_of(self, kind: str, names: Sequence[str] | None = None) -> Series:
        """Everything of a kind, or only what is called so."""
        return merged(
            one for (of, name), one in self.of.items() if of == kind and (names is None or name in names)
        )

    @property
    def users(self) -> dict[int, int]:
        """Users at once, by second."""
        last: dict[int, int] = {}
        found = {}
        for second in sorted(self._users):
            last |= self._users[second]
            found[second] = sum(last.values())
        return found

    def steps(self, step_s: int) -> list[tuple[int, Series]]:
        """Requests in steps of so many seconds, the empty ones too, from the first to the last that was told of."""
        last = max([*self.requests, *self._users], default=-1)
        return [
            (
                at,
                merged(self.requests[second] for second in range(at, at + step_s) if second in self.requests),
            )
            for at in range(0, last + 1, step_s)
        ]


def short(number: float | None) -> float | None:
    """Four digits: more are noise."""
    return None if number is None else float(f"{number:.4g}")
