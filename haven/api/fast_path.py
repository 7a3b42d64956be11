"""Lists before Flask: one round trip to Redis for who asks, how much he may ask, and whether a stored answer still counts.

A process keeps what it was last told of a token, and the bytes of answers. Neither is believed: one exchange with Redis
reads the sign-in and the generations again and counts the request. Only if the sign-in is byte for byte the one that was
seen and the limit has room is anything answered here: the bytes, if the generations are theirs; else the page of a list,
computed in a transaction of the caller's agency. In any other case the request goes on to the app as if nothing had been, but
for its count in the limit, and what went wrong, which it takes with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import redis
from flask import Flask
from sqlalchemy.orm import Session
from werkzeug.wrappers import Request

from extensions.caching import State as Caching
from extensions.caching.answers import Answer, as_wsgi, stored_parts, wants_fresh
from extensions.caching.cache import BYPASS, HIT, STALE_HIT, Guess
from extensions.caching.keys import Place
from extensions.caching.link import Unavailable
from extensions.caching.values import Entry
from extensions.database.counting import Counted, counting
from extensions.logs import Answered, Logs, name_lines, request_id_of, trace_id_of, write_request
from extensions.monitoring.requests import ROUTE
from extensions.rate_limiting import RateLimiting
from extensions.rate_limiting import State as Limiting
from extensions.rate_limiting.ahead import Ahead
from extensions.rate_limiting.answers import told
from extensions.rate_limiting.counting import Standing
from haven.api.cached import EXTENSION, CacheRule, place_of
from haven.api.guard import FAILED, SIGNED_IN, is_signed_in_administrator
from haven.api.listing import Listing
from haven.api.resource import API, CACHED, page_parts
from haven.db.session import set_tenant, tell_along
from haven.identity.principals import Principal, Principals, Seen
from haven.runtime import Runtime

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Headers = list[tuple[str, str]]
_BEARER: Final = "Bearer "


@dataclass(frozen=True, slots=True)
class View:
    """A view without arguments whose answers are stored. ``listing`` is the list that it shows, where it is one."""

    path: str
    permission: str
    rule: CacheRule
    life_s: float
    listing: Listing | None

    def admits(self, principal: Principal) -> bool:
        return self.permission == SIGNED_IN or self.permission in principal.permissions


@dataclass(slots=True)
class Asked:
    """A request."""

    environ: Environ
    began: float
    request_id: str
    is_fresh: bool
    """It asks for what is computed now."""
    counted: Counted | None = None
    """The statements that it took, where any were."""


class Admitted(NamedTuple):
    """A caller who may have the view's answer, where he stands in the limits, and what is stored for him and counts."""

    principal: Principal
    place: Place
    standings: tuple[Standing, ...]
    entry: Entry | None


