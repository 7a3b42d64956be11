"""Computes the first page of lists, and other answers, before anybody asks, and stores it for every role that may read it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from extensions.caching.answers import stored_parts
from extensions.caching.cache import MISS, Cache
from haven.api.cached import CacheRule, place_of
from haven.api.encoding import encode
from haven.api.resource import API, CACHED, Resource, page_parts
from haven.db.session import tenant_session
from haven.identity.permissions import ROLES
from haven.identity.principals import Principal

_NOBODY: Final = uuid.UUID(int=0)
_JSON: Final = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Warmed:
    """An answer that can be computed before it is asked for.

    Args:
        rule: how it is stored.
        path: under which it is asked for, without a query.
        permission: that one needs to read it.
        compute: its headers and body.
    """

    rule: CacheRule
    path: str
    permission: str
    compute: Callable[[Session], tuple[dict[str, str], bytes]]


WARMED: Final[dict[str, tuple[Warmed, ...]]] = {}
"""Answers that are no lists of a resource, by namespace; filled as their routes are registered."""


def warm(
    cache: Cache, engine: Engine, agency_id: uuid.UUID, targets: Iterable[str], lives: Mapping[str, Any]
) -> int:
    """Store what is not stored yet; how many answers were computed. Each is a transaction of its own.

    Args:
        lives: the settings by name, of which each rule names the one that is its answers' life (s).
    """
    answers = [one for target in targets for one in _answers_of(target)]
    return sum(_warm(cache, engine, agency_id, one, lives[one.rule.life]) for one in answers)


def document(value: Any) -> tuple[dict[str, str], bytes]:
    """Headers and body of a JSON answer."""
    return _JSON, encode(value)


def _answers_of(target: str) -> tuple[Warmed, ...]:
    return WARMED[target] if target in WARMED else (_of_resource(CACHED[target]),)


def _of_resource(resource: Resource) -> Warmed:
    rule, path = resource.cache_rule, f"{API}{resource.path}"
    assert rule is not None

    def compute(session: Session) -> tuple[dict[str, str], bytes]:
        nothing = MultiDict[str, str]()
        return page_parts(
            resource.listing.page(session.connection(), resource.listing.parse(nothing)), path, nothing
        )

    return Warmed(rule, path, f"{resource.permission}:read", compute)


def _warm(cache: Cache, engine: Engine, agency_id: uuid.UUID, one: Warmed, ttl_s: float) -> int:
    def computed() -> tuple[bytes, bytes]:
        with tenant_session(engine, agency_id, "cache-warm") as session:
            return stored_parts(*one.compute(session))

    warmed = 0
    for role, permissions in ROLES.items():
        if one.permission in permissions:
            principal = Principal(agency_id, _NOBODY, role, permissions, None, None)
            place = place_of(one.rule, principal, one.path, b"", "")
            warmed += cache.fetch(place, computed, lambda parts: parts, ttl_s).outcome == MISS
    return warmed
