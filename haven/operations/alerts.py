"""Alerts that the code itself raises: a row that lasts until it is resolved, and a webhook, in the caller's transaction."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from haven.db.session import tenant_of
from haven.operations.models import Alert, AlertRule, AlertSilence
from haven.operations.webhooks import emit


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A rule that every agency has. ``metric`` counts what it alerts of; it fires as soon as that is above nought."""

    name: str
    metric: str
    severity: Literal["WARNING", "CRITICAL"]


PAYMENTS_NEED_REVIEW: Final = BuiltIn("payments_need_review", "payments_needing_review", "CRITICAL")
"""Nobody but a person can say what became of some money."""
PAID_AFTER_FAILURE: Final = BuiltIn("paid_after_failure", "payments_paid_after_failure", "WARNING")
"""A payment that had failed turned out to be paid."""

WEBHOOK_DISABLED: Final = BuiltIn("webhook_disabled", "webhooks_disabled", "WARNING")
"""A webhook took nothing for days, and is sent nothing more."""

BUILT_IN: Final = (PAYMENTS_NEED_REVIEW, PAID_AFTER_FAILURE, WEBHOOK_DISABLED)


def raise_alert(session: Session, rule: BuiltIn, subject: str, **details: Any) -> bool:
    """Let an alert fire, and tell the webhooks (``alert.firing``) unless it is silenced; False where it fires already.

    Args:
        subject: what the alert is about, such as ``payment:<id>``; one alert of a rule for each.
        details: JSON values that the webhook is told besides.
    """
    agency_id = tenant_of(session).agency_id
    made = session.execute(
        insert(Alert)
        .values(
            agency_id=agency_id,
            rule_id=_rule_id(session, rule),
            rule=rule.name,
            metric=rule.metric,
            severity=rule.severity,
            labels={"subject": subject},
            fingerprint=_fingerprint(rule, subject),
            state="FIRING",
            value=1,
            fired_at=func.now(),
        )
        .on_conflict_do_nothing(
            index_elements=["agency_id", "fingerprint"], index_where=text("state <> 'RESOLVED'")
        )
        .returning(Alert.id)
    ).scalar_one_or_none()
    if made is None:
        return False
    if _is_silenced(session, rule, subject):
        return True
    about = {"alert_id": str(made), "rule": rule.name, "severity": rule.severity, "subject": subject}
    emit(session, "alert.firing", about | {"state": "FIRING"} | details)
    return True


def resolve_alert(session: Session, rule: BuiltIn, subject: str) -> None:
    """The alert, where one fires, is over."""
    resolve_alerts(session, rule, [subject])


def resolve_alerts(session: Session, rule: BuiltIn, subjects: Sequence[str]) -> None:
    """Of the alerts of these subjects those that fire are over: one statement, none where there is no subject."""
    if not subjects:
        return
    session.execute(
        update(Alert)
        .where(
            Alert.agency_id == tenant_of(session).agency_id,
            Alert.fingerprint.in_([_fingerprint(rule, subject) for subject in subjects]),
            Alert.state != "RESOLVED",
        )
        .values(state="RESOLVED", resolved_at=dt.datetime.now(dt.UTC))
    )


def _is_silenced(session: Session, rule: BuiltIn, subject: str) -> bool:
    wanted = select(AlertSilence.id).where(
        AlertSilence.agency_id == tenant_of(session).agency_id,
        or_(AlertSilence.fingerprint == _fingerprint(rule, subject), AlertSilence.rule == rule.name),
        AlertSilence.ends_at > func.now(),
    )
    return session.execute(wanted.limit(1)).first() is not None


def _fingerprint(rule: BuiltIn, subject: str) -> str:
    return f"{rule.name}/{subject}"


def _rule_id(session: Session, rule: BuiltIn) -> Any:
    """The agency's row of the rule, made when it is first needed."""
    agency_id = tenant_of(session).agency_id
    wanted = select(AlertRule.id).where(AlertRule.agency_id == agency_id, AlertRule.name == rule.name)
    found = session.execute(wanted).scalar_one_or_none()
    if found is not None:
        return found
    session.execute(
        insert(AlertRule)
        .values(
            agency_id=agency_id,
            kind="EVENT",
            name=rule.name,
            metric=rule.metric,
            comparison="ABOVE",
            threshold=0,
            resolve_threshold=0,
            for_s=0,
            severity=rule.severity,
        )
        .on_conflict_do_nothing(index_elements=["agency_id", "name"])
    )
    return session.execute(wanted).scalar_one()
