"""Caching: values and whole answers in Redis, cleared by what changes them, computed once for all who ask."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from flask import Flask, Response, current_app, make_response, request
from flask_caching import Cache as FlaskCache
from sqlalchemy import Engine

from extensions.caching.answers import Answers
from extensions.caching.build import build_cache, watch_writes
from extensions.caching.cache import Cache, Rules
from extensions.caching.flask_backend import CACHE_TYPE
from extensions.caching.keys import NOBODY, Place
from extensions.caching.link import Unavailable
from extensions.caching.manager import NAME, CacheManager, Declared, cache_manager
from extensions.caching.requests import answer_key
from extensions.caching.statistics import FIELDS
from extensions.contract import Base, Health, Metric, Setting

__all__ = ["CacheManager", "Caching", "Declared", "State", "Unavailable", "cache_manager"]


@dataclass(frozen=True, slots=True)
class State:
    """The caching of one app."""

    cache: Cache
    answers: Answers
    namespaces: Mapping[str, Declared]
    owner: Callable[[], str]
    flask: FlaskCache = field(default_factory=FlaskCache)
    """Flask-Caching, on the same store."""


class Caching(Base):
    """A cache over Redis that no request fails for.

    While Redis is away, slow, full or read-only everything is computed; what it could not be told of is caught up on before
    anything stored is trusted again.
    """

    name = NAME
    settings = (
        Setting("ENABLE_CACHE", True, "false: nothing is stored, everything is computed"),
        Setting("REDIS_URL", "", "Redis; empty: nothing is stored", "URL"),
        Setting("CACHE_REDIS_URL", "", "Another Redis, Sentinel or Cluster, for the cache alone", "URL"),
        Setting("CACHE_PREFIX", "haven", "What every key begins with"),
        Setting("CACHE_TTL_DEFAULT", 3600, "Life of a value", "s"),
        Setting("CACHE_STALE", 60, "How long after its end it may be served while the next is computed", "s"),
        Setting("CACHE_TIMEOUT", 0.2, "Longest wait for Redis", "s"),
        Setting("CACHE_WAIT", 2.0, "Longest wait for another's computation", "s"),
        Setting("CACHE_COMPRESS_FROM", 4096, "Larger values are compressed", "bytes"),
        Setting("CACHE_LARGEST", 1_048_576, "Larger values are not stored", "bytes"),
        Setting("CACHE_LOCAL_BYTES", 16_777_216, "Answers kept in each process as well", "bytes"),
        Setting("CACHE_NAMESPACES", {}, "Namespace → Declared(tags, ttl_s, unasked_s)"),
        Setting("CACHE_OWNER", None, "Callable: whose values they are (default: everybody's)"),
    )

    def init_app(self, app: Flask) -> None:
        """Make the cache of ``app``, and a Flask-Caching on it. Connects to nothing."""
        of = {setting.name: self.setting(app, setting.name) for setting in self.settings}
        rules = Rules(
            is_on=of["ENABLE_CACHE"],
            ttl_s=of["CACHE_TTL_DEFAULT"],
            stale_s=of["CACHE_STALE"],
            wait_s=of["CACHE_WAIT"],
            compress_from=of["CACHE_COMPRESS_FROM"],
            largest=of["CACHE_LARGEST"],
            local_bytes=of["CACHE_LOCAL_BYTES"],
        )
        cache = build_cache(
            of["CACHE_REDIS_URL"] or of["REDIS_URL"], rules, of["CACHE_PREFIX"], of["CACHE_TIMEOUT"]
        )
        owner = of["CACHE_OWNER"] or (lambda: NOBODY)
        state = State(cache, Answers(cache), of["CACHE_NAMESPACES"], owner)
        app.extensions[self.name] = state
        state.flask.init_app(
            app, {"CACHE_TYPE": CACHE_TYPE, "CACHE_DEFAULT_TIMEOUT": int(of["CACHE_TTL_DEFAULT"])}
        )

    def watch(
        self, app: Flask, engine: Engine, clears: Mapping[str, Iterable[str]], *, debts: bool = False
    ) -> None:
        """Clear tags when a transaction of ``engine`` that wrote their tables commits.

        Args:
            clears: table → tags.
            debts: the database has the table ``cache_debt`` (see ``debts``).
        """
        state: State = app.extensions[self.name]
        watch_writes(state.cache, engine, clears, debts=debts)

    def cached(
        self,
        namespace: str,
        *,
        ttl_s: float | None = None,
        tags: tuple[str, ...] = (),
        max_age_s: int = 0,
    ) -> Callable[[Callable[..., Any]], Callable[..., Response]]:
        """A decorator that stores a GET view's answers, for each caller apart (by ``Authorization`` and ``Cookie``)."""

        def decorate(view: Callable[..., Any]) -> Callable[..., Response]:
            @wraps(view)
            def answered(*args: Any, **kwargs: Any) -> Response:
                state: State = current_app.extensions[NAME]
                accept = request.headers.get("Accept", "")
                key = answer_key(_caller(), request.path, request.query_string, accept)
                place = Place(state.owner(), namespace, key, tags)
                return state.answers.answer(
                    place, lambda: make_response(view(*args, **kwargs)), ttl_s, max_age_s
                )

            return answered

        return decorate

    def health(self) -> Health:
        """``degraded`` while Redis is left alone: everything works, and is computed. ``redis`` is this process's circuit."""
        state: State = current_app.extensions[self.name]
        circuit = state.cache.link.breaker
        numbers = {
            **state.cache.statistics.total,
            "local_bytes": state.cache.local.bytes,
            "redis": {"circuit": circuit.state, "failures_in_a_row": circuit.failures},
        }
        return Health("degraded" if circuit.is_open else "ok", numbers)

    def collect(self) -> Iterable[Metric]:
        state: State = current_app.extensions[self.name]
        # Those that are nought too: a total that appears with its first value has grown by nothing yet, for Prometheus.
        for name in FIELDS:
            yield Metric(f"caching_{name}_total", state.cache.statistics.total[name])
        yield Metric("caching_local_bytes", state.cache.local.bytes)
        yield Metric("caching_redis_left_alone", int(state.cache.link.breaker.is_open), merge="max")

    def release(self, pressure: float) -> int:
        """Let go of answers kept in the process."""
        state: State = current_app.extensions[self.name]
        return state.cache.local.release(pressure)

    def after_fork(self, app: Flask) -> None:
        state: State = app.extensions[self.name]
        state.cache.reset()


def _caller() -> str:
    """Who asks, as text that says nothing of his credentials."""
    held = f"{request.headers.get('Authorization', '')}\n{request.headers.get('Cookie', '')}"
    return hashlib.sha256(held.encode()).hexdigest()
