"""The answer of ``/monitoring/memory``."""

from __future__ import annotations

from marshmallow import Schema, fields

from haven.api.fields import choice

_LEVELS = ("NORMAL", "WARNING", "CRITICAL", "EMERGENCY")


class MemoryPressure(Schema):
    """The per cent of the last ten seconds in which some, and all, processes waited for memory (PSI)."""

    some_avg10 = fields.Float(required=True)
    full_avg10 = fields.Float(required=True)


class MemoryThresholds(Schema):
    """Shares of the limit, from 0 to 1, at which the levels begin."""

    warning = fields.Float(required=True)
    critical = fields.Float(required=True)
    emergency = fields.Float(required=True)


class GenerationNumbers(Schema):
    """Collections of one generation since the process began."""

    generation = fields.Integer(required=True)
    collections = fields.Integer(required=True)
    collected = fields.Integer(required=True)
    pause_ms_total = fields.Float(required=True)
    pause_ms_max = fields.Float(required=True)


class Culprit(Schema):
    """What has grown while a leak was looked for: a line of code by `bytes`, or a type by `count`."""

    what = fields.String(required=True)
    bytes = fields.Integer()
    count = fields.Integer()


class MemoryTrend(Schema):
    """What is left after collections, over a quarter of an hour to three hours."""

    bytes_per_minute = fields.Integer(required=True)
    confidence = fields.Float(
        required=True, metadata={"description": "That it rises, from 0 to 1 (Mann-Kendall)."}
    )
    is_leak = fields.Boolean(required=True)
    culprits = fields.List(fields.Nested(Culprit), required=True)


class ProcessMemory(Schema):
    """One process, as it was `at`."""

    host = fields.String(required=True)
    pid = fields.Integer(required=True)
    role = choice("web", "worker", "clock", required=True)
    at = fields.AwareDateTime(required=True)
    rss_bytes = fields.Integer(required=True)
    uss_bytes = fields.Integer(required=True)
    cpu_percent = fields.Float(required=True, metadata={"description": "Of one processor."})
    threads = fields.Integer(required=True)
    open_files = fields.Integer(required=True, metadata={"description": "Sockets too."})
    level = choice(*_LEVELS, required=True)
    shedding = fields.Boolean(required=True, metadata={"description": "Whether it refuses requests."})
    gc = fields.List(fields.Nested(GenerationNumbers), required=True)
    trend = fields.Nested(MemoryTrend, required=True)


class SystemNumbers(Schema):
    """The machine of the process that answers."""

    cpu_percent = fields.Float(required=True)
    load_1m = fields.Float(required=True)
    load_5m = fields.Float(required=True)
    load_15m = fields.Float(required=True)
    cpus = fields.Integer(required=True)


class Recommendation(Schema):
    """What to change; `now` and `suggested` are numbers in the setting's unit, or words."""

    text = fields.String(required=True)
    setting = fields.String(required=True)
    now = fields.Raw(required=True)
    suggested = fields.Raw(required=True)


class MemoryReport(Schema):
    """Memory against its limit, of the program that answers; the processes of all hosts."""

    limit_bytes = fields.Integer(required=True)
    limit_source = choice("cgroup", "machine", "setting", required=True)
    used_bytes = fields.Integer(required=True)
    share = fields.Float(required=True)
    level = choice(*_LEVELS, required=True)
    pressure = fields.Nested(MemoryPressure, required=True, allow_none=True)
    thresholds = fields.Nested(MemoryThresholds, required=True)
    processes = fields.List(fields.Nested(ProcessMemory), required=True)
    system = fields.Nested(SystemNumbers, required=True)
    recommendations = fields.List(fields.Nested(Recommendation), required=True)
    missing = fields.List(fields.String(), required=True, metadata={"description": "What could not be read."})
