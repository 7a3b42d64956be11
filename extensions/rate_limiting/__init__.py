"""Rate limiting: so many requests of one caller in a window, counted in Redis, in memory while Redis is away."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from flask import Flask, Response, current_app, request
from flask_limiter import HeaderNames, Limiter
from flask_limiter.util import get_remote_address

from extensions.contract import Base, Health, Metric, Setting

__all__ = ["RateLimiting"]

_REDIS_TIMEOUT_S: Final = 0.2
_WAIT: Final = "X-RateLimit-Retry-After"


class RateLimiting(Base):
    """Flask-Limiter with a sliding window for each caller.

    While Redis does not answer each process counts in its own memory, and Redis is asked again now and then: a dead Redis makes
    the limit looser, never an error.
    """

    name = "rate_limiting"
    requires = ("logs",)
    settings = (
        Setting("RATE_LIMIT_WINDOW", 60_000, "The window", "ms"),
        Setting("RATE_LIMIT_MAX_REQUESTS", 1000, "Requests of one caller in a window"),
        Setting(
            "RATE_LIMIT_IDENTIFY", None, "Callable: text that names the caller (default: the remote address)"
        ),
        Setting("RATE_LIMIT_EXEMPT", None, "Callable: whether this request is not counted"),
        Setting("RATE_LIMIT_EXEMPT_PATHS", (), "Beginnings of paths that are not counted"),
        Setting("REDIS_URL", "", "Where to count; empty: in memory", "URL"),
    )

    def init_app(self, app: Flask) -> None:
        window_s = max(1, self.setting(app, "RATE_LIMIT_WINDOW") // 1000)
        most = self.setting(app, "RATE_LIMIT_MAX_REQUESTS")
        redis_url = self.setting(app, "REDIS_URL")
        limiter = Limiter(
            key_func=self.setting(app, "RATE_LIMIT_IDENTIFY") or get_remote_address,
            application_limits=[f"{most} per {window_s} second"],
            storage_uri=redis_url or "memory://",
            storage_options=_storage_options(redis_url),
            strategy="sliding-window-counter",
            key_prefix="haven:limit",
            in_memory_fallback_enabled=bool(redis_url),
            headers_enabled=True,
            # The library would tell callers to wait on every answer, and make an error's own Retry-After later.
            header_name_mapping={HeaderNames.RETRY_AFTER: _WAIT},
            swallow_errors=True,
        )
        limiter.request_filter(self._is_exempt)
        # First: its header hook has to run before ours reads what it has counted.
        app.after_request(lambda response: _standard_headers(response, most, window_s))
        limiter.init_app(app)
        app.extensions[self.name] = limiter

    def limit(self, rule: str, key: Callable[[], str] | None = None) -> Callable[[Any], Any]:
        """A decorator with a limit of its own for one view, such as ``10 per minute``."""
        limiter: Limiter = current_app.extensions[self.name]
        return limiter.limit(rule, key_func=key)

    def health(self) -> Health:
        """``degraded`` while the count is kept in memory."""
        limiter: Limiter = current_app.extensions[self.name]
        is_away = bool(getattr(limiter, "_storage_dead", False))
        return Health("degraded" if is_away else "ok", {"counts_in": "memory" if is_away else "storage"})

    def collect(self) -> Iterable[Metric]:
        yield Metric("rate_limiting_in_memory", float(self.health().status != "ok"))

    def _is_exempt(self) -> bool:
        paths: tuple[str, ...] = tuple(self.setting(current_app, "RATE_LIMIT_EXEMPT_PATHS"))
        if paths and request.path.startswith(paths):
            return True
        exempt = self.setting(current_app, "RATE_LIMIT_EXEMPT")
        return bool(exempt is not None and exempt())


def _storage_options(redis_url: str) -> dict[str, Any]:
    if not redis_url:
        return {}
    return {"socket_timeout": _REDIS_TIMEOUT_S, "socket_connect_timeout": _REDIS_TIMEOUT_S}


def _standard_headers(response: Response, most: int, window_s: int) -> Response:
    """The IETF's ``RateLimit`` fields beside the ``X-RateLimit`` ones that Flask-Limiter writes."""
    wait = response.headers.pop(_WAIT, None)
    if wait is not None and response.status_code == 429:
        response.headers.setdefault("Retry-After", wait)
    left = response.headers.get("X-RateLimit-Remaining")
    reset = response.headers.get("X-RateLimit-Reset")
    if left is None or reset is None:
        return response
    wait_s = max(0, int(float(reset) - time.time()))
    response.headers["RateLimit-Policy"] = f'"default";q={most};w={window_s}'
    response.headers["RateLimit"] = f'"default";r={left};t={wait_s}'
    return response
