"""Bodies and answers of jobs and webhooks."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from extensions.rate_limiting import RULE_PATTERN
from haven.api.fields import Body, Row, choice
from haven.operations.rate_limits import NAMES

EVENTS = (
    "payment.completed",
    "payment.failed",
    "invoice.issued",
    "lease.activated",
    "job.finished",
    "alert.firing",
)
JOB_STATUS = ("QUEUED", "SCHEDULED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED")


class Progress(Schema):
    """How far a job is."""

    done = fields.Integer(required=True)
    total = fields.Integer(required=True, allow_none=True)
    percent = fields.Float(required=True, allow_none=True)
    message = fields.String(required=True)


class JobRow(Schema):
    """A background job."""

    id = fields.UUID(required=True)
    queue = fields.String(required=True)
    kind = fields.String(required=True)
    status = choice(*JOB_STATUS, required=True)
    progress = fields.Nested(Progress, required=True)
    attempts = fields.Integer(required=True)
    max_attempts = fields.Integer(required=True)
    created_at = fields.AwareDateTime(required=True)
    started_at = fields.AwareDateTime(required=True, allow_none=True)
    finished_at = fields.AwareDateTime(required=True, allow_none=True)
    result = fields.Dict(required=True, allow_none=True)
    error = fields.String(required=True, allow_none=True)


class QueueNumbers(Schema):
    """One queue: what is unfinished, and what ended in the last day. Means are of the jobs of both."""

    queue = fields.String(required=True)
    is_paused = fields.Boolean(required=True)
    waiting = fields.Integer(required=True)
    scheduled = fields.Integer(required=True, metadata={"description": "Not due yet, or to be tried again."})
    running = fields.Integer(required=True)
    succeeded = fields.Integer(required=True)
    failed = fields.Integer(required=True)
    cancelled = fields.Integer(required=True)
    oldest_wait_s = fields.Float(required=True)
    mean_wait_s = fields.Float(required=True)
    mean_run_s = fields.Float(required=True)


class JobStatistics(Schema):
    """The agency's jobs by queue, and the workers of all agencies."""

    queues = fields.List(fields.Nested(QueueNumbers), required=True)
    workers = fields.Integer(
        required=True, allow_none=True, metadata={"description": "null: Redis is away, so it cannot be seen."}
    )


class QueueState(Schema):
    """Whether workers take from a queue."""

    queue = fields.String(required=True)
    is_paused = fields.Boolean(required=True)


class JobsChanged(Schema):
    """How many jobs of a queue were changed."""

    queue = fields.String(required=True)
    jobs = fields.Integer(required=True)


class WebhookBody(Body):
    """Where an agency wants to be told of events."""

    url = fields.Url(
        required=True, schemes={"http", "https"}, require_tld=False, validate=validate.Length(max=500)
    )
    events = fields.List(choice(*EVENTS), required=True, validate=validate.Length(1, len(EVENTS)))
    status = choice("ACTIVE", "DISABLED")


class WebhookRow(Row):
    """Where an agency wants to be told of events."""

    url = fields.String(required=True)
    events = fields.List(fields.String(), required=True)
    status = choice("ACTIVE", "DISABLED", required=True)
    failing_since = fields.AwareDateTime(required=True, allow_none=True)
    disabled_at = fields.AwareDateTime(required=True, allow_none=True)
    old_secret_until = fields.AwareDateTime(required=True, allow_none=True)


class RotateBody(Body):
    """How long the old secret signs besides the new one."""

    overlap_s = fields.Integer(
        strict=True,
        load_default=86_400,
        validate=validate.Range(0, 604_800),
        metadata={"description": "Seconds, at most a week; 0: the old one ends at once."},
    )


class NewWebhook(WebhookRow):
    """A webhook just made: the only time its signing secret is shown."""

    secret = fields.String(required=True)


class DeliveryRow(Schema):
    """One event sent to one webhook, and what became of it."""

    id = fields.UUID(required=True)
    endpoint_id = fields.UUID(required=True)
    event = fields.String(required=True)
    payload = fields.Dict(required=True)
    status = choice("PENDING", "DELIVERED", "FAILED", required=True)
    tries = fields.Integer(required=True)
    next_try_at = fields.AwareDateTime(required=True)
    last_status = fields.Integer(required=True, allow_none=True)
    last_error = fields.String(required=True, allow_none=True)
    created_at = fields.AwareDateTime(required=True)
    delivered_at = fields.AwareDateTime(required=True, allow_none=True)


class RateLimit(Schema):
    """One limit: what is in force, and what the settings say."""

    name = fields.String(required=True)
    limit = fields.String(required=True)
    setting = fields.String(required=True)


class Refused(Schema):
    """Whom a limit has refused, and how often in the last hour."""

    caller = fields.String(required=True)
    limit = fields.String(required=True)
    refused = fields.Integer(required=True)


class RateLimits(Schema):
    """The rate limits, and who was refused in the last hour."""

    limits = fields.List(fields.Nested(RateLimit), required=True)
    counts_in = choice("redis", "memory", required=True)
    of_all_processes = fields.Boolean(required=True)
    refused = fields.Integer(required=True)
    refused_by_limit = fields.Dict(keys=fields.String(), values=fields.Integer(), required=True)
    most_refused = fields.List(fields.Nested(Refused), required=True)


def _rule() -> fields.String:
    return fields.String(allow_none=True, validate=validate.Regexp(RULE_PATTERN))


class RateLimitsBody(Body.from_dict({name: _rule() for name in NAMES})):  # type: ignore[misc]  # made at run time
    """New limits by name, such as ``30 per minute``; null puts one back to its setting."""
