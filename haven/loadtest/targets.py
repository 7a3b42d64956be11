"""What Haven promises (requirement T3), and what may be said of a figure. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

Verdict = Literal["pass", "warn", "critical", "not known"]


@dataclass(frozen=True, slots=True)
class Target:
    """A figure, the level that is aimed at, and the one that is an emergency, in ``unit``.

    Args:
        is_floor: more is better; else less is. A figure that equals a level has not kept it.
    """

    name: str
    title: str
    unit: Literal["ms", "s", "%"]
    good: float
    critical: float
    is_floor: bool = False

    def judge(self, value: float | None) -> Verdict:
        """``pass`` within the target, ``critical`` at its critical level or beyond, ``warn`` between them."""
        if value is None:
            return "not known"
        if self._keeps(value, self.good):
            return "pass"
        return "warn" if self._keeps(value, self.critical) else "critical"

    def _keeps(self, value: float, level: float) -> bool:
        return value > level if self.is_floor else value < level

    def shown(self, value: float | None) -> str:
        return "" if value is None else f"{value:.3g} {self.unit}"

    @property
    def wanted(self) -> str:
        return f"{'over' if self.is_floor else 'under'} {self.good:g} {self.unit} ({self.critical:g})"


DASHBOARD: Final = Target("dashboard_p95", "opening the dashboard, P95", "s", 2, 5)
PROPERTIES: Final = Target("properties_p95", "a page of properties, P95", "s", 1, 3)
PAYMENT: Final = Target("payment_p95", "a payment until it is PAID, P95", "s", 10, 30)
BULK: Final = Target("bulk_failed", "bulk operations that failed", "%", 1, 5)
API: Final = Target("api_mean", "a request, mean", "ms", 500, 3000)
DATABASE: Final = Target("database_mean", "a statement of the database, mean", "ms", 100, 1000)
CACHE: Final = Target("cache_hit_rate", "answers from the cache", "%", 80, 50, is_floor=True)
MEMORY: Final = Target("memory", "memory in use, at most", "%", 70, 90)
ERRORS: Final = Target("errors", "requests and flows that failed", "%", 1, 5)
MANY: Final = Target("many_at_once", "500 users at once: what failed", "%", 0.0001, 1)
"""Without errors: one in a million is none."""
MANY_USERS: Final = 500


@dataclass(frozen=True, slots=True)
class Judged:
    """A figure beside its target; ``why`` says where it is not known, or what it was made of."""

    target: Target
    value: float | None
    why: str = ""

    @property
    def verdict(self) -> Verdict:
        return self.target.judge(self.value)

    def document(self) -> dict[str, Any]:
        return asdict(self.target) | {"value": self.value, "verdict": self.verdict, "why": self.why}


def judged(figures: Mapping[str, tuple[Target, float | None, str]]) -> list[Judged]:
    """Each figure beside its target, in the order given."""
    return [Judged(target, value, why) for target, value, why in figures.values()]


def worst(verdicts: list[Judged]) -> Verdict:
    """The worst that was found; what is not known is worse than a pass, and better than a warning."""
    order: tuple[Verdict, ...] = ("critical", "warn", "not known", "pass")
    found = {one.verdict for one in verdicts}
    return next((verdict for verdict in order if verdict in found), "not known")
