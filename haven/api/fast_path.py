"""Lists before Flask: one round trip to Redis for who asks, how much he may ask, and whether a stored answer still counts.

A process keeps what it was last told of a token, and the bytes of answers. Neither is believed: one exchange with Redis
reads the sign-in and the generations again and counts the request. Only if the sign-in is byte for byte the one that was
seen and the limit has room is anything answered here: the bytes, if the generations are theirs; else the page of a list,
computed in a transaction of the caller's agency. In any other case the request goes on to the app as if nothing had been, but
for its count in the limit, and what went wrong, which it takes with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import redis
from flask import Flask
from werkzeug.wrappers import Request

from extensions.caching import State as Caching
from extensions.caching.answers import Answer, as_wsgi, headers_of, stored_parts, wants_fresh
from extensions.caching.cache import BYPASS, HIT, STALE_HIT, Asked, Guess
from extensions.caching.link import Unavailable
from extensions.caching.values import Entry
from extensions.database.counting import Counted, counting
from extensions.logs import Answered, Begun, Logs, begun_of, name_lines, write_answered
from extensions.monitoring.requests import REQUEST_ID, ROUTE
from extensions.rate_limiting import RateLimiting
from extensions.rate_limiting import State as Limiting
from extensions.rate_limiting.ahead import Ahead
from extensions.rate_limiting.answers import told
from extensions.rate_limiting.counting import Standing
from extensions.rate_limiting.rules import Rule
from haven.api.cached import EXTENSION, CacheRule, place_of, quarter_of
from haven.api.encoding import check_length
from haven.api.guard import FAILED, SIGNED_IN, is_signed_in_administrator
from haven.api.large_answers import NDJSON
from haven.api.listing import Listing
from haven.api.resource import API, CACHED, page_parts
from haven.db.session import reading
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
    """A view without arguments whose answers are stored. ``listing`` is the list that it shows, where it is one."""

    path: str
    permission: str
    rule: CacheRule
    life_s: float
    listing: Listing | None

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
    words: tuple[Any, ...]
    is_kept: bool = False
    """Only what has had an answer is kept: what asks in other words each time, and gets an error, takes no room."""
    ahead: Ahead | None = None
    limits: Mapping[str, Rule] | None = None
    """What operators had put in force when ``ahead`` was made."""
    head: bytes = b""
    """The head of the entry that ``headers`` were made of."""
    headers: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Call:
    """A request."""

    environ: Environ
    begun: Begun
    is_fresh: bool
    """It asks for what is computed now."""
    counted: Counted | None = None
    """The statements that it took, where any were."""


class Admitted(NamedTuple):
    """A caller who may have the view's answer, what is stored for him and counts, and where he stands in the limits."""

    known: Known
    entry: Entry | None
    standings: tuple[Standing, ...] = ()


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
        self._most_bytes = app.config["MAX_RESPONSE_BYTES"]
        self._known: dict[tuple[bytes, str, str, str, int], Known] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        view = self._views.get(environ["PATH_INFO"])
        if view is None or _is_unusual(environ):
            return self._behind(environ, start_response)
        call = Call(environ, begun_of(environ), wants_fresh(environ.get("HTTP_CACHE_CONTROL", "")))
        admitted = self._admitted(view, call)
        answer = None if admitted is None else self._found(view, admitted, call)
        if admitted is None or answer is None:
            return self._behind(environ, start_response)
        return self._answer(view, admitted, answer, call, start_response)

    def _found(self, view: View, admitted: Admitted, call: Call) -> Answer | None:
        entry = admitted.entry
        if entry is not None:
            self.answered += 1
            return Answer(HIT, entry.head, entry.body, entry.age_s())
        if view.listing is None or NDJSON in call.environ.get("HTTP_ACCEPT", ""):
            return None
        name_lines(call.begun.request_id, call.begun.trace_id)
        with counting(f"GET {view.path}") as call.counted:
            answer = self._computed(view, admitted.known, call)
        if answer is not None and answer.outcome in (HIT, STALE_HIT):
            self.answered += 1
        elif answer is not None:
            self.computed += 1
        return answer

    def _admitted(self, view: View, call: Call) -> Admitted | None:
        """What Redis confirms of what this process keeps; None: this request is the app's."""
        environ = call.environ
        seen = self._principals.seen(environ["HTTP_AUTHORIZATION"].removeprefix(_BEARER).strip())
        if seen is None or not view.admits(seen.principal) or self._runtime.redis_is_away:
            return None
        known = self._known_of(view, seen, environ["QUERY_STRING"], environ.get("HTTP_ACCEPT", ""))
        guess = None if call.is_fresh else self._caching.cache.guess(known.asked)
        if guess is None and view.listing is None:
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
            place = place_of(view.rule, seen.principal, view.path, query.encode("latin-1"), accept)
            asked = self._caching.cache.asked(place)
            known = Known(seen, asked, seen.principal.actor, self._is_exempt(seen.principal), words)
        return known

    def _keep(self, known: Known) -> None:
        if len(self._known) >= _KNOWN_KEPT:
            self._known.clear()
        self._known[known.words] = known
        known.is_kept = True

    def _ahead(self, view: View, known: Known) -> Ahead | None:
        """What counts the request; made anew when operators' limits were read again."""
        limiting = self._limiting
        assert limiting is not None
        limiting.control.sync()
        limits = limiting.control.limits.overrides
        if known.ahead is None or known.limits is not limits or limiting.storage.counts_in_memory:
            known.ahead, known.limits = limiting.ahead(f"GET {view.path}", known.actor), limits
        return known.ahead

    def _confirmed(self, known: Known, guess: Guess | None) -> Admitted | None:
        stored, versions = self._exchange(known.seen.command, guess)
        return self._if_so(known, stored, guess, versions)

    def _counted(self, known: Known, guess: Guess | None, ahead: Ahead, environ: Environ) -> Admitted | None:
        stored, count, versions = self._exchange(known.seen.command + ahead.command, guess, 2)
        verdict = ahead.counted(environ, count)
        if verdict is None or not verdict.is_allowed:
            return None
        return self._if_so(known, stored, guess, versions, verdict.standings)

    def _if_so(
        self,
        known: Known,
        stored: Any,
        guess: Guess | None,
        versions: Any,
        standings: tuple[Standing, ...] = (),
    ) -> Admitted | None:
        if stored != known.seen.stored:
            return None
        is_right = guess is not None and self._caching.cache.is_right(guess, versions)
        return Admitted(known, guess.entry if guess is not None and is_right else None, standings)

    def _computed(self, view: View, known: Known, call: Call) -> Answer | None:
        """The page, computed once for all who ask for it now; None: something is wrong, and the app has words for it."""

        def compute() -> tuple[bytes, bytes]:
            assert view.listing is not None
            arguments = Request(call.environ).args
            query = view.listing.parse(arguments)
            with reading(
                self._runtime.engine, known.seen.principal.tenant(call.begun.request_id)
            ) as connection:
                page = view.listing.page(connection, query)
            headers, body = page_parts(page, view.path, arguments)
            check_length(len(body), self._most_bytes, view.path)
            return stored_parts(headers, body)

        try:
            if call.is_fresh:
                return Answer(BYPASS, *compute())
            fetched = self._caching.cache.fetch(
                known.asked.place, compute, lambda parts: parts, view.life_s, keeps_locally=True
            )
        except Exception as error:  # noqa: BLE001  whatever it is
            call.environ[FAILED] = error
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
                self._runtime.redis.hold_off.failed(error.__cause__)
            return [None] * (count + 1)
        return answers if guess is not None else [*answers, None]

    def _is_exempt(self, principal: Principal) -> bool:
        if self._limiting is None:
            return True
        return self._runtime.settings.enable_admin_bypass and is_signed_in_administrator(principal)

    def _answer(
        self, view: View, admitted: Admitted, answer: Answer, call: Call, start_response: StartResponse
    ) -> Iterable[bytes]:
        known = admitted.known
        if not known.is_kept:
            self._keep(known)
        if answer.outcome != HIT:
            fixed = headers_of(answer) + self._headers
        else:
            if known.head != answer.head:
                known.headers, known.head = headers_of(answer) + self._headers, answer.head
            fixed = known.headers
        status, headers, body = as_wsgi(answer, fixed, call.environ.get("HTTP_IF_NONE_MATCH"))
        request_id = call.begun.request_id
        headers.append(("X-Request-ID", request_id))
        if admitted.standings:
            headers += told(admitted.standings, known.ahead.policy if known.ahead else "")
        call.environ[ROUTE], call.environ[REQUEST_ID] = view.path, request_id
        start_response(status, headers)
        counted = call.counted
        answered = write_answered(
            call.begun,
            self._slow_ms,
            method="GET",
            route=view.path,
            status=int(status[:3]),
            size=len(body),
            caller=known.actor,
            statements=counted.count if counted else 0,
            statements_ms=counted.total_ms if counted else 0.0,
        )
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


def _is_unusual(environ: Environ) -> bool:
    """Whether it is no plain GET by a token."""
    return (
        environ["REQUEST_METHOD"] != "GET"
        or not environ.get("HTTP_AUTHORIZATION", "").startswith(_BEARER)
        or bool(environ.get("SCRIPT_NAME"))
    )
