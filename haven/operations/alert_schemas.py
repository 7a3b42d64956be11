"""Bodies and answers of alerts."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from extensions.alerting.rules import (
    COMPARISONS,
    COUNT_MOST,
    LONGEST_S,
    SEVERITIES,
    WINDOW_LEAST_S,
    WINDOW_MOST_S,
)
from haven.api.fields import Body, Line, Prose, Row, choice

STATES = ("PENDING", "FIRING", "RESOLVED")
_LABELS_MOST = 10


class AlertRow(Schema):
    """An alert, from pending to resolved. Values are in the unit of the metric."""

    id = fields.UUID(required=True)
    rule = fields.String(required=True)
    metric = fields.String(required=True)
    severity = choice(*SEVERITIES, required=True)
    state = choice(*STATES, required=True)
    labels = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    fingerprint = fields.String(required=True)
    value = fields.Float(required=True)
    threshold = fields.Float(required=True)
    started_at = fields.AwareDateTime(required=True)
    fired_at = fields.AwareDateTime(required=True, allow_none=True)
    resolved_at = fields.AwareDateTime(required=True, allow_none=True)
    acknowledged_by = fields.String(required=True, allow_none=True)
    acknowledged_at = fields.AwareDateTime(required=True, allow_none=True)
    acknowledged_note = fields.String(required=True, allow_none=True)
    told_at = fields.AwareDateTime(
        required=True,
        allow_none=True,
        metadata={"description": "When it was sent that it fires; null: it was not."},
    )
    silenced_until = fields.AwareDateTime(required=True, allow_none=True)


class AcknowledgeBody(Body):
    """Who calls looks after the alert."""

    note = Prose(longest=1000, load_default="")


class SilenceBody(Body):
    """What is not to be sent, and until when: one alert by its fingerprint, or all of a rule."""

    fingerprint = Line(longest=400)
    rule = Line(longest=63)
    reason = Line(longest=500, required=True)
    ends_at = fields.AwareDateTime(required=True)


class SilenceRow(Schema):
    """Alerts that are not sent until a given time."""

    id = fields.UUID(required=True)
    fingerprint = fields.String(required=True, allow_none=True)
    rule = fields.String(required=True, allow_none=True)
    reason = fields.String(required=True)
    created_by = fields.String(required=True)
    created_at = fields.AwareDateTime(required=True)
    ends_at = fields.AwareDateTime(required=True)


def _seconds(low: int, high: int, default: int, description: str) -> fields.Integer:
    return fields.Integer(
        strict=True,
        load_default=default,
        validate=validate.Range(low, high),
        metadata={"description": description},
    )


class AlertRuleChangeBody(Body):
    """What can be changed of a rule."""

    comparison = choice(*COMPARISONS, required=True)
    threshold = fields.Float(required=True, metadata={"description": "An alert begins beyond it."})
    resolve_threshold = fields.Float(
        metadata={
            "description": "An alert is over only when the value is back at this; left out: the threshold."
        }
    )
    for_s = _seconds(0, LONGEST_S, 60, "How long the value must be beyond before the alert fires.")
    resolve_for_s = _seconds(0, LONGEST_S, 120, "How long it must be back before the alert is resolved.")
    window_s = _seconds(WINDOW_LEAST_S, WINDOW_MOST_S, 300, "The value is of the last so many seconds.")
    minimum_count = fields.Integer(
        strict=True,
        load_default=1,
        validate=validate.Range(0, COUNT_MOST),
        metadata={"description": "With fewer requests, look-ups or samples than this there is no value."},
    )
    severity = choice(*SEVERITIES, required=True)
    labels = fields.Dict(
        keys=Line(longest=60),
        values=Line(longest=200),
        load_default=dict,
        validate=validate.Length(max=_LABELS_MOST),
        metadata={"description": 'Only series with these, such as `{"queue": "payments"}`.'},
    )
    description = Line(longest=300, shortest=0, load_default="")
    enabled = fields.Boolean(load_default=True)


class AlertRuleBody(AlertRuleChangeBody):
    """A rule. Its name cannot be changed later: alerts are known by it."""

    name = fields.String(
        required=True,
        validate=validate.Length(1, 63),
        metadata={
            "example": "busy_pool",
            "description": "Lower-case letters, digits, underscores; begins with a letter.",
        },
    )
    metric = fields.String(
        required=True,
        validate=validate.Length(1, 63),
        metadata={
            "example": "error_rate",
            "description": (
                "`response_p95_seconds`, `error_rate`, `slow_queries_per_minute`, `cache_hit_rate`, or a metric of an"
                " extension, such as `jobs_waiting`."
            ),
        },
    )


class AlertRuleRow(Row):
    """A rule; of kind EVENT are those whose alerts Haven itself raises."""

    kind = choice("METRIC", "EVENT", required=True)
    name = fields.String(required=True)
    metric = fields.String(required=True)
    labels = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    comparison = choice(*COMPARISONS, required=True)
    threshold = fields.Float(required=True)
    resolve_threshold = fields.Float(required=True)
    for_s = fields.Integer(required=True)
    resolve_for_s = fields.Integer(required=True)
    window_s = fields.Integer(required=True)
    minimum_count = fields.Integer(required=True)
    severity = choice(*SEVERITIES, required=True)
    description = fields.String(required=True)
    enabled = fields.Boolean(required=True)
