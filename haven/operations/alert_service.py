"""What people do with alerts: look at them, take them on, silence them, and change the rules. No Flask."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, case, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from extensions.alerting import Rule, faults
from haven.db.base import new_id
from haven.db.rows import change, locked
from haven.db.session import tenant_of
from haven.errors import Conflict, Fault, Invalid, NotFound
from haven.operations.alert_turns import as_rule
from haven.operations.alerts import BUILT_IN
from haven.operations.models import Alert, AlertRule, AlertSilence

COLLECTING: Final = "alerting caching circuit_breaker database jobs memory monitoring rate_limiting".split()
"""The extensions whose metrics a rule may watch."""
RULES_MOST: Final = 200
SILENCES_MOST: Final = 500

_silenced_until = (
    select(func.max(AlertSilence.ends_at))
    .where(
        AlertSilence.agency_id == Alert.agency_id,
        or_(AlertSilence.fingerprint == Alert.fingerprint, AlertSilence.rule == Alert.rule),
        AlertSilence.ends_at > func.now(),
    )
    .correlate(Alert)
    .scalar_subquery()
)
_PLAIN: Final = (
    "id rule metric severity state labels fingerprint value threshold started_at fired_at resolved_at"
    " acknowledged_by acknowledged_at acknowledged_note told_at"
).split()
ALERT_COLUMNS: Final[Mapping[str, ColumnElement[Any] | InstrumentedAttribute[Any]]] = {
    name: getattr(Alert, name) for name in _PLAIN
} | {"silenced_until": case((Alert.state != "RESOLVED", _silenced_until), else_=None)}
"""Name in an answer → what is selected."""
RULE_COLUMNS: Final = (
    "kind name metric labels comparison threshold resolve_threshold for_s resolve_for_s window_s minimum_count severity"
    " description enabled id created_at updated_at version"
).split()
SILENCE_COLUMNS: Final = "id fingerprint rule reason created_by created_at ends_at".split()


def recent(session: Session, *, state: str | None = None, limit: int = 50) -> list[dict[str, Any]]:
    """The newest alerts of the agency, as the API shows them; one statement.

    Args:
        state: only those in it; ``OPEN``: pending or firing.
    """
    columns = [column.label(name) for name, column in ALERT_COLUMNS.items()]
    wanted = select(*columns).where(Alert.agency_id == tenant_of(session).agency_id)
    if state == "OPEN":
        wanted = wanted.where(Alert.state != "RESOLVED")
    elif state is not None:
        wanted = wanted.where(Alert.state == state)
    rows = session.execute(wanted.order_by(Alert.id.desc()).limit(limit))
    return [dict(row._mapping) for row in rows]


def rules(session: Session) -> list[dict[str, Any]]:
    """Every rule of the agency, by name."""
    columns = [getattr(AlertRule, name) for name in RULE_COLUMNS]
    wanted = select(*columns).where(AlertRule.agency_id == tenant_of(session).agency_id)
    return [
        dict(row._mapping) for row in session.execute(wanted.order_by(AlertRule.name).limit(RULES_MOST * 2))
    ]


def silences(session: Session) -> list[dict[str, Any]]:
    """Every silence of the agency that has not ended, the first to end first."""
    columns = [getattr(AlertSilence, name) for name in SILENCE_COLUMNS]
    wanted = select(*columns).where(
        AlertSilence.agency_id == tenant_of(session).agency_id, AlertSilence.ends_at > func.now()
    )
    rows = session.execute(wanted.order_by(AlertSilence.ends_at).limit(SILENCES_MOST))
    return [dict(row._mapping) for row in rows]


def acknowledge(session: Session, alert_id: uuid.UUID, note: str = "") -> None:
    """Say that the caller looks after an alert that fires. It goes on firing, and is resolved as ever.

    Raises:
        NotFound: there is none in this agency.
        Conflict: it does not fire, or somebody looks after it already.
    """
    tenant = tenant_of(session)
    alert = session.get(Alert, (tenant.agency_id, alert_id), with_for_update=True, populate_existing=True)
    if alert is None:
        raise NotFound(f"There is no alert {alert_id}.")
    if alert.state != "FIRING":
        raise Conflict(f"The alert is {alert.state}: only one that is FIRING can be acknowledged.")
    if alert.acknowledged_by is not None:
        raise Conflict(f"{alert.acknowledged_by} has acknowledged the alert already.")
    alert.acknowledged_by, alert.acknowledged_at = tenant.actor, dt.datetime.now(dt.UTC)
    alert.acknowledged_note = note or None


def silence(
    session: Session,
    *,
    ends_at: dt.datetime,
    reason: str,
    fingerprint: str | None = None,
    rule: str | None = None,
) -> uuid.UUID:
    """Send nothing of an alert, or of all alerts of a rule, before ``ends_at``; they are recorded all the same.

    What fires still when the silence ends is sent then.

    Raises:
        Invalid: both or neither are named, there is no such rule, or it would end before it begins.
        Conflict: there are too many.
    """
    if (fingerprint is None) == (rule is None):
        raise Invalid.field("fingerprint", "give either the fingerprint of an alert or the name of a rule")
    if rule is not None and not _is_rule(session, rule):
        raise Invalid.field("rule", f"there is no rule {rule}")
    if fingerprint is not None and not _is_rule(session, fingerprint.partition("/")[0]):
        raise Invalid.field("fingerprint", "must begin with the name of a rule, as those of alerts do")
    if ends_at <= dt.datetime.now(dt.UTC):
        raise Invalid.field("ends_at", "must be in the future")
    if len(silences(session)) >= SILENCES_MOST:
        raise Conflict(f"There are {SILENCES_MOST} silences already: end some of them first.")
    tenant = tenant_of(session)
    row = AlertSilence(
        agency_id=tenant.agency_id,
        id=new_id(),
        fingerprint=fingerprint,
        rule=rule,
        reason=reason,
        created_by=tenant.actor,
        ends_at=ends_at,
    )
    session.add(row)
    session.flush()
    return row.id


def end_silence(session: Session, silence_id: uuid.UUID) -> None:
    """Send of these alerts again. The audit trail keeps who silenced what, and who ended it.

    Raises:
        NotFound: there is no such silence in this agency.
    """
    row = session.get(AlertSilence, (tenant_of(session).agency_id, silence_id), with_for_update=True)
    if row is None:
        raise NotFound(f"There is no silence {silence_id}.")
    session.delete(row)


def create_rule(session: Session, values: dict[str, Any]) -> uuid.UUID:
    """Make a rule that the clock evaluates from its next turn on; its id.

    Raises:
        Invalid: naming each value that breaks a rule.
        Conflict: there are too many.
    """
    agency_id = tenant_of(session).agency_id
    counted = select(func.count()).select_from(AlertRule).where(AlertRule.agency_id == agency_id)
    if session.execute(counted).scalar_one() >= RULES_MOST:
        raise Conflict(f"There are {RULES_MOST} rules already: remove some of them first.")
    values = {"resolve_threshold": values["threshold"]} | values
    row = AlertRule(agency_id=agency_id, id=new_id(), kind="METRIC", **values)
    _check(Rule(**values))
    session.add(row)
    session.flush()
    return row.id


def update_rule(
    session: Session, rule_id: uuid.UUID, changes: dict[str, Any], version: int | None = None
) -> None:
    """Change a rule; alerts that are open go on under it. One that is switched off ends its alerts at the next turn.

    Raises:
        NotFound: there is none in this agency.
        VersionMismatch: it has changed meanwhile.
        Conflict: its alerts are raised by code.
        Invalid: naming each value that breaks a rule.
    """
    row = _metric_rule(session, rule_id, version)
    change(row, changes)
    _check(as_rule(row))


def delete_rule(session: Session, rule_id: uuid.UUID, version: int | None = None) -> None:
    """Remove a rule; its open alerts are over at the next turn, and its history stays. Raises as ``update_rule`` does."""
    row = _metric_rule(session, rule_id, version)
    session.execute(
        update(Alert).where(Alert.agency_id == row.agency_id, Alert.rule_id == row.id).values(rule_id=None)
    )
    session.delete(row)


def _is_rule(session: Session, name: str) -> bool:
    if any(one.name == name for one in BUILT_IN):
        return True
    wanted = select(AlertRule.id).where(
        AlertRule.agency_id == tenant_of(session).agency_id, AlertRule.name == name
    )
    return session.execute(wanted).first() is not None


def _metric_rule(session: Session, rule_id: uuid.UUID, version: int | None) -> AlertRule:
    row = locked(session, AlertRule, rule_id, version)
    if row.kind != "METRIC":
        raise Conflict(
            "Haven itself raises the alerts of this rule: it cannot be changed. Silence it instead."
        )
    return row


def _check(rule: Rule) -> None:
    found = tuple(Fault(f"/{name}", rule_of) for name, rule_of in faults(rule, COLLECTING))
    if found:
        raise Invalid(f"{found[0].pointer.lstrip('/')}: {found[0].detail}", faults=found)
