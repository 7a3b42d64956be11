"""Answers of ``/monitoring`` about requests, statements, history and health."""

from __future__ import annotations

from marshmallow import Schema, fields

from haven.api.fields import choice


def _ms() -> fields.Float:
    return fields.Float(required=True, allow_none=True)


class Numbers(Schema):
    """A series: durations are in ms; a percentile is off by at most 1 %, and null of nothing."""

    count = fields.Integer(required=True)
    errors = fields.Integer(required=True)
    mean = _ms()
    p50 = _ms()
    p90 = _ms()
    p95 = _ms()
    p99 = _ms()
    p999 = _ms()
    max = _ms()


class Rates(Numbers):
    """A series with its rates; `error_rate` is from 0 to 1, and null of nothing."""

    per_second = fields.Float(required=True)
    error_rate = fields.Float(required=True, allow_none=True)


class EndpointNumbers(Rates):
    """One route with one method. `(no route)` are all paths that nothing is at."""

    method = fields.String(required=True)
    route = fields.String(required=True)
    statements_mean = fields.Float(required=True)
    sql_ms_mean = fields.Float(required=True)
    bytes_mean = fields.Float(required=True)


class CacheNamespace(Schema):
    """Look-ups of one namespace of the cache."""

    namespace = fields.String(required=True)
    hits = fields.Integer(required=True)
    misses = fields.Integer(required=True)
    hit_rate = fields.Float(required=True, allow_none=True)


class OutsideNumbers(Numbers):
    """Calls to one outside service, as its circuit breaker sees them."""

    name = fields.String(required=True)


class Performance(Rates):
    """The requests of a window, of all processes; event streams are counted apart."""

    window_s = fields.Float(required=True)
    statuses = fields.Dict(keys=fields.String(), values=fields.Integer(), required=True)
    in_flight = fields.Integer(required=True)
    processes = fields.Integer(required=True)
    queue_wait = fields.Nested(Numbers, required=True)
    cache = fields.List(fields.Nested(CacheNamespace), required=True)
    outside = fields.List(fields.Nested(OutsideNumbers), required=True)
    streams = fields.Integer(required=True)
    endpoints = fields.List(fields.Nested(EndpointNumbers), required=True)
    missing = fields.List(fields.String(), required=True, metadata={"description": "What could not be read."})


class WorkTotal(Schema):
    """Pieces of work of one kind."""

    count = fields.Integer(required=True)
    ms = fields.Float(required=True)


class CacheWork(Schema):
    """What the cache did for a request."""

    hits = fields.Integer(required=True)
    misses = fields.Integer(required=True)
    trips = fields.Integer(required=True)
    ms = fields.Float(required=True)


class Work(Schema):
    """A piece of work, for a waterfall; `from_ms` is since the request began."""

    kind = choice("sql", "cache", "outside", "json", required=True)
    name = fields.String(required=True)
    from_ms = fields.Float(required=True)
    ms = fields.Float(required=True)
    has_failed = fields.Boolean(required=True)
    fingerprint = fields.String(metadata={"description": "Of a statement."})


class SlowRequest(Schema):
    """A request over SLOW_REQUEST_THRESHOLD; `other_ms` is what nothing accounts for."""

    at = fields.AwareDateTime(required=True)
    request_id = fields.String(required=True)
    method = fields.String(required=True)
    route = fields.String(required=True)
    status = fields.Integer(required=True)
    ms = fields.Float(required=True)
    bytes = fields.Integer(required=True)
    wait_ms = _ms()
    sql = fields.Nested(WorkTotal, required=True)
    cache = fields.Nested(CacheWork, required=True)
    outside = fields.Nested(WorkTotal, required=True)
    json_ms = fields.Float(required=True)
    other_ms = fields.Float(required=True)
    spans = fields.List(fields.Nested(Work), required=True)


class SlowRequests(Schema):
    """The newest slow requests of all processes."""

    threshold_ms = fields.Float(required=True)
    requests = fields.List(fields.Nested(SlowRequest), required=True)


class StatementNumbers(Schema):
    """One statement, whatever its values; `slow` is how often it was over the threshold."""

    fingerprint = fields.String(required=True)
    text = fields.String(required=True)
    count = fields.Integer(required=True)
    slow = fields.Integer(required=True)
    total_ms = _ms()
    mean_ms = _ms()
    p95_ms = _ms()
    max_ms = _ms()
    route = fields.String(required=True)
    last_request_id = fields.String(required=True)


class ServerStatements(Schema):
    """`pg_stat_statements`: every client's statements since it was reset."""

    is_available = fields.Boolean(required=True)
    reason = fields.String(required=True, allow_none=True)
    statements = fields.List(fields.Dict(), required=True)


class SlowQueries(Schema):
    """Statements by fingerprint."""

    window_s = fields.Float(required=True)
    threshold_ms = fields.Float(required=True)
    statements = fields.List(fields.Nested(StatementNumbers), required=True)
    plan = fields.Dict(
        required=True,
        allow_none=True,
        metadata={
            "description": "With `fingerprint`: how PostgreSQL would run it, whatever the values; it was not run."
        },
    )
    pg_stat_statements = fields.Nested(ServerStatements, required=True)


class HistoryPoint(Rates):
    """One series in one step of time."""

    at = fields.AwareDateTime(required=True)
    labels = fields.String(required=True)
    sum = _ms()
    classes = fields.List(fields.Integer(), metadata={"description": "With `classes=true`."})


class MetricHistory(Schema):
    """A metric over time; steps without a value have no point."""

    metric = fields.String(required=True)
    step_s = fields.Integer(required=True)
    start = fields.AwareDateTime(required=True, data_key="from")
    end = fields.AwareDateTime(required=True, data_key="to")
    class_edges = fields.List(fields.Float(), required=True)
    points = fields.List(fields.Nested(HistoryPoint), required=True)
    missing = fields.List(fields.String(), required=True)


class DatabaseNumbers(Schema):
    """The database, seen from here and from itself."""

    pool = fields.Dict(required=True)
    window_s = fields.Float(required=True)
    statements = fields.Nested(Rates, required=True)
    server = fields.Dict(required=True)
    tables = fields.List(fields.Dict(), required=True)
    unused_indexes = fields.List(fields.Dict(), required=True)


class HealthReport(Schema):
    """Every part, with its numbers."""

    status = choice("ok", "degraded", "down", required=True)
    version = fields.String(required=True)
    parts = fields.Dict(keys=fields.String(), values=fields.Dict(), required=True)
