"""Stored answers to lists: whose they are, who else may have them, what clears them.

An answer is shared by callers of one agency who have the same role and the same permissions, and ask the same; by nobody else.
It is looked for after sign-in, the rate limit and the permission check, and before any SQL.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from flask import Response, current_app, request

from extensions.caching.keys import Place
from extensions.caching.requests import answer_key
from haven.api.large_answers import wants_rows
from haven.identity.principals import Principal

EXTENSION: Final = "caching"
_JSON: Final = frozenset(
    {"", "*/*", "application/json", "application/json, */*;q=0.5", "application/json, text/plain, */*"}
)
"""What clients that want JSON send; it is all one to us."""
_QUARTER_S: Final = 900
"""Wherever on earth a day begins, a quarter of an hour begins as well; so the agency's zone need not be known."""

_now: Final = time.time


@dataclass(frozen=True, slots=True)
class CacheRule:
    """How the answers of one view are stored.

    Args:
        namespace: of the keys; what ``invalidate_pattern("units:*")`` names.
        tags: the tables it reads.
        shape: what its answers look like, so that those of an older release are not served by a newer one.
        is_personal: the answer depends on the user, not only on his role and permissions.
        life: the setting that says how long an answer lives.
        is_of_a_day: the answer depends on what day it is where the agency is, so none is served past a midnight.
    """

    namespace: str
    tags: tuple[str, ...]
    shape: str = ""
    is_personal: bool = False
    life: str = "API_CACHE_TTL"
    is_of_a_day: bool = False


def cached_answer(rule: CacheRule, principal: Principal, view: Callable[[], Response]) -> Response:
    """The stored answer to the request at hand, or the view's."""
    state = current_app.extensions.get(EXTENSION)
    if state is None or wants_rows():
        return view()
    place = place_of(rule, principal, request.path, request.query_string, request.headers.get("Accept", ""))
    answer: Response = state.answers.answer(place, view, current_app.config[rule.life])
    return answer


def place_of(rule: CacheRule, principal: Principal, path: str, query: bytes, accept: str) -> Place:
    """Where the answer to this request is stored."""
    key = answer_key(audience(rule, principal), path, query, "json" if accept in _JSON else accept)
    return Place(str(principal.agency_id), rule.namespace, key, rule.tags)


def audience(rule: CacheRule, principal: Principal) -> str:
    """Who may have the answer: those of this role with these permissions; or this one user or key."""
    person = principal.actor if rule.is_personal else ""
    day = str(quarter_of(rule)) if rule.is_of_a_day else ""
    return f"{rule.shape}/{_held(principal.role, principal.permissions)}/{person}/{day}"


def quarter_of(rule: CacheRule) -> int:
    """The quarter of an hour that an answer is of; 0 where it is of no time."""
    return int(_now()) // _QUARTER_S if rule.is_of_a_day else 0


def shape_of(text: str) -> str:
    """A short name for the statement behind an answer."""
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


@lru_cache(maxsize=1024)
def _held(role: str, permissions: frozenset[str]) -> str:
    text = "\n".join((role, *sorted(permissions)))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
