"""Rate limiting: so many requests of one caller in a window, counted in Redis, in memory while Redis is away."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import TooManyRequests

from extensions.contract import Base, Health, Metric, Setting
from extensions.hold_off import guarded_redis
from extensions.rate_limiting.counting import Standing, Verdict
from extensions.rate_limiting.limiter import Limiter
from extensions.rate_limiting.rules import DEFAULT, RULE_PATTERN, Limits, RouteClass, Rule

__all__ = ["DEFAULT", "RULE_PATTERN", "RateLimiting", "RouteClass", "Rule"]

_PREFIX: Final = "haven:limit"
_TOP: Final = 20


class RateLimiting(Base):
    """A sliding window for each caller, and one for each class of routes that has a limit of its own.

    While Redis does not answer each process counts in its own memory: a dead Redis makes the limit looser, never an error,
    and costs no request its time-out but those that are on the way when it dies.
    """

    name = "rate_limiting"
    requires = ("logs",)
    settings = (
        Setting("RATE_LIMIT_WINDOW", 60_000, "The window", "ms"),
        Setting("RATE_LIMIT_MAX_REQUESTS", 1000, "Requests of one caller in a window"),
        Setting("RATE_LIMIT_CLASSES", (), "`RouteClass`es: routes with a limit of their own beside that one"),
        Setting(
            "RATE_LIMIT_IDENTIFY", None, "Callable: text that names the caller (default: the remote address)"
        ),
        Setting("RATE_LIMIT_EXEMPT", None, "Callable: whether this request is not counted"),
        Setting("RATE_LIMIT_EXEMPT_PATHS", (), "Beginnings of paths that are not counted"),
        Setting(
            "RATE_LIMIT_RESTORE", None, "Callable: the operators' limits (class → rule), if Redis lost them"
        ),
        Setting("REDIS_TIMEOUT", 250, "Longest wait for Redis", "ms"),
        Setting("REDIS_URL", "", "Where to count; empty: in memory", "URL"),
    )

    def init_app(self, app: Flask) -> None:
        """Count the requests of ``app``. Connects to nothing."""
        default = Rule(
            self.setting(app, "RATE_LIMIT_MAX_REQUESTS"), max(1000, self.setting(app, "RATE_LIMIT_WINDOW"))
        )
        url = self.setting(app, "REDIS_URL")
        client = guarded_redis(url, self.setting(app, "REDIS_TIMEOUT") / 1000) if url else None
        limits = Limits(default, self.setting(app, "RATE_LIMIT_CLASSES"))
        app.extensions[self.name] = Limiter(limits, client, _PREFIX, self.setting(app, "RATE_LIMIT_RESTORE"))
        app.before_request(self._count)
        app.after_request(_tell)

    def health(self) -> Health:
        """``degraded`` while the count is kept in memory though it should be shared."""
        limiter = _limiter()
        is_away = limiter.counts_in_memory and bool(self.setting(current_app, "REDIS_URL"))
        numbers = {
            "counts_in": "memory" if limiter.counts_in_memory else "redis",
            "refused": dict(limiter.refusals.totals),
        }
        return Health("degraded" if is_away else "ok", numbers)

    def collect(self) -> Iterable[Metric]:
        limiter = _limiter()
        yield Metric("rate_limiting_in_memory", float(limiter.counts_in_memory))
        for name in limiter.limits.settings:
            yield Metric("rate_limiting_refused_total", limiter.refusals.totals[name], {"class": name})

    def release(self, pressure: float) -> int:  # noqa: ARG002  the windows are small: all or nothing
        """Let go of the windows in memory, which are those of callers while Redis is away."""
        return _limiter().release() * 1000

    def report(self) -> dict[str, Any]:
        """Every limit, and who was refused in the last hour, the most refused first. For operators."""
        limiter = _limiter()
        refused, is_of_all = limiter.last_hour()
        by_class: Counter[str] = Counter()
        for (name, _), count in refused.items():
            by_class[name] += count
        overrides = limiter.limits.overrides
        return {
            "limits": [
                {"name": name, "limit": str(overrides.get(name, rule)), "setting": str(rule)}
                for name, rule in limiter.limits.settings.items()
            ],
            "counts_in": "memory" if limiter.counts_in_memory else "redis",
            "of_all_processes": is_of_all,
            "refused": sum(by_class.values()),
            "refused_by_limit": dict(by_class),
            "most_refused": [
                {"caller": caller, "limit": name, "refused": count}
                for (name, caller), count in refused.most_common(_TOP)
            ],
        }

    def override(self, texts: Mapping[str, str]) -> None:
        """Put operators' limits (class → ``30 per minute``) in force in every process within two seconds.

        Those that are not named fall back to the settings.

        Raises:
            ValueError: one is no rule, or of no class.
            redis.RedisError: Redis does not answer; nothing has changed.
        """
        _limiter().override(texts)

    def _count(self) -> None:
        paths: tuple[str, ...] = tuple(self.setting(current_app, "RATE_LIMIT_EXEMPT_PATHS"))
        if paths and request.path.startswith(paths):
            return
        limiter = _limiter()
        route_class = limiter.limits.class_of(f"{request.method} {request.url_rule or ''}")
        if route_class is not None and route_class.by_address:
            verdict = limiter.take(f"address:{request.remote_addr}", route_class)
        else:
            exempt = self.setting(current_app, "RATE_LIMIT_EXEMPT")
            if exempt is not None and exempt():
                return
            identify = self.setting(current_app, "RATE_LIMIT_IDENTIFY") or _address
            verdict = limiter.take(identify(), route_class)
        g.rate_limit = verdict
        if not verdict.is_allowed:
            raise _refusal(verdict.tightest)


def _limiter() -> Limiter:
    limiter: Limiter = current_app.extensions[RateLimiting.name]
    return limiter


def _address() -> str:
    return f"address:{request.remote_addr}"


def _refusal(by: Standing) -> TooManyRequests:
    wait_s = _seconds(by.frees_in_ms)
    detail = f"The limit `{by.name}` is {by.rule}: wait {wait_s} s."
    document = {"type": "about:blank", "title": "Too many requests", "status": 429, "detail": detail}
    answer = Response(
        orjson.dumps(document),
        429,
        {"Retry-After": str(wait_s)},
        content_type="application/problem+json",
    )
    # The response is for an app that has no way of its own with errors.
    return TooManyRequests(detail, answer, retry_after=wait_s)


def _tell(response: Response) -> Response:
    """Say where the caller stands: in each limit by the IETF's fields, in the tightest one by the ``X-RateLimit`` ones."""
    verdict: Verdict | None = g.pop("rate_limit", None)
    if verdict is None:
        return response
    headers, tightest = response.headers, verdict.tightest
    headers["RateLimit-Policy"] = ", ".join(
        f'"{one.name}";q={one.rule.amount};w={one.rule.window_ms // 1000}' for one in verdict.standings
    )
    headers["RateLimit"] = ", ".join(
        f'"{one.name}";r={one.left};t={_seconds(one.frees_in_ms)}' for one in verdict.standings
    )
    headers["X-RateLimit-Limit"] = str(tightest.rule.amount)
    headers["X-RateLimit-Remaining"] = str(tightest.left)
    headers["X-RateLimit-Reset"] = str(int(time.time()) + _seconds(tightest.frees_in_ms))
    return response


def _seconds(ms: int) -> int:
    """Whole seconds, rounded up: who waits that long is not refused again for a rounding."""
    return max(1, -(-ms // 1000))
