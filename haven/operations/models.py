"""Jobs, webhooks, exported files, report schedules, metric roll-ups and alerts."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Float,
    Identity,
    Index,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA
from sqlalchemy.orm import Mapped, mapped_column

from haven.db.base import (
    Base,
    Instant,
    Owned,
    Timestamps,
    Versioned,
    one_of,
    owned_key,
    search_index,
    searchable,
)


class Job(Owned, Timestamps, Base):
    """The truth of a background job. The entry in Redis is only the wake-up: lost, it is sent again."""

    __tablename__ = "job"

    queue: Mapped[str]
    kind: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="QUEUED")
    arguments: Mapped[dict[str, Any]]
    unique_key: Mapped[str | None]
    requested_by: Mapped[str]
    request_id: Mapped[str] = mapped_column(server_default="")
    trace_id: Mapped[str] = mapped_column(server_default="")
    claim: Mapped[int] = mapped_column(
        server_default="0", doc="Rises with each claim: who holds an old one is late"
    )
    worker: Mapped[str] = mapped_column(server_default="")
    attempts: Mapped[int] = mapped_column(server_default="0")
    max_attempts: Mapped[int]
    progress_done: Mapped[int] = mapped_column(server_default="0")
    progress_total: Mapped[int | None]
    progress_message: Mapped[str] = mapped_column(server_default="")
    run_after: Mapped[Instant] = mapped_column(server_default=func.now())
    enqueued_at: Mapped[Instant | None]
    lease_until: Mapped[Instant | None]
    started_at: Mapped[Instant | None]
    finished_at: Mapped[Instant | None]
    cancel_requested: Mapped[bool] = mapped_column(server_default="false")
    result: Mapped[dict[str, Any] | None]
    error: Mapped[str | None]

    __rules__ = (
        one_of("queue", "exports", "reports", "notifications", "maintenance", "payments"),
        one_of("status", "QUEUED", "SCHEDULED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"),
        CheckConstraint("attempts <= max_attempts", name="attempts"),
        Index(
            "job_unique_key",
            "agency_id",
            "kind",
            "unique_key",
            unique=True,
            postgresql_where=text("status IN ('QUEUED', 'SCHEDULED', 'RUNNING')"),
        ),
        Index(
            "job_unfinished_idx",
            "agency_id",
            "queue",
            "run_after",
            postgresql_where=text("status IN ('QUEUED', 'SCHEDULED', 'RUNNING')"),
        ),
        Index("job_files_idx", "agency_id", "id", postgresql_where=text("kind IN ('export', 'report')")),
        Index(None, "agency_id", "finished_at"),
        Index(None, "agency_id", "status", "id"),
        Index(None, "agency_id", "kind", "id"),
        Index(None, "agency_id", "queue", "id"),
    )


class PausedQueue(Base):
    """A queue that no worker takes from, of all agencies, until somebody resumes it."""

    __tablename__ = "job_queue"

    queue: Mapped[str] = mapped_column(primary_key=True)
    paused_at: Mapped[Instant] = mapped_column(server_default=func.now())
    paused_by: Mapped[str]


class MaintenanceTask(Base):
    """What the clock did last for one of its tasks, and when it is due again. Belongs to the platform."""

    __tablename__ = "maintenance_task"

    name: Mapped[str] = mapped_column(primary_key=True)
    every_s: Mapped[int]
    started_at: Mapped[Instant | None]
    finished_at: Mapped[Instant | None]
    next_at: Mapped[Instant] = mapped_column(server_default=func.now())
    moved: Mapped[int] = mapped_column(server_default="0")
    error: Mapped[str | None]
    failures: Mapped[int] = mapped_column(server_default="0", doc="In a row")


class WebhookEndpoint(Versioned, Base):
    """Where an agency wants to be told of events."""

    __tablename__ = "webhook_endpoint"

    url: Mapped[str]
    events: Mapped[list[str]] = mapped_column(ARRAY(Text))
    secret: Mapped[bytes] = mapped_column(BYTEA, doc="Encrypted")
    status: Mapped[str] = mapped_column(server_default="ACTIVE")
    old_secret: Mapped[bytes | None] = mapped_column(BYTEA, doc="Encrypted; signs besides, until its time")
    old_secret_until: Mapped[Instant | None]
    failing_since: Mapped[Instant | None] = mapped_column(doc="The first failure since it last took an event")
    disabled_at: Mapped[Instant | None] = mapped_column(doc="When Haven itself gave it up")
    search: Mapped[str] = searchable("url")

    __rules__ = (
        search_index("webhook_endpoint"),
        one_of("status", "ACTIVE", "DISABLED"),
    )


class WebhookDelivery(Owned, Base):
    """One event for one endpoint, and what became of it."""

    __tablename__ = "webhook_delivery"

    endpoint_id: Mapped[uuid.UUID]
    event: Mapped[str]
    payload: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(server_default="PENDING")
    tries: Mapped[int] = mapped_column(server_default="0")
    next_try_at: Mapped[Instant] = mapped_column(server_default=func.now())
    last_status: Mapped[int | None]
    last_error: Mapped[str | None]
    created_at: Mapped[Instant] = mapped_column(server_default=func.now())
    delivered_at: Mapped[Instant | None]

    __rules__ = (
        one_of("status", "PENDING", "DELIVERED", "FAILED"),
        owned_key("endpoint_id", "webhook_endpoint", ondelete="CASCADE"),
        Index(None, "agency_id", "endpoint_id", "id"),
        Index(
            "webhook_delivery_waiting_idx",
            "agency_id",
            "next_try_at",
            postgresql_where=text("status = 'PENDING'"),
        ),
    )


class ExportFile(Owned, Base):
    """A file that an export or report made, until its time is over."""

    __tablename__ = "export_file"

    job_id: Mapped[uuid.UUID]
    filename: Mapped[str]
    content_type: Mapped[str]
    size_bytes: Mapped[int]
    sha256: Mapped[bytes] = mapped_column(BYTEA)
    created_at: Mapped[Instant] = mapped_column(server_default=func.now())
    expires_at: Mapped[Instant]

    __rules__ = (
        owned_key("job_id", "job"),
        UniqueConstraint("agency_id", "filename"),
        Index(None, "agency_id", "job_id"),
        Index(None, "agency_id", "expires_at"),
    )


class ReportSchedule(Versioned, Base):
    """A report that is made again and again."""

    __tablename__ = "report_schedule"

    kind: Mapped[str]
    format: Mapped[str]
    filters: Mapped[dict[str, Any]]
    cron: Mapped[str]
    period: Mapped[str] = mapped_column(server_default="LAST_MONTH")
    recipients: Mapped[list[str]] = mapped_column(ARRAY(Text))
    next_run_at: Mapped[Instant]
    last_run_at: Mapped[Instant | None]
    last_report_id: Mapped[uuid.UUID | None]
    status: Mapped[str] = mapped_column(server_default="ACTIVE")

    __rules__ = (
        one_of("status", "ACTIVE", "PAUSED"),
        one_of("period", "YESTERDAY", "LAST_WEEK", "LAST_MONTH", "THIS_MONTH"),
        Index(None, "agency_id", "next_run_at"),
    )


class MetricRollup(Base):
    """A metric over one slot of time, over all processes. Belongs to the platform, not to an agency."""

    __tablename__ = "metric_rollup"

    metric: Mapped[str]
    labels: Mapped[str] = mapped_column(Text, server_default="")
    slot: Mapped[Instant]
    step_s: Mapped[int]
    count: Mapped[int]
    sum: Mapped[float] = mapped_column(Float)
    errors: Mapped[int] = mapped_column(server_default="0")
    sketch: Mapped[bytes | None] = mapped_column(BYTEA)

    __table_args__ = (
        PrimaryKeyConstraint("metric", "step_s", "slot", "labels"),
        Index("metric_rollup_series_idx", "metric", "labels", "step_s", "slot"),
        Index("metric_rollup_step_idx", "step_s", "slot"),
    )


class CacheDebt(Base):
    """An agency whose stored answers have to go, because a write could not tell Redis (``extensions/caching/debts.py``)."""

    __tablename__ = "cache_debt"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    owner: Mapped[str]
    tags: Mapped[str]
    token: Mapped[str]


class AlertRule(Versioned, Base):
    """When to alert: a metric, a comparison, a threshold, for how long. The platform's rules are under its agency."""

    __tablename__ = "alert_rule"

    kind: Mapped[str] = mapped_column(
        server_default="EVENT", doc="METRIC: the clock evaluates it; EVENT: code raises its alerts"
    )
    name: Mapped[str]
    metric: Mapped[str]
    labels: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    comparison: Mapped[str]
    threshold: Mapped[float] = mapped_column(Float)
    resolve_threshold: Mapped[float] = mapped_column(Float)
    for_s: Mapped[int]
    resolve_for_s: Mapped[int] = mapped_column(server_default="0")
    window_s: Mapped[int] = mapped_column(server_default="300")
    minimum_count: Mapped[int] = mapped_column(server_default="1")
    severity: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    enabled: Mapped[bool] = mapped_column(server_default="true")

    __rules__ = (
        one_of("kind", "METRIC", "EVENT"),
        one_of("comparison", "ABOVE", "BELOW"),
        one_of("severity", "WARNING", "CRITICAL"),
        UniqueConstraint("agency_id", "name"),
    )


