"""Circuit breaker: what does not answer is left alone for a while, by all processes at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from flask import Flask, current_app

from extensions.circuit_breaker.breaker import Breaker, Breakers, Call, CircuitOpen, Listener
from extensions.circuit_breaker.rules import Outcome, Rules, State
from extensions.contract import Base, Health, Metric, Setting
from extensions.hold_off import GuardedRedis, guarded_redis

__all__ = [
    "Breaker",
    "Breakers",
    "Call",
    "CircuitBreaker",
    "CircuitOpen",
    "Listener",
    "Outcome",
    "Rules",
    "State",
    "rules_from",
]

_LEVEL: Final = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}


class CircuitBreaker(Base):
    """Breakers by name, their state shared over processes in Redis."""

    name = "circuit_breaker"
    requires = ("logs",)
    settings = (
        Setting("BREAKER_WINDOW", 60, "Calls this young count; 0: of any age", "s"),
        Setting("BREAKER_WINDOW_CALLS", 100, "The newest so many calls count"),
        Setting("BREAKER_MINIMUM_CALLS", 20, "With fewer calls in the window it never opens"),
        Setting("BREAKER_FAILURE_RATE", 0.5, "Share of failed calls at which it opens", "0 to 1"),
        Setting("BREAKER_SLOW_CALL", 8.0, "A call that takes this long is slow", "s"),
        Setting(
            "BREAKER_SLOW_CALL_RATE", 0.8, "Share of slow calls at which it opens; above 1: never", "0 to 1"
        ),
        Setting("BREAKER_OPEN_TIME", 30, "How long it stays open", "s"),
        Setting("BREAKER_PROBES", 3, "Calls let through to see whether the other side is back"),
        Setting("REDIS_TIMEOUT", 250, "Longest wait for Redis", "ms"),
        Setting("REDIS_URL", "", "Where the state is shared; empty: each process has its own", "URL"),
    )

    def init_app(self, app: Flask) -> None:
        """Make the registry of ``app``. Connects to nothing."""
        rules = rules_from(lambda name: self.setting(app, name))
        client = _client(self.setting(app, "REDIS_URL"), self.setting(app, "REDIS_TIMEOUT"))
        app.extensions[self.name] = Breakers(rules, client)

    def breaker(self, name: str) -> Breaker:
        """The breaker of that name in the current app."""
        breakers: Breakers = current_app.extensions[self.name]
        return breakers[name]

    def health(self) -> Health:
        """``degraded`` while a circuit is not closed, or is not shared though it should be."""
        breakers: Breakers = current_app.extensions[self.name]
        has_redis = bool(self.setting(current_app, "REDIS_URL"))
        states = {one.name: one.state() for one in breakers}
        is_well = all(state is State.CLOSED for state in states.values())
        is_shared = not has_redis or all(one.is_shared for one in breakers)
        numbers = {"circuits": states, "shared": is_shared and has_redis}
        return Health("ok" if is_well and is_shared else "degraded", numbers)

    def collect(self) -> Iterable[Metric]:
        breakers: Breakers = current_app.extensions[self.name]
        for one in breakers:
            yield Metric("circuit_breaker_state", _LEVEL[one.state()], {"circuit": one.name}, merge="max")
            for outcome, count in sorted(one.counts.items()):
                labels = {"circuit": one.name, "outcome": str(outcome)}
                yield Metric("circuit_breaker_calls_total", count, labels)


def rules_from(setting: Any) -> Rules:
    """The rules that the settings of the extension say; ``setting`` gives the value of a name."""
    return Rules(
        window_s=setting("BREAKER_WINDOW"),
        window_calls=setting("BREAKER_WINDOW_CALLS"),
        minimum_calls=setting("BREAKER_MINIMUM_CALLS"),
        failure_rate=setting("BREAKER_FAILURE_RATE"),
        slow_call_s=setting("BREAKER_SLOW_CALL"),
        slow_call_rate=setting("BREAKER_SLOW_CALL_RATE"),
        open_s=setting("BREAKER_OPEN_TIME"),
        probes=setting("BREAKER_PROBES"),
    )


def _client(url: str, timeout_ms: int) -> GuardedRedis | None:
    return guarded_redis(url, timeout_ms / 1000) if url else None
