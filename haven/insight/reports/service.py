"""Reports asked for, by hand or by schedule; handed out again while nothing has changed."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from extensions.caching.cache import Cache
from haven.billing.days import agency_day
from haven.db.base import new_id
from haven.db.session import tenant_of
from haven.files import service as files
from haven.insight.reports.asking import Ask
from haven.insight.reports.days import PERIODS, latest_run, next_run
from haven.insight.reports.freshness import generation
from haven.insight.reports.models import Report
from haven.operations.jobs import submit
from haven.operations.models import ReportSchedule
from haven.runtime import Runtime

_AT_ONCE: Final = 100
_STILL_GOOD_FOR: Final = dt.timedelta(hours=1)
"""A file that is about to go is made anew instead of handed out."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A report and the job that makes it, or made it."""

    report_id: uuid.UUID
    job_id: uuid.UUID


def request(session: Session, runtime: Runtime, ask: Ask, now: dt.datetime) -> Asked:
    """Ask for a report in the caller's transaction; the finished one where it has its file and nothing has changed since."""
    key = ask.key(agency_day(session, now).today)
    found = _finished(session, runtime.cache, key, now)
    if found is not None and files.is_there(session, runtime.settings, found.job_id):
        return found
    return _submit(session, ask, key)


def submit_due(session: Session, now: dt.datetime) -> int:
    """Ask for the report of every schedule that is due; how many. Runs that were missed are one, of the last of them.

    Two clocks submit once: a schedule is locked while it moves on to its next time.
    """
    due = (
        select(ReportSchedule)
        .where(
            ReportSchedule.agency_id == tenant_of(session).agency_id,
            ReportSchedule.status == "ACTIVE",
            ReportSchedule.next_run_at <= now,
        )
        .order_by(ReportSchedule.next_run_at)
        .limit(_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    schedules = session.execute(due).scalars().all()
    for schedule in schedules:
        _run(session, schedule, now)
    return len(schedules)


def remove_expired(session: Session, now: dt.datetime) -> int:
    """Remove finished reports whose time is over; how many. Their files go as all files do (``haven.files``)."""
    gone = delete(Report).where(Report.agency_id == tenant_of(session).agency_id, Report.expires_at < now)
    return int(session.execute(gone).rowcount)  # type: ignore[attr-defined]


def _run(session: Session, schedule: ReportSchedule, now: dt.datetime) -> None:
    day = agency_day(session, now)
    moment = latest_run(schedule.cron, schedule.next_run_at, now, day.zone)
    first, last = PERIODS[schedule.period](moment.astimezone(day.zone).date())
    filters = {name: uuid.UUID(value) for name, value in schedule.filters.items()}
    ask = Ask(schedule.kind, first, last, schedule.format, filters)
    asked = _submit(session, ask, ask.key(day.today), schedule.id, f"{schedule.id}/{moment.isoformat()}")
    schedule.last_run_at = moment
    schedule.last_report_id = asked.report_id
    schedule.next_run_at = next_run(schedule.cron, now, day.zone)


def _submit(
    session: Session,
    ask: Ask,
    key: str,
    schedule_id: uuid.UUID | None = None,
    unique_key: str | None = None,
) -> Asked:
    report_id = new_id()
    job_id = submit(session, "report", {"report_id": str(report_id)}, unique_key=unique_key)
    arguments: dict[str, Any] = ask.arguments()
    session.flush()
    session.add(
        Report(
            agency_id=tenant_of(session).agency_id,
            id=report_id,
            job_id=job_id,
            schedule_id=schedule_id,
            kind=ask.kind,
            format=ask.format,
            first_day=ask.first,
            last_day=ask.last,
            filters=arguments["filters"],
            key=key,
        )
    )
    session.flush()
    return Asked(report_id, job_id)


def _finished(session: Session, cache: Cache, key: str, now: dt.datetime) -> Asked | None:
    agency_id = tenant_of(session).agency_id
    current = generation(cache, agency_id)
    if current is None:
        return None
    row = session.execute(
        select(Report.id, Report.job_id)
        .where(
            Report.agency_id == agency_id,
            Report.key == key,
            Report.generation == current,
            Report.expires_at > now + _STILL_GOOD_FOR,
        )
        .order_by(Report.id.desc())
        .limit(1)
    ).first()
    return None if row is None else Asked(row.id, row.job_id)
