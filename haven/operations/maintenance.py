"""Removing what has had its time, and what the clock says of its tasks."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Engine, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from haven.db.session import tenant_of
from haven.identity.models import IdempotencyKey, SignInSession
from haven.operations.models import ExportFile, Job, MaintenanceTask

_ANSWERS_KEPT: Final = dt.timedelta(days=2)
_SESSIONS_KEPT: Final = dt.timedelta(days=30)
_BATCH: Final = 1000
_OVERDUE: Final = dt.timedelta(minutes=5)
_ERROR_LONGEST: Final = 2000
DEFAULT_HISTORY_DAYS: Final = 90


def remove_expired(session: Session, now: dt.datetime) -> int:
    """Remove stored answers past their time to live and sign-ins long over, of one agency; how many rows."""
    agency_id = tenant_of(session).agency_id
    answers = session.execute(
        delete(IdempotencyKey).where(
            IdempotencyKey.agency_id == agency_id, IdempotencyKey.created_at < now - _ANSWERS_KEPT
        )
    )
    sessions = session.execute(
        delete(SignInSession).where(
            SignInSession.agency_id == agency_id, SignInSession.expires_at < now - _SESSIONS_KEPT
        )
    )
    return int(answers.rowcount + sessions.rowcount)  # type: ignore[attr-defined]


def remove_old_jobs(session: Session, now: dt.datetime) -> int:
    """Remove jobs of one agency that ended more than JOB_HISTORY_DAYS ago and whose file is gone; at most 1,000 a time."""
    agency_id = tenant_of(session).agency_id
    kept = dt.timedelta(days=session.info.get("job_history_days", DEFAULT_HISTORY_DAYS))
    has_file = select(ExportFile.id).where(ExportFile.agency_id == Job.agency_id, ExportFile.job_id == Job.id)
    old = (
        select(Job.id)
        .where(Job.agency_id == agency_id, Job.finished_at < now - kept, ~has_file.exists())
        .order_by(Job.finished_at)
        .limit(_BATCH)
    )
    removed = session.execute(delete(Job).where(Job.agency_id == agency_id, Job.id.in_(old)))
    return int(removed.rowcount)  # type: ignore[attr-defined]


def begin_due(engine: Engine, every_s: Mapping[str, int]) -> list[str]:
    """The tasks that are due, of those given with their interval (s); each is due again after that."""
    now = func.now()
    task = MaintenanceTask
    rows = [{"name": name, "every_s": interval} for name, interval in every_s.items()]
    if not rows:
        return []
    with Session(engine) as session, session.begin():
        known = set(session.execute(select(task.name).where(task.name.in_(every_s))).scalars())
        if missing := [row for row in rows if row["name"] not in known]:
            session.execute(insert(task).values(missing).on_conflict_do_nothing())
        due = list(
            session.execute(select(task.name).where(task.name.in_(every_s), task.next_at <= now)).scalars()
        )
        for name in due:
            interval = every_s[name]
            session.execute(
                update(task)
                .where(task.name == name)
                .values(every_s=interval, started_at=now, next_at=now + dt.timedelta(seconds=interval))
            )
    return due


def finish(engine: Engine, name: str, moved: int, faults: Sequence[str]) -> None:
    """Write down what came of a task: how many rows it moved, and what went wrong."""
    task = MaintenanceTask
    with Session(engine) as session, session.begin():
        session.execute(
            update(task)
            .where(task.name == name)
            .values(
                finished_at=func.now(),
                moved=moved,
                error="\n".join(faults)[:_ERROR_LONGEST] if faults else None,
                failures=task.failures + 1 if faults else 0,
            )
        )


def tasks(session: Session, now: dt.datetime) -> list[dict[str, Any]]:
    """Every task of the clock: its last run, result and error, and when it is due again."""
    rows = session.execute(select(MaintenanceTask).order_by(MaintenanceTask.name).limit(_BATCH)).scalars()
    return [_shown(row, now) for row in rows]


def _shown(row: MaintenanceTask, now: dt.datetime) -> dict[str, Any]:
    is_running = row.started_at is not None and (row.finished_at is None or row.finished_at < row.started_at)
    took_s = None
    if row.started_at is not None and row.finished_at is not None and not is_running:
        took_s = round((row.finished_at - row.started_at).total_seconds(), 3)
    return {
        "name": row.name,
        "every_s": row.every_s,
        "status": _status(row, now, is_running=is_running),
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "took_s": took_s,
        "rows": row.moved,
        "error": row.error,
        "failures": row.failures,
        "next_at": row.next_at,
    }


def _status(row: MaintenanceTask, now: dt.datetime, *, is_running: bool) -> str:
    if row.next_at < now - _OVERDUE:
        return "LATE"
    if is_running:
        return "RUNNING"
    if row.started_at is None:
        return "WAITING"
    return "FAILED" if row.error is not None else "OK"
