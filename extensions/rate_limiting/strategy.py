"""Our windows as a strategy of `limits`: what Flask-Limiter calls for each limit of a request.

Flask-Limiter asks for one limit after the other. A request that counts in several of ours has them in one item
(``Together``), so that it costs one round trip and counts in all or in none.
"""

from __future__ import annotations

import time
from typing import Any

from flask import g, has_app_context, has_request_context, request
from limits import RateLimitItem, RateLimitItemPerSecond, WindowStats
from limits.strategies import STRATEGIES, RateLimiter

from extensions.rate_limiting.ahead import take_counted
from extensions.rate_limiting.counting import Rules, Standing, Verdict, tightest
from extensions.rate_limiting.rules import Rule
from extensions.rate_limiting.storage import SCHEME, WindowStorage


class Together(RateLimitItemPerSecond):
    """Several rules in one item; to whoever asks for a single one, the first."""

    __slots__ = ("rules",)

    def __init__(self, rules: Rules) -> None:
        first = rules[0][1]
        super().__init__(first.amount, first.window_ms // 1000)
        self.rules = tuple(rules)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Together) and self.rules == other.rules

    def __hash__(self) -> int:
        # Asked several times in a request; the hash of a text is kept, that of all the rules is not.
        return hash(self.rules[0][0])


class Windows(RateLimiter):
    """The strategy ``windows``. It notes where the caller stands, for the answer's headers to say without asking again."""

    storage: WindowStorage

    def __init__(self, storage: Any) -> None:
        if not isinstance(storage, WindowStorage):
            raise NotImplementedError(
                f"The strategy `{SCHEME}` needs a storage `{SCHEME}+…`, not {type(storage).__name__}."
            )
        super().__init__(storage)

    def hit(self, item: RateLimitItem, *identifiers: str, cost: int = 1) -> bool:
        return self._take(item, identifiers, cost).is_allowed

    def test(self, item: RateLimitItem, *identifiers: str, cost: int = 1) -> bool:
        return all(one.left >= cost for one in self._take(item, identifiers, 0).standings)

    def get_window_stats(self, item: RateLimitItem, *identifiers: str) -> WindowStats:
        standing = self._take(item, identifiers, 0).tightest
        return WindowStats(time.time() + standing.frees_in_ms / 1000, standing.left)

    def clear(self, item: RateLimitItem, *identifiers: str) -> None:
        self.storage.forget(*_asked(item, identifiers))

    def _take(self, item: RateLimitItem, identifiers: tuple[str, ...], amount: int) -> Verdict:
        caller, rules = _asked(item, identifiers)
        verdict = (
            take_counted(request.environ, caller, rules) if amount == 1 and has_request_context() else None
        )
        if verdict is None:
            verdict = self.storage.take(caller, rules, amount)
        if has_app_context():
            noted().update({one.name: one for one in verdict.standings})
        return verdict


STRATEGIES[SCHEME] = Windows  # type: ignore[assignment]  # typed as those that it comes with


def noted() -> dict[str, Standing]:
    """Where the caller of this request stands in each limit that it was counted in, by name."""
    standings: dict[str, Standing] = g.setdefault("rate_limit_standings", {})
    return standings


def breached(item: RateLimitItem, *identifiers: str) -> tuple[str, Standing]:
    """The caller whom ``item`` has just refused, and the tightest of its limits."""
    caller, rules = _asked(item, identifiers)
    return caller, tightest(noted()[name] for name, _ in rules)


def _asked(item: RateLimitItem, identifiers: tuple[str, ...]) -> tuple[str, Rules]:
    """Whose request is counted in what. Flask-Limiter's identifiers are the caller and the limit's scope."""
    *caller, scope = identifiers
    if isinstance(item, Together):
        return "/".join(caller), item.rules
    name = f"{scope}:{item.amount}/{item.get_expiry()}s".replace(" ", "_")
    return "/".join(caller), [(name, Rule(item.amount, item.get_expiry() * 1000))]
