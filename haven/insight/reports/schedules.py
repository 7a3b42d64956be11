"""Schedules of reports: made, changed, removed."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy.orm import Session

from haven.billing.days import agency_day
from haven.db.base import new_id
from haven.db.rows import change, locked
from haven.db.session import tenant_of
from haven.insight.reports.asking import filter_faults, refuse
from haven.insight.reports.days import checked_cron, next_run
from haven.operations.models import ReportSchedule


def create(session: Session, body: dict[str, Any]) -> uuid.UUID:
    """Make a schedule; it first runs at its next time.

    Raises:
        Invalid: a filter or the times break a rule.
    """
    values = {"filters": {}, "format": "pdf", "recipients": []} | _timed(body)
    refuse(filter_faults(values["kind"], values["filters"]))
    now = dt.datetime.now(dt.UTC)
    values["next_run_at"] = next_run(values["cron"], now, agency_day(session, now).zone)
    schedule = ReportSchedule(agency_id=tenant_of(session).agency_id, id=new_id(), **values)
    session.add(schedule)
    session.flush()
    return schedule.id


def update(session: Session, schedule_id: uuid.UUID, changes: dict[str, Any], version: int | None) -> None:
    """Change a schedule. With new times, or made active again, it runs at its next time: what it missed is not made up.

    Raises:
        NotFound, VersionMismatch: see ``haven.db.rows.locked``.
        Invalid: a filter or the times break a rule.
    """
    schedule = locked(session, ReportSchedule, schedule_id, version)
    changes = _timed(changes)
    kind, filters = changes.get("kind", schedule.kind), changes.get("filters", schedule.filters)
    refuse(filter_faults(kind, filters))
    is_woken = changes.get("status") == "ACTIVE" and schedule.status == "PAUSED"
    change(schedule, changes)
    if "cron" in changes or is_woken:
        now = dt.datetime.now(dt.UTC)
        schedule.next_run_at = next_run(schedule.cron, now, agency_day(session, now).zone)


def delete(session: Session, schedule_id: uuid.UUID, version: int | None) -> None:
    """Remove a schedule; the reports it made stay for their days."""
    session.delete(locked(session, ReportSchedule, schedule_id, version))


def _timed(body: dict[str, Any]) -> dict[str, Any]:
    """The body with its cron in numbers; a named one brings its period where none is given."""
    values = dict(body)
    if "cron" in values:
        values["cron"], period = checked_cron(values["cron"])
        values = ({} if period is None else {"period": period}) | values
    return values
