"""Stored answers to lists: whose they are, who else may have them, what clears them.

An answer is shared by callers of one agency who have the same role and the same permissions, and ask the same; by nobody else.
It is looked for after sign-in, the rate limit and the permission check, and before any SQL.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from flask import Response, current_app, request

from extensions.caching.keys import Place
from extensions.caching.requests import answer_key
from haven.identity.principals import Principal

EXTENSION: Final = "caching"
_JSON: Final = frozenset(
    {"", "*/*", "application/json", "application/json, */*;q=0.5", "application/json, text/plain, */*"}
)
"""What clients that want JSON send; it is all one to us."""


@dataclass(frozen=True, slots=True)
class CacheRule:
    """How the answers of one view are stored.

    Args:
        namespace: of the keys; what ``invalidate_pattern("units:*")`` names.
        tags: the tables it reads.
        shape: what its answers look like, so that those of an older release are not served by a newer one.
        is_personal: the answer depends on the user, not only on his role and permissions.
        ttl_s: life of an answer; None: ``API_CACHE_TTL``.
        max_age_s: how long a client may show it without asking; over 0 only where that much staleness is declared to be fine.
    """

    namespace: str
    tags: tuple[str, ...]
    shape: str = ""
    is_personal: bool = False
    ttl_s: float | None = None
    max_age_s: int = 0


def cached_answer(rule: CacheRule, principal: Principal, view: Callable[[], Response]) -> Response:
    """The stored answer to the request at hand, or the view's."""
    state = current_app.extensions.get(EXTENSION)
    if state is None:
        return view()
    place = place_of(rule, principal, request.path, request.query_string, request.headers.get("Accept", ""))
    ttl_s = current_app.config["API_CACHE_TTL"] if rule.ttl_s is None else rule.ttl_s
    answer: Response = state.answers.answer(place, view, ttl_s, rule.max_age_s)
    return answer


def place_of(rule: CacheRule, principal: Principal, path: str, query: bytes, accept: str) -> Place:
    """Where the answer to this request is stored."""
    key = answer_key(audience(rule, principal), path, query, "json" if accept in _JSON else accept)
    return Place(str(principal.agency_id), rule.namespace, key, rule.tags)


def audience(rule: CacheRule, principal: Principal) -> str:
    """Who may have the answer: those of this role with these permissions; or this one user or key."""
    person = principal.actor if rule.is_personal else ""
    return f"{rule.shape}/{_held(principal.role, principal.permissions)}/{person}"


def shape_of(text: str) -> str:
    """A short name for the statement behind an answer."""
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


@lru_cache(maxsize=1024)
def _held(role: str, permissions: frozenset[str]) -> str:
    text = "\n".join((role, *sorted(permissions)))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
