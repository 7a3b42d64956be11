"""Computes the first page of lists before anybody asks, and stores it for every role that may read it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Final

from sqlalchemy import Engine
from werkzeug.datastructures import MultiDict

from extensions.caching.answers import stored_parts
from extensions.caching.cache import MISS, Cache
from haven.api.cached import place_of
from haven.api.encoding import encode
from haven.api.resource import API, CACHED, Resource, link_of
from haven.db.session import tenant_session
from haven.identity.permissions import ROLES
from haven.identity.principals import Principal

_NOBODY: Final = uuid.UUID(int=0)


def warm(cache: Cache, engine: Engine, agency_id: uuid.UUID, targets: Iterable[str], ttl_s: float) -> int:
    """Store what is not stored yet; how many pages were computed. Each is a transaction of its own."""
    return sum(_warm(cache, engine, agency_id, CACHED[target], ttl_s) for target in targets)


def _warm(cache: Cache, engine: Engine, agency_id: uuid.UUID, resource: Resource, ttl_s: float) -> int:
    rule = resource.cache_rule
    assert rule is not None
    path = f"{API}{resource.path}"

    def page() -> tuple[bytes, bytes]:
        with tenant_session(engine, agency_id, "cache-warm") as session:
            found = resource.listing.page(session, resource.listing.parse(MultiDict()))
        headers = {"Content-Type": "application/json"} | link_of(found, path, MultiDict())
        return stored_parts(headers, encode(found.document()))

    warmed = 0
    for role, permissions in ROLES.items():
        if f"{resource.permission}:read" in permissions:
            principal = Principal(agency_id, _NOBODY, role, permissions, None, None)
            place = place_of(rule, principal, path, b"", "")
            warmed += cache.fetch(place, page, lambda parts: parts, ttl_s).outcome == MISS
    return warmed