class Alert(Owned, Base):
    """An alert, from pending to resolved, with what its rule said when it began."""

    __tablename__ = "alert"

    rule_id: Mapped[uuid.UUID | None] = mapped_column(doc="Null where the rule was removed")
    rule: Mapped[str] = mapped_column(server_default="", doc="The rule's name")
    metric: Mapped[str] = mapped_column(server_default="")
    severity: Mapped[str] = mapped_column(server_default="")
    comparison: Mapped[str] = mapped_column(server_default="ABOVE")
    threshold: Mapped[float] = mapped_column(Float, server_default="0")
    labels: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    fingerprint: Mapped[str]
    state: Mapped[str]
    value: Mapped[float] = mapped_column(Float)
    started_at: Mapped[Instant] = mapped_column(server_default=func.now())
    seen_at: Mapped[Instant | None] = mapped_column(doc="When it was last evaluated")
    fired_at: Mapped[Instant | None]
    clear_since: Mapped[Instant | None] = mapped_column(doc="Since when a firing one has been back")
    resolved_at: Mapped[Instant | None]
    told_at: Mapped[Instant | None] = mapped_column(doc="When it was sent that it fires")
    acknowledged_by: Mapped[str | None]
    acknowledged_at: Mapped[Instant | None]
    acknowledged_note: Mapped[str | None]

    __rules__ = (
        one_of("state", "PENDING", "FIRING", "RESOLVED"),
        owned_key("rule_id", "alert_rule"),
        Index(None, "agency_id", "rule_id"),
        Index(
            "alert_open_key",
            "agency_id",
            "fingerprint",
            unique=True,
            postgresql_where=text("state <> 'RESOLVED'"),
        ),
        Index(None, "agency_id", "started_at"),
        Index(None, "agency_id", "state", "id"),
        Index("alert_agency_id_rule_id_2_idx", "agency_id", "rule", "id"),
        Index(None, "agency_id", "resolved_at"),
    )


class AlertSilence(Owned, Base):
    """Alerts that shall not be sent until a given time."""

    __tablename__ = "alert_silence"

    fingerprint: Mapped[str | None] = mapped_column(doc="Of one alert, or else …")
    rule: Mapped[str | None] = mapped_column(doc="… the name of a rule, all of whose alerts it is")
    reason: Mapped[str]
    created_by: Mapped[str]
    created_at: Mapped[Instant] = mapped_column(server_default=func.now())
    ends_at: Mapped[Instant]

    __rules__ = (
        CheckConstraint("num_nonnulls(fingerprint, rule) = 1", name="subject"),
        Index(None, "agency_id", "fingerprint", "ends_at"),
        Index(None, "agency_id", "rule", "ends_at"),
    )
