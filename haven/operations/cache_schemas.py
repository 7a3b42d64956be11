"""Bodies and answers of ``/cache``."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from haven.api.fields import Body, Line, choice
from haven.operations.cache import TARGETS
from haven.operations.cached_tables import TAGS


class InvalidateBody(Body):
    """What to clear; neither: everything."""

    pattern = Line(
        200,
        metadata={
            "description": "`namespace:key`, such as `units:*`; `*` is everything.",
            "example": "units:*",
        },
    )
    tags = fields.List(
        choice(*TAGS),
        validate=validate.Length(1, len(TAGS)),
        metadata={"description": "What was computed from these tables."},
    )


class Invalidated(Schema):
    """Whether it is done, or waits for Redis; nothing of it is served in the meantime."""

    status = choice("DONE", "PENDING", required=True)


class WarmBody(Body):
    """What to compute; nothing given: all of it."""

    targets = fields.List(choice(*TARGETS), validate=validate.Length(1, len(TARGETS)))


class CacheNumbers(Schema):
    """Counts since they were last cleared with Redis; up to a second late."""

    hits = fields.Integer(required=True)
    misses = fields.Integer(required=True)
    stale = fields.Integer(required=True)
    bypassed = fields.Integer(required=True)
    computations = fields.Integer(required=True)
    bytes = fields.Integer(required=True, metadata={"description": "Stored, compressed."})
    hit_rate = fields.Float(required=True, allow_none=True)


class NamespaceNumbers(CacheNumbers):
    """The counts of one namespace."""

    namespace = fields.String(required=True)


class ServerNumbers(Schema):
    """The Redis server; for operators."""

    memory_bytes = fields.Integer(required=True)
    memory_limit_bytes = fields.Integer(required=True)
    keys = fields.Integer(required=True)
    evicted_keys = fields.Integer(required=True)


class CacheStatistics(Schema):
    """How the cache does."""

    is_available = fields.Boolean(required=True)
    namespaces = fields.List(fields.Nested(NamespaceNumbers), required=True)
    total = fields.Nested(CacheNumbers, required=True)
    server = fields.Nested(ServerNumbers, required=True, allow_none=True)
