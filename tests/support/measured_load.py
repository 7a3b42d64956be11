"""A load of known shape, measured by the real recorder on a clock of its own; and rules that look at it."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from extensions.alerting import Evaluation
from extensions.monitoring import Recorder, Store
from extensions.monitoring.reader import Reader

BEGAN = 1_764_000_000.0
STEP_S = 10
REQUESTS = 40
"""Of each of two routes in a step."""


@dataclass
class Clock:
    """Seconds since 1970, moved by the test."""

    at: float = BEGAN

    def __call__(self) -> float:
        return self.at

    @property
    def now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self.at, dt.UTC)


@dataclass(frozen=True)
class Shape:
    """How Haven does in a step: shares from 0 to 1; nobody is in trouble as it stands."""

    errors: float = 0.005
    slow_ms: float = 80.0
    """What the route ``/api/v1/slow`` takes, about; ``/api/v1/units`` takes 40 ms."""
    hit_rate: float = 0.9
    waiting: float = 20.0
    memory: float = 0.55
    slow_statements_a_minute: float = 0.0
    noise: float = 0.1
    """Relative standard deviation of levels and times."""


CALM = Shape()


@dataclass
class Load:
    """Measures steps of a shape. ``reader`` reads them as it would those of all processes."""

    seed: int = 0
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.recorder = Recorder(Store(None), clock=self.clock)
        self.reader = Reader(self.recorder)

    def step(self, shape: Shape) -> None:
        """Ten seconds of it; the clock is then at their end."""
        self.clock.at += STEP_S
        for route, ms in (("GET /api/v1/units", 40.0), ("GET /api/v1/slow", shape.slow_ms)):
            for _ in range(REQUESTS):
                self._request(route, ms * self.random.lognormvariate(0, 2 * shape.noise), shape.errors)
        for _ in range(REQUESTS):
            is_hit = self.random.random() < shape.hit_rate
            self.observe("cache", 0.0, f"units:{'hits' if is_hit else 'bypassed'}")
        for _ in range(20):
            is_slow = self.random.random() < shape.slow_statements_a_minute / 6 / 20
            self.observe("statement", 1500.0 if is_slow else 3.0, "0123456789ab", is_error=is_slow)
        self.observe("jobs_waiting", self._about(shape.waiting, shape.noise), "queue=exports")
        self.observe("jobs_waiting", 3.0, "queue=payments")
        self.observe("memory_share", self._about(shape.memory, shape.noise / 5))

    def observe(self, metric: str, value: float, labels: str = "", *, is_error: bool = False) -> None:
        self.recorder.observe(metric, value, labels, is_error=is_error)

    def _request(self, route: str, ms: float, errors: float) -> None:
        is_error = self.random.random() < errors
        for labels in ("", route):
            self.observe("http", ms, labels, is_error=is_error)

    def _about(self, level: float, noise: float) -> float:
        return max(self.random.gauss(level, noise * level), 0.0)


def run(load: Load, shapes: Iterable[Shape], evaluate: Callable[[Load], Evaluation | None]) -> Told:
    """Let the shapes pass, one a step, and evaluate after each; what fired and was resolved, in turn."""
    told = Told()
    for shape in shapes:
        load.step(shape)
        done = evaluate(load)
        if done is not None:
            told.fired += [(load.clock.at - BEGAN, one.fingerprint) for one in done.fired]
            told.resolved += [(load.clock.at - BEGAN, one.fingerprint) for one in done.resolved]
    return told


@dataclass
class Told:
    """Seconds since the beginning, and the fingerprint, of each change."""

    fired: list[tuple[float, str]] = field(default_factory=list)
    resolved: list[tuple[float, str]] = field(default_factory=list)

    def names(self, changes: list[tuple[float, str]]) -> list[str]:
        return sorted(fingerprint for _, fingerprint in changes)


def minutes(count: float, shape: Shape = CALM, **changes: Any) -> list[Shape]:
    """So many minutes of a shape."""
    return [replace(shape, **changes)] * int(count * 60 / STEP_S)


TROUBLES = {
    "high_error_rate": {"errors": 0.07},
    "slow_responses/method=GET,route=/api/v1/slow": {"slow_ms": 3600.0},
    "low_cache_hit_rate": {"hit_rate": 0.0},
    "deep_queue/queue=exports": {"waiting": 1500.0},
    "slow_queries": {"slow_statements_a_minute": 12.0},
    "high_memory": {"memory": 0.9},
}
"""Fingerprint of the alert → the trouble that it tells of."""


def growing_memory(count: float, to: float = 0.92, **changes: Any) -> list[Shape]:
    """So many minutes in which memory grows evenly, besides other changes."""
    steps = int(count * 60 / STEP_S)
    begins = CALM.memory
    return [
        replace(CALM, **changes, memory=begins + (to - begins) * (number + 1) / steps)
        for number in range(steps)
    ]