class FastPath:
    """WSGI middleware around an app that has all its extensions and views.

    Args:
        headers: what every answer of the app has.
    """

    def __init__(self, app: Flask, headers: Iterable[tuple[str, str]]) -> None:
        self.answered = 0
        """How many requests it has answered with what was stored."""
        self.computed = 0
        """How many with what it has computed."""
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

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        view = self._views.get(environ["PATH_INFO"])
        if view is None or _is_unusual(environ):
            return self._behind(environ, start_response)
        asked = _asked(environ)
        admitted = self._admitted(view, asked)
        answer = None if admitted is None else self._found(view, admitted, asked)
        if admitted is None or answer is None:
            return self._behind(environ, start_response)
        return self._answer(view, admitted, answer, asked, start_response)

    def _found(self, view: View, admitted: Admitted, asked: Asked) -> Answer | None:
        entry = admitted.entry
        if entry is not None:
            self.answered += 1
            return Answer(HIT, entry.head, entry.body, entry.age_s())
        if view.listing is None:
            return None
        name_lines(asked.request_id, trace_id_of(asked.environ.get("HTTP_TRACEPARENT")))
        with counting(f"GET {view.path}") as asked.counted:
            answer = self._computed(view, admitted, asked)
        if answer is not None and answer.outcome in (HIT, STALE_HIT):
            self.answered += 1
        elif answer is not None:
            self.computed += 1
        return answer

    def _admitted(self, view: View, asked: Asked) -> Admitted | None:
        """What Redis confirms of what this process keeps; None: this request is the app's."""
        environ = asked.environ
        seen = self._principals.seen(environ["HTTP_AUTHORIZATION"].removeprefix(_BEARER).strip())
        if seen is None or not view.admits(seen.principal) or self._runtime.redis_is_away:
            return None
        accept = environ.get("HTTP_ACCEPT", "")
        place = place_of(
            view.rule, seen.principal, view.path, environ["QUERY_STRING"].encode("latin-1"), accept
        )
        guess = None if asked.is_fresh else self._caching.cache.guess(place)
        if guess is None and view.listing is None:
            return None
        if self._is_exempt(seen.principal):
            return self._confirmed(seen, guess, place)
        ahead = self._limiting.ahead(f"GET {view.path}", seen.principal.actor) if self._limiting else None
        return None if ahead is None else self._counted(seen, guess, place, ahead, environ)

    def _confirmed(self, seen: Seen, guess: Guess | None, place: Place) -> Admitted | None:
        stored, versions = self._exchange(seen.command, guess)
        return self._if_so(seen, stored, guess, versions, place)

    def _counted(
        self, seen: Seen, guess: Guess | None, place: Place, ahead: Ahead, environ: Environ
    ) -> Admitted | None:
        stored, count, versions = self._exchange(seen.command + ahead.command, guess, 2)
        verdict = ahead.counted(environ, count)
        if verdict is None or not verdict.is_allowed:
            return None
        return self._if_so(seen, stored, guess, versions, place, verdict.standings)

    def _if_so(
        self,
        seen: Seen,
        stored: Any,
        guess: Guess | None,
        versions: Any,
        place: Place,
        standings: tuple[Standing, ...] = (),
    ) -> Admitted | None:
        if stored != seen.stored:
            return None
        is_right = guess is not None and self._caching.cache.is_right(guess, versions)
        return Admitted(seen.principal, place, standings, guess.entry if guess and is_right else None)

    def _computed(self, view: View, admitted: Admitted, asked: Asked) -> Answer | None:
        """The page, computed once for all who ask for it now; None: something is wrong, and the app has words for it."""

        def compute() -> tuple[bytes, bytes]:
            assert view.listing is not None
            arguments = Request(asked.environ).args
            query = view.listing.parse(arguments)
            with Session(self._runtime.engine) as session:
                set_tenant(session, admitted.principal.tenant(asked.request_id))
                tell_along(session)
                page = view.listing.page(session, query)
                session.commit()
            return stored_parts(*page_parts(page, view.path, arguments))

        try:
            if asked.is_fresh:
                return Answer(BYPASS, *compute())
            fetched = self._caching.cache.fetch(
                admitted.place, compute, lambda parts: parts, view.life_s, keeps_locally=True
            )
        except Exception as error:  # noqa: BLE001  whatever it is
            asked.environ[FAILED] = error
            return None
        entry = fetched.entry
        if entry is not None:
            return Answer(fetched.outcome, entry.head, entry.body, entry.age_s())
        assert fetched.value is not None
        return Answer(fetched.outcome, *fetched.value)

    def _exchange(self, commands: bytes, guess: Guess | None, count: int = 1) -> list[Any]:
        """Redis's answers to so many commands, and to the guess's question if there is one.

        None each where it is away, which the other clients of this process are told as well.
        """
        asked = commands if guess is None else commands + guess.question.command
        try:
            answers = self._caching.cache.link.exchange(asked, count + (guess is not None))
        except Unavailable as error:
            if isinstance(error.__cause__, redis.TimeoutError):
                self._runtime.redis.hold_off.failed()
            return [None] * (count + 1)
        return answers if guess is not None else [*answers, None]

    def _is_exempt(self, principal: Principal) -> bool:
        if self._limiting is None:
            return True
        return self._runtime.settings.enable_admin_bypass and is_signed_in_administrator(principal)

    def _answer(
        self, view: View, admitted: Admitted, answer: Answer, asked: Asked, start_response: StartResponse
    ) -> Iterable[bytes]:
        status, headers, body = as_wsgi(answer, asked.environ.get("HTTP_IF_NONE_MATCH"))
        headers += self._headers
        headers.append(("X-Request-ID", asked.request_id))
        if admitted.standings:
            headers += told(admitted.standings)
        asked.environ[ROUTE] = view.path
        start_response(status, headers)
        counted = asked.counted
        answered = Answered(
            method="GET",
            route=view.path,
            status=int(status[:3]),
            ms=(time.perf_counter() - asked.began) * 1000,
            size=len(body),
            caller=admitted.principal.actor,
            request_id=asked.request_id,
            trace_id=trace_id_of(asked.environ.get("HTTP_TRACEPARENT")),
            statements=counted.count if counted else 0,
            statements_ms=counted.total_ms if counted else 0.0,
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
    lists = {f"{API}{resource.path}": resource.listing for resource in CACHED.values()}
    for rule in app.url_map.iter_rules():
        permission, cached = getattr(app.view_functions[rule.endpoint], "cached_under", ("", None))
        if cached is not None and not rule.arguments and "GET" in (rule.methods or ()):
            yield View(rule.rule, permission, cached, app.config[cached.life], lists.get(rule.rule))


def _asked(environ: Environ) -> Asked:
    return Asked(
        environ,
        time.perf_counter(),
        request_id_of(environ.get("HTTP_X_REQUEST_ID")),
        wants_fresh(environ.get("HTTP_CACHE_CONTROL", "")),
    )


def _is_unusual(environ: Environ) -> bool:
    """Whether it is no plain GET by a token."""
    return (
        environ["REQUEST_METHOD"] != "GET"
        or not environ.get("HTTP_AUTHORIZATION", "").startswith(_BEARER)
        or bool(environ.get("SCRIPT_NAME"))
    )
