"""Stored answers before Flask: one round trip to Redis for who asks, how much he may ask, and whether the answer still counts.

A process keeps what it was last told of a token, and the bytes of answers. Neither is believed: one exchange with Redis
reads the sign-in and the generations again and counts the request. Only if the sign-in is byte for byte the one that was
seen, the limit has room and the generations are those of the bytes, these are the answer. In any other case the request goes
on to the app as if nothing had been, but for its count in the limit, which it takes with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import redis
from flask import Flask

from extensions.caching import State as Caching
from extensions.caching.answers import answer_of, headers_of, wants_fresh
from extensions.caching.cache import Asked, Guess
from extensions.caching.link import Unavailable
from extensions.logs import Answered, Logs, offered_request_id, own_request_id, trace_id_of, write_request
from extensions.monitoring.requests import ROUTE
from extensions.rate_limiting import RateLimiting
from extensions.rate_limiting import State as Limiting
from extensions.rate_limiting.ahead import Ahead
from extensions.rate_limiting.answers import told
from extensions.rate_limiting.counting import Standing
from extensions.rate_limiting.rules import Rule
from haven.api.cached import EXTENSION, CacheRule, place_of, quarter_of
from haven.api.guard import SIGNED_IN, is_signed_in_administrator
from haven.identity.principals import Principal, Principals, Seen
from haven.runtime import Runtime

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Headers = list[tuple[str, str]]
_BEARER: Final = "Bearer "
_KNOWN_KEPT: Final = 2000
"""Requests in their words of which a process keeps what it has found out, about 2 KB each."""


@dataclass(frozen=True, slots=True)
class View:
    """A view without arguments whose answers are stored."""

    path: str
    permission: str
    rule: CacheRule
    life_s: float

    def admits(self, principal: Principal) -> bool:
        return self.permission == SIGNED_IN or self.permission in principal.permissions


@dataclass(slots=True)
class Known:
    """What was found out of a request, for the next that asks the same in the same words.

    It says nothing of whether an answer may be given: ``seen``, the limits and the generations are looked at each time.
    """

    seen: Seen
    asked: Asked
    actor: str
    is_exempt: bool
    ahead: Ahead | None = None
    limits: Mapping[str, Rule] | None = None
    """What operators had put in force when ``ahead`` was made."""
    head: bytes = b""
    """The head of the entry that ``headers`` were made of."""
    headers: list[tuple[str, str]] = field(default_factory=list)


class Hit(NamedTuple):
    """An answer that may be given, and where its caller stands in the limits; nowhere where he has none."""

    guess: Guess
    known: Known
    standings: tuple[Standing, ...] = ()


class FastPath:
    """WSGI middleware around an app that has all its extensions and views.

    Args:
        headers: what every answer of the app has.
    """

    def __init__(self, app: Flask, headers: Iterable[tuple[str, str]]) -> None:
        self.answered = 0
        """How many requests it has answered."""
        self.observers: list[Callable[[Answered], None]] = []
        """Told of each of them, as what is hung into Flask does not see them."""
        self._behind = app.wsgi_app
        self._headers = list(headers)
        self._views = {view.path: view for view in _views_of(app)}
        self._runtime: Runtime = app.extensions["haven"]
        self._principals: Principals = app.extensions["haven_principals"]
        self._caching: Caching = app.extensions[EXTENSION]
        self._limiting: Limiting | None = app.extensions.get(RateLimiting.name)
        self._slow_ms = app.config["SLOW_REQUEST_THRESHOLD"]
        self._known: dict[tuple[bytes, str, str, str, int], Known] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        view = self._views.get(environ["PATH_INFO"])
        if view is None or _is_unusual(environ):
            return self._behind(environ, start_response)
        began = time.perf_counter()
        hit = self._hit(view, environ)
        if hit is None:
            return self._behind(environ, start_response)
        return self._answer(view, hit, began, environ, start_response)

    def _hit(self, view: View, environ: Environ) -> Hit | None:
        """What Redis confirms of what this process keeps; None: this request is the app's."""
        seen = self._principals.seen(environ["HTTP_AUTHORIZATION"].removeprefix(_BEARER).strip())
        if seen is None or not view.admits(seen.principal) or self._runtime.redis_is_away:
            return None
        known = self._known_of(view, seen, environ["QUERY_STRING"], environ.get("HTTP_ACCEPT", ""))
        guess = self._caching.cache.guess(known.asked)
        if guess is None:
            return None
        if known.is_exempt:
            return self._confirmed(known, guess)
        ahead = self._ahead(view, known)
        return None if ahead is None else self._counted(known, guess, ahead, environ)

    def _known_of(self, view: View, seen: Seen, query: str, accept: str) -> Known:
        words = (seen.command, view.path, query, accept, quarter_of(view.rule))
        known = self._known.get(words)
        # What Redis says of a token may change: then so may whose answer it gets.
        if known is None or known.seen is not seen:
            if len(self._known) >= _KNOWN_KEPT:
                self._known.clear()
            place = place_of(view.rule, seen.principal, view.path, query.encode("latin-1"), accept)
            asked = self._caching.cache.asked(place)
            known = Known(seen, asked, seen.principal.actor, self._is_exempt(seen.principal))
            self._known[words] = known
        return known

    def _ahead(self, view: View, known: Known) -> Ahead | None:
        """What counts the request; made anew when operators' limits were read again."""
        limiting = self._limiting
        assert limiting is not None
        limiting.control.sync()
        limits = limiting.control.limits.overrides
        if known.ahead is None or known.limits is not limits or limiting.storage.counts_in_memory:
            known.ahead, known.limits = limiting.ahead(f"GET {view.path}", known.actor), limits
        return known.ahead

    def _confirmed(self, known: Known, guess: Guess) -> Hit | None:
        stored, versions = self._exchange(known.seen.command + guess.question.command, 2)
        is_so = stored == known.seen.stored and self._caching.cache.is_right(guess, versions)
        return Hit(guess, known) if is_so else None

    def _counted(self, known: Known, guess: Guess, ahead: Ahead, environ: Environ) -> Hit | None:
        commands = known.seen.command + ahead.command + guess.question.command
        stored, count, versions = self._exchange(commands, 3)
        verdict = ahead.counted(environ, count)
        if verdict is None or not verdict.is_allowed or stored != known.seen.stored:
            return None
        if not self._caching.cache.is_right(guess, versions):
            return None
        return Hit(guess, known, verdict.standings)

    def _exchange(self, commands: bytes, count: int) -> list[Any]:
        """Redis's answers; None each where it is away, which the other clients of this process are told as well."""
        try:
            return self._caching.cache.link.exchange(commands, count)
        except Unavailable as error:
            if isinstance(error.__cause__, redis.TimeoutError):
                self._runtime.redis.hold_off.failed()
            return [None] * count

    def _is_exempt(self, principal: Principal) -> bool:
        if self._limiting is None:
            return True
        return self._runtime.settings.enable_admin_bypass and is_signed_in_administrator(principal)

    def _answer(
        self, view: View, hit: Hit, began: float, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        known, entry = hit.known, hit.guess.entry
        if known.head != entry.head:
            known.headers, known.head = headers_of(entry) + self._headers, entry.head
        status, headers, body = answer_of(entry, known.headers, environ.get("HTTP_IF_NONE_MATCH"))
        offered_id = offered_request_id(environ.get("HTTP_X_REQUEST_ID"))
        request_id = offered_id or own_request_id()
        headers.append(("X-Request-ID", request_id))
        if hit.standings:
            headers += told(hit.standings)
        environ[ROUTE] = view.path
        start_response(status, headers)
        self.answered += 1
        answered = Answered(
            method="GET",
            route=view.path,
            status=int(status[:3]),
            ms=(time.perf_counter() - began) * 1000,
            size=len(body),
            caller=known.actor,
            request_id=request_id,
            trace_id=trace_id_of(environ.get("HTTP_TRACEPARENT")),
            statements=0,
            is_own_id=offered_id is None,
        )
        write_request(answered, self._slow_ms)
        for tell in self.observers:
            tell(answered)
        return [body]


def put_before(app: Flask, headers: Iterable[tuple[str, str]]) -> None:
    """Answer what is stored before Flask, where the app has a cache and one Redis holds everything.

    A cluster, or a Redis of the cache's own, takes more than one exchange: there the app answers.
    """
    runtime: Runtime = app.extensions["haven"]
    caching: Caching | None = app.extensions.get(EXTENSION)
    settings = runtime.settings
    is_one = settings.cache_redis_url == settings.redis_url
    if caching is None or Logs.name not in app.extensions or not is_one or caching.cache.link.is_cluster:
        return
    app.extensions["fast_path"] = app.wsgi_app = FastPath(app, headers)  # type: ignore[method-assign]


def _views_of(app: Flask) -> Iterable[View]:
    for rule in app.url_map.iter_rules():
        permission, cached = getattr(app.view_functions[rule.endpoint], "cached_under", ("", None))
        if cached is not None and not rule.arguments and "GET" in (rule.methods or ()):
            yield View(rule.rule, permission, cached, app.config[cached.life])


def _is_unusual(environ: Environ) -> bool:
    """Whether it is no plain GET by a token, or asks for what is computed now."""
    return (
        environ["REQUEST_METHOD"] != "GET"
        or not environ.get("HTTP_AUTHORIZATION", "").startswith(_BEARER)
        or bool(environ.get("SCRIPT_NAME"))
        or wants_fresh(environ.get("HTTP_CACHE_CONTROL", ""))
    )
