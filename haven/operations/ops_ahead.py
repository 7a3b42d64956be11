"""The operations page's poll before Flask: one exchange with Redis for whether the operator is signed in still, and what is new.

As with lists (``haven/api/fast_path.py``) nothing that this process keeps is believed: the sign-in is read each time and must be
byte for byte the one that was seen. Whatever is unusual, and whatever has to be computed, is the app's. A poll that is answered
here is in no rate limit and no measurement: a page that stands open must neither use up what its operator may ask nor change
what it shows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import redis
from flask import Flask
from werkzeug.http import parse_cookie

from extensions.caching import State as Caching
from extensions.caching.link import Link, Unavailable
from extensions.logs import Begun, Logs, begun_of, write_answered
from haven.api.cached import EXTENSION
from haven.identity.principals import Principals, Seen
from haven.operations.ops_answers import ACTED, LIVE, POLL, SEEN, Answers, Part, answer_of, stored_names
from haven.operations.ops_pages import COOKIE, PERMISSION
from haven.runtime import Runtime

Environ = dict[str, Any]
Live = Callable[[], Part | None]
_SEEN: Final = f"HTTP_{SEEN.upper().replace('-', '_')}"


class Polls:
    """WSGI middleware around an app that has all its extensions and views.

    Args:
        live: gives the live numbers, computed where they are old; they change most often, and need no Flask.
        headers: what every answer of the app has.
    """

    def __init__(
        self, app: Flask, answers: Answers, link: Link, live: Live, headers: Iterable[tuple[str, str]]
    ) -> None:
        self.answered = 0
        """How many polls it has answered."""
        self._behind = app.wsgi_app
        self._answers = answers
        self._link = link
        self._live = live
        self._headers = [*headers, ("Content-Type", "application/json"), ("Cache-Control", "no-store")]
        self._runtime: Runtime = app.extensions["haven"]
        self._principals: Principals = app.extensions["haven_principals"]
        self._slow_ms = app.config["SLOW_REQUEST_THRESHOLD"]

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != POLL or environ["REQUEST_METHOD"] != "GET" or environ.get("SCRIPT_NAME"):
            return self._behind(environ, start_response)
        begun = begun_of(environ)
        seen = self._operator(environ)
        parts = None if seen is None else self._parts(seen, environ["QUERY_STRING"])
        if seen is None or parts is None:
            return self._behind(environ, start_response)
        body = answer_of(parts, environ.get(_SEEN, ""))
        self.answered += 1
        self._write_slow(begun, len(body), seen)
        own = [("X-Request-ID", begun.request_id), ("Content-Length", str(len(body)))]
        start_response("200 OK", self._headers + own)
        return [body]

    def _operator(self, environ: Environ) -> Seen | None:
        """Who this process saw last with the cookie's token, if he may see the page."""
        token = parse_cookie(environ.get("HTTP_COOKIE")).get(COOKIE)
        seen = self._principals.seen(token) if token and not self._runtime.redis_is_away else None
        return seen if seen is not None and PERMISSION in seen.principal.permissions else None

    def _parts(self, seen: Seen, query: str) -> dict[str, Part] | None:
        """Every part of the answer, if the sign-in counts and none of them has to be computed."""
        names = stored_names(query)
        young = {part: self._answers.young(name) for part, name in names.items()}
        old = [part for part in names if young[part] is None]
        commands = seen.command + ACTED + b"".join(self._answers.commands(names[part]) for part in old)
        stored, acted, *told = self._exchange(commands, 2 + 2 * len(old))
        if stored != seen.stored:
            return None
        acted = acted or b""
        for at, part in enumerate(old):
            young[part] = self._answers.read(names[part], told[2 * at], told[2 * at + 1], acted)
        found = {part: one for part, one in young.items() if one is not None and one.acted == acted}
        if len(found) == len(names) - 1 and LIVE not in found and (live := self._live()) is not None:
            found[LIVE] = live
        return found if len(found) == len(names) else None

    def _exchange(self, commands: bytes, count: int) -> list[Any]:
        """Redis's answers; None each where it is away, which the other clients of this process are told as well."""
        try:
            return self._link.exchange(commands, count)
        except Unavailable as error:
            if isinstance(error.__cause__, redis.TimeoutError):
                self._runtime.redis.hold_off.failed(error.__cause__)
            return [None] * count

    def _write_slow(self, begun: Begun, size: int, seen: Seen) -> None:
        """Of a poll the log says something only where it was slow: they are many, and all alike."""
        if (time.perf_counter() - begun.at) * 1000 >= self._slow_ms:
            caller = seen.principal.actor
            write_answered(
                begun, self._slow_ms, method="GET", route=POLL, status=200, size=size, caller=caller
            )


def put_before(app: Flask, answers: Answers, live: Live, headers: Iterable[tuple[str, str]]) -> None:
    """Answer polls before Flask, where one Redis holds the sign-ins and the cache; a cluster takes more than one exchange."""
    runtime: Runtime = app.extensions["haven"]
    caching: Caching | None = app.extensions.get(EXTENSION)
    is_one = runtime.settings.cache_redis_url == runtime.settings.redis_url
    if caching is None or Logs.name not in app.extensions or not is_one or caching.cache.link.is_cluster:
        return
    polls = Polls(app, answers, caching.cache.link, live, headers)
    app.extensions["haven_polls"] = app.wsgi_app = polls  # type: ignore[method-assign]
