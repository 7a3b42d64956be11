"""An alert and its states: pending → firing → resolved. No clock, no store: both are given."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from extensions.alerting.rules import Rule

State = Literal["PENDING", "FIRING", "RESOLVED"]
Moved = Literal["KEPT", "FIRED", "RESOLVED", "DROPPED"]
GAP: Final = dt.timedelta(seconds=60)
"""What was not looked at for so long has to begin its time anew: nobody knows what was in between."""
_LABELS_LONGEST: Final = 300


@dataclass(slots=True)
class Alert:
    """One series that is, or was, beyond the threshold of one rule. All times are aware.

    Args:
        rule: the name of the rule; what it said when the alert began is copied, for the history.
        value: the newest that was known.
        started_at: since when the value has been beyond the threshold.
        seen_at: when it was last looked at.
        clear_since: since when a firing one has been back; None: it is not.
        told_at: when it was sent that it fires; None: it was not, because it is silenced.
    """

    rule: str
    rule_id: uuid.UUID | None
    metric: str
    severity: str
    comparison: str
    threshold: float
    labels: Mapping[str, str]
    fingerprint: str
    value: float
    started_at: dt.datetime
    seen_at: dt.datetime
    state: State = "PENDING"
    fired_at: dt.datetime | None = None
    clear_since: dt.datetime | None = None
    resolved_at: dt.datetime | None = None
    acknowledged_by: str | None = None
    acknowledged_at: dt.datetime | None = None
    acknowledged_note: str | None = None
    told_at: dt.datetime | None = None
    id: uuid.UUID = field(default_factory=uuid.uuid4)


def fingerprint(rule: str, labels: Mapping[str, str]) -> str:
    """The same for the same rule and labels, in whatever order: ``deep_queue/queue=exports``."""
    if not labels:
        return rule
    told = ",".join(f"{name}={labels[name]}" for name in sorted(labels))
    return f"{rule}/{told[:_LABELS_LONGEST]}"


def begin(rule: Rule, labels: Mapping[str, str], value: float, now: dt.datetime) -> Alert | None:
    """The alert that a value begins; None where it is not beyond the threshold."""
    if not rule.is_beyond(value):
        return None
    return Alert(
        rule=rule.name,
        rule_id=rule.id,
        metric=rule.metric,
        severity=rule.severity,
        comparison=rule.comparison,
        threshold=rule.threshold,
        labels=dict(labels),
        fingerprint=fingerprint(rule.name, labels),
        value=value,
        started_at=now,
        seen_at=now,
    )


def move(rule: Rule, alert: Alert, value: float | None, now: dt.datetime) -> Moved:
    """Let an open alert see the newest value, and what became of it.

    Args:
        value: None: too little was measured. That is no reason to fire, and it ends what fires after its time.
    """
    has_gap = now - alert.seen_at > GAP
    alert.seen_at = now
    if value is not None:
        alert.value = value
    if alert.state == "PENDING":
        return _move_pending(rule, alert, value, now, has_gap=has_gap)
    return _move_firing(rule, alert, value, now, has_gap=has_gap)


def resolve(alert: Alert, now: dt.datetime) -> Moved:
    """End an open alert at once: its rule is gone or switched off. What never fired is as if it had not been."""
    if alert.state == "PENDING":
        return "DROPPED"
    alert.state, alert.resolved_at, alert.seen_at = "RESOLVED", now, now
    return "RESOLVED"


def _move_pending(rule: Rule, alert: Alert, value: float | None, now: dt.datetime, *, has_gap: bool) -> Moved:
    if value is None or not rule.is_beyond(value):
        return "DROPPED"
    if has_gap:
        alert.started_at = now
    if now - alert.started_at < dt.timedelta(seconds=rule.for_s):
        return "KEPT"
    alert.state, alert.fired_at = "FIRING", now
    return "FIRED"


def _move_firing(rule: Rule, alert: Alert, value: float | None, now: dt.datetime, *, has_gap: bool) -> Moved:
    if value is not None and not rule.is_back(value):
        alert.clear_since = None
        return "KEPT"
    if alert.clear_since is None or has_gap:
        alert.clear_since = now
    if now - alert.clear_since < dt.timedelta(seconds=rule.resolve_for_s):
        return "KEPT"
    return resolve(alert, now)
