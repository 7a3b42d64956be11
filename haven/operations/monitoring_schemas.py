"""Answers of ``/monitoring``."""

from __future__ import annotations

from marshmallow import Schema, fields

from haven.api.fields import choice


class BreakerWindow(Schema):
    """The calls that decide whether it opens, of all processes where it is shared."""

    calls = fields.Integer(required=True)
    failed = fields.Integer(required=True)
    slow = fields.Integer(required=True)


class BreakerCounts(Schema):
    """What became of the calls of the process that answers, since it started."""

    ok = fields.Integer(required=True)
    slow = fields.Integer(required=True)
    failed = fields.Integer(required=True)
    failed_slowly = fields.Integer(required=True)
    abandoned = fields.Integer(required=True)
    refused = fields.Integer(required=True, metadata={"description": "Not made, as the circuit was open."})


class BreakerRow(Schema):
    """One circuit: what Haven calls, and how that does."""

    name = fields.String(required=True)
    state = choice("closed", "open", "half_open", required=True)
    is_shared = fields.Boolean(
        required=True,
        metadata={"description": "Over all processes; false: Redis is away, this process's own."},
    )
    window = fields.Nested(BreakerWindow, required=True)
    counts = fields.Nested(BreakerCounts, required=True)


class BreakerRules(Schema):
    """When a circuit opens and closes; see the settings `BREAKER_…`."""

    window_s = fields.Float(required=True)
    window_calls = fields.Integer(required=True)
    minimum_calls = fields.Integer(required=True)
    failure_rate = fields.Float(required=True)
    slow_call_s = fields.Float(required=True)
    slow_call_rate = fields.Float(required=True)
    open_s = fields.Float(required=True)
    probes = fields.Integer(required=True)
    probe_lease_s = fields.Float(required=True)


class RedisCircuit(Schema):
    """The cache's own circuit around Redis, in the process that answers."""

    state = choice("closed", "open", required=True)
    failures_in_a_row = fields.Integer(required=True)


class Breakers(Schema):
    """Every circuit that was used in the last day: the latest 200, and all of the process that answers."""

    breakers = fields.List(fields.Nested(BreakerRow), required=True)
    rules = fields.Nested(BreakerRules, required=True)
    redis = fields.Nested(RedisCircuit, required=True)


class MaintenanceRow(Schema):
    """One task of the clock: its last run, and when it is due again."""

    name = fields.String(required=True)
    every_s = fields.Integer(required=True)
    status = choice("OK", "RUNNING", "FAILED", "WAITING", "LATE", required=True)
    started_at = fields.AwareDateTime(required=True, allow_none=True)
    finished_at = fields.AwareDateTime(required=True, allow_none=True)
    took_s = fields.Float(required=True, allow_none=True)
    rows = fields.Integer(required=True, metadata={"description": "How many rows it moved."})
    error = fields.String(required=True, allow_none=True)
    failures = fields.Integer(required=True, metadata={"description": "Runs that failed, in a row."})
    next_at = fields.AwareDateTime(required=True)


class Maintenance(Schema):
    """What the clock does, and did."""

    tasks = fields.List(fields.Nested(MaintenanceRow), required=True)
