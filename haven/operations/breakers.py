"""What is left alone because it does not answer, over all processes; for operators. No Flask."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from extensions.caching.cache import Cache
from extensions.circuit_breaker.breaker import Breakers
from extensions.circuit_breaker.rules import Outcome
from extensions.circuit_breaker.survey import Seen, survey

_COUNTED: Final = (*(outcome.value for outcome in Outcome), "refused")


def standing(breakers: Breakers, cache: Cache) -> dict[str, Any]:
    """The circuits, the rules that hold for all of them, and the cache's own around Redis."""
    circuit = cache.link.breaker
    return {
        "breakers": [_shown(one) for one in survey(breakers)],
        "rules": asdict(breakers.rules),
        "redis": {"state": circuit.state, "failures_in_a_row": circuit.failures},
    }


def _shown(one: Seen) -> dict[str, Any]:
    return {
        "name": one.name,
        "state": one.standing.state,
        "is_shared": one.is_shared,
        "window": {"calls": one.standing.calls, "failed": one.standing.failed, "slow": one.standing.slow},
        "counts": {name: one.counts.get(name, 0) for name in _COUNTED},
    }
