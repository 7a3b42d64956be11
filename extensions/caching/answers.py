"""Whole answers to GET requests, stored as bytes, with the headers that RFC 9110 and 9111 have for them.

Of a stored answer come back its body, ``Content-Type``, ``Link`` and ``ETag``. ``Age`` says how long ago it was computed,
``X-Cache`` where it is from: ``HIT``, ``MISS``, ``STALE`` (past its life; somebody computes the next) or ``BYPASS`` (not asked: the
caller sent ``Cache-Control: no-cache``, a write is being committed, or Redis is away).

``Cache-Control`` is ``private, max-age=0, must-revalidate`` unless a staleness is declared: a browser that kept an answer for
half an hour would show its user the old list after his own write. With the ETag, asking again costs a 304.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import orjson
from flask import Response, request

from extensions.caching.cache import BYPASS, Cache, Fetched
from extensions.caching.keys import Place
from extensions.caching.values import Entry

VARY: Final = "Authorization, Accept, Accept-Encoding"
_KEPT: Final = ("Content-Type", "Link")
_MUST_ASK: Final = "private, max-age=0, must-revalidate"


class Answers:
    """Stored answers of one cache."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def answer(
        self, place: Place, view: Callable[[], Response], ttl_s: float | None = None, max_age_s: int = 0
    ) -> Response:
        """The stored answer at ``place``, or the view's, stored if it is a 200 in one piece.

        Args:
            max_age_s: how long a client may show it without asking; over 0 only where stale answers are declared to be fine.
        """
        if wants_fresh(request.headers.get("Cache-Control", "")):
            return _finished(BYPASS, view(), max_age_s)
        fetched: Fetched[Response] = self._cache.fetch(place, view, _parts, ttl_s, keeps_locally=True)
        if fetched.value is not None:
            return _finished(fetched.outcome, fetched.value, max_age_s)
        assert fetched.entry is not None
        return _restored(fetched.outcome, fetched.entry, max_age_s)


def wants_fresh(header: str) -> bool:
    """Whether a request's ``Cache-Control`` asks for an answer that is computed now."""
    return bool(header) and any(
        word.strip().lower() in ("no-cache", "no-store") for word in header.split(",")
    )


def tag_of(body: bytes) -> str:
    """A strong ETag: of the bytes."""
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def is_known(tag: str, header: str | None) -> bool:
    """Whether ``If-None-Match`` names the tag (weakly compared, RFC 9110, section 13.1.2)."""
    if header is None:
        return False
    named = {part.strip().removeprefix("W/") for part in header.split(",")}
    return tag in named or "*" in named


def stored_parts(headers: Mapping[str, str], body: bytes) -> tuple[bytes, bytes]:
    """Head and body of an entry, for an answer that is computed where there is no request."""
    return orjson.dumps({**headers, "ETag": tag_of(body)}), body


class Answer(NamedTuple):
    """What ``X-Cache`` says of an answer, its head and body as they are stored, and how long ago they were computed (s)."""

    outcome: str
    head: bytes
    body: bytes
    age_s: float = 0.0


def headers_of(answer: Answer) -> list[tuple[str, str]]:
    """The headers of an answer that are the same each time."""
    kept: dict[str, str] = orjson.loads(answer.head)
    return [
        *kept.items(),
        ("X-Cache", answer.outcome),
        ("Vary", VARY),
        ("Cache-Control", _MUST_ASK),
    ]


def as_wsgi(
    answer: Answer, headers: list[tuple[str, str]], if_none_match: str | None
) -> tuple[str, list[tuple[str, str]], bytes]:
    """An answer as WSGI has it: status, headers (a list of its own) and body; a 304 where the caller names its tag.

    Args:
        headers: ``headers_of`` the answer, with others that it is to have.
    """
    age = ("Age", str(int(answer.age_s)))
    if if_none_match is not None and is_known(dict(headers)["ETag"], if_none_match):
        had = [one for one in headers if one[0] != "Content-Type"]
        return "304 NOT MODIFIED", [*had, age], b""
    return "200 OK", [*headers, age, ("Content-Length", str(len(answer.body)))], answer.body


def _parts(response: Response) -> tuple[bytes, bytes] | None:
    if response.status_code != 200 or response.is_streamed or "Set-Cookie" in response.headers:
        return None
    kept = {name: response.headers[name] for name in _KEPT if name in response.headers}
    return stored_parts(kept, response.get_data())


def _finished(outcome: str, response: Response, max_age_s: int) -> Response:
    """The view's own answer, with the headers."""
    response.headers["X-Cache"] = outcome
    if response.status_code != 200 or response.is_streamed:
        return response
    tag = tag_of(response.get_data())
    response.headers["ETag"] = tag
    _frame(response, 0, max_age_s)
    if is_known(tag, request.headers.get("If-None-Match")):
        return _not_modified(response)
    return response


def _restored(outcome: str, entry: Entry, max_age_s: int) -> Response:
    headers: dict[str, Any] = orjson.loads(entry.head)
    headers["X-Cache"] = outcome
    response = Response(entry.body, 200, headers)
    _frame(response, int(entry.age_s()), max_age_s)
    if is_known(headers["ETag"], request.headers.get("If-None-Match")):
        return _not_modified(response)
    return response


def _frame(response: Response, age_s: int, max_age_s: int) -> None:
    response.headers["Age"] = str(age_s)
    response.headers["Vary"] = VARY
    response.headers["Cache-Control"] = f"private, max-age={max_age_s}" if max_age_s else _MUST_ASK


def _not_modified(response: Response) -> Response:
    response.status_code = 304
    response.set_data(b"")
    for name in ("Content-Type", "Content-Length"):
        response.headers.pop(name, None)
    return response
