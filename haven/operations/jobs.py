"""The life of a background job. Its row is the truth; the entry in Redis only wakes a worker.

A worker holds a job for a time (its lease) and renews it with its progress; a worker that dies lets the lease run out, and
another takes the job over. So a job may run more than once, and each one is written to bear that.
"""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from haven.db.base import new_id
from haven.db.session import Tenant, after_commit, set_tenant, tenant_of
from haven.errors import Conflict, NotFound
from haven.operations.kinds import KINDS
from haven.operations.models import Job
from haven.runtime import Runtime

LEASE: Final = dt.timedelta(seconds=60)
UNFINISHED: Final = ("QUEUED", "SCHEDULED", "RUNNING")
_FIRST_WAIT_S: Final = 5
_LONGEST_WAIT_S: Final = 3600
_PROGRESS_EVERY_S: Final = 0.5
_SWEEP_BATCH: Final = 100
_UNHEARD_AFTER: Final = dt.timedelta(seconds=10)
_ERROR_LONGEST: Final = 2000


class Cancelled(Exception):
    """Somebody has cancelled the job; it stops where it can."""


def submit(
    session: Session,
    kind: str,
    arguments: dict[str, Any],
    *,
    unique_key: str | None = None,
    run_after: dt.datetime | None = None,
) -> uuid.UUID:
    """Ask for a job in the caller's transaction; a worker is woken when that commits.

    Args:
        arguments: JSON values, given to the job's function by name.
        unique_key: while an unfinished job of this kind has the same key, that one's id is returned and none is made.
        run_after: not before this time.
    """
    spec = KINDS[kind]
    tenant = tenant_of(session)
    job_id = new_id()
    values = {
        "agency_id": tenant.agency_id,
        "id": job_id,
        "queue": spec.queue,
        "kind": kind,
        "status": "QUEUED" if run_after is None else "SCHEDULED",
        "arguments": arguments,
        "unique_key": unique_key,
        "requested_by": tenant.actor,
        "request_id": tenant.request_id,
        "max_attempts": spec.max_attempts,
        **({} if run_after is None else {"run_after": run_after}),
    }
    made = session.execute(insert(Job).values(**values).on_conflict_do_nothing().returning(Job.id)).first()
    if made is None:
        return _unfinished(session, kind, unique_key)
    if run_after is None:
        _wake_after_commit(session, tenant.agency_id, job_id, kind)
    return job_id


def cancel(session: Session, job_id: uuid.UUID) -> None:
    """Cancel a job: at once while it waits, at its next step while it runs.

    Raises:
        NotFound: there is none in this agency.
        Conflict: it has finished.
    """
    job = _lock(session, job_id)
    if job.status not in UNFINISHED:
        raise Conflict(f"The job is {job.status}: there is nothing to cancel.")
    if job.status == "RUNNING":
        job.cancel_requested = True
    else:
        job.status = "CANCELLED"
        job.finished_at = dt.datetime.now(dt.UTC)


def retry(session: Session, job_id: uuid.UUID) -> None:
    """Run a failed or cancelled job again, with all its attempts.

    Raises:
        NotFound: there is none in this agency.
        Conflict: it has not failed.
    """
    job = _lock(session, job_id)
    if job.status not in ("FAILED", "CANCELLED"):
        raise Conflict(f"The job is {job.status}: only a failed or cancelled one can run again.")
    job.status = "QUEUED"
    job.attempts = 0
    job.cancel_requested = False
    job.error = job.finished_at = None
    job.run_after = dt.datetime.now(dt.UTC)
    _wake_after_commit(session, job.agency_id, job.id, job.kind)


def claim(session: Session, job_id: uuid.UUID, now: dt.datetime) -> Job | None:
    """Take a job to run it; None where another worker has it, or it is finished or not due."""
    job = session.execute(
        select(Job)
        .where(
            Job.agency_id == tenant_of(session).agency_id,
            Job.id == job_id,
            or_(
                (Job.status.in_(("QUEUED", "SCHEDULED"))) & (Job.run_after <= now),
                (Job.status == "RUNNING") & (Job.lease_until < now),
            ),
        )
        .with_for_update(skip_locked=True)
    ).scalar_one_or_none()
    if job is None:
        return None
    if job.attempts >= job.max_attempts:
        _end(job, "FAILED", now, error="Every attempt was cut off: the worker died or the time ran out.")
        return None
    job.status = "RUNNING"
    job.attempts += 1
    job.started_at = job.started_at or now
    job.lease_until = now + LEASE
    return job


def succeed(session: Session, job_id: uuid.UUID, result: dict[str, Any]) -> None:
    """The job is done."""
    job = _lock(session, job_id)
    job.result = result
    if job.progress_total is not None:
        job.progress_done = job.progress_total
    _end(job, "SUCCEEDED", dt.datetime.now(dt.UTC))


def fail(session: Session, job_id: uuid.UUID, error: str) -> None:
    """An attempt failed: the job waits, twice as long each time, or has failed for good."""
    job = _lock(session, job_id)
    now = dt.datetime.now(dt.UTC)
    if job.attempts >= job.max_attempts:
        _end(job, "FAILED", now, error=error)
        return
    wait_s = min(_FIRST_WAIT_S * 2 ** (job.attempts - 1), _LONGEST_WAIT_S)
    job.status = "SCHEDULED"
    job.run_after = now + dt.timedelta(seconds=wait_s)
    job.lease_until = None
    job.error = error[:_ERROR_LONGEST]


def stop(session: Session, job_id: uuid.UUID) -> None:
    """The job has heeded its cancellation."""
    _end(_lock(session, job_id), "CANCELLED", dt.datetime.now(dt.UTC))


def due(session: Session, now: dt.datetime) -> list[tuple[uuid.UUID, str]]:
    """Jobs of the agency that nobody may be coming for: (id, kind) of each. Reads ``job_unfinished_idx``."""
    waiting = Job.status.in_(("QUEUED", "SCHEDULED")) & (Job.run_after <= now)
    unheard = or_(Job.enqueued_at.is_(None), Job.enqueued_at < now - _UNHEARD_AFTER)
    cut_off = (Job.status == "RUNNING") & (Job.lease_until < now)
    found = session.execute(
        update(Job)
        .where(
            Job.agency_id == tenant_of(session).agency_id,
            Job.id.in_(
                select(Job.id)
                .where(
                    Job.agency_id == tenant_of(session).agency_id,
                    Job.status.in_(UNFINISHED),
                    or_(waiting & unheard & (Job.created_at < now - dt.timedelta(seconds=2)), cut_off),
                )
                .order_by(Job.run_after)
                .limit(_SWEEP_BATCH)
                .with_for_update(skip_locked=True)
            ),
        )
        .values(enqueued_at=now)
        .returning(Job.id, Job.kind)
    )
    return [(row.id, row.kind) for row in found]


@dataclass
class JobContext:
    """What a running job has in hand."""

    runtime: Runtime
    agency_id: uuid.UUID
    job_id: uuid.UUID
    actor: str
    request_id: str = ""
    _reported_at: float = field(default=0.0, repr=False)

    def session(self) -> AbstractContextManager[Session]:
        """A transaction of the job's agency; commits at the end of the ``with`` block."""
        return job_session(self.runtime, self.agency_id, self.actor, self.request_id)

    def progress(self, done: int, total: int | None = None, message: str = "") -> None:
        """Say how far the job is, at most twice a second; renews the lease.

        Raises:
            Cancelled: the job shall stop.
        """
        if time.monotonic() - self._reported_at < _PROGRESS_EVERY_S and done != total:
            return
        self._report(progress_done=done, progress_total=total, progress_message=message[:200])

    def check_cancelled(self) -> None:
        """Go on, or raise ``Cancelled``; renews the lease."""
        if time.monotonic() - self._reported_at >= _PROGRESS_EVERY_S:
            self._report()

    def _report(self, **values: Any) -> None:
        self._reported_at = time.monotonic()
        with self.session() as session:
            cancelled = session.execute(
                update(Job)
                .where(Job.agency_id == self.agency_id, Job.id == self.job_id, Job.status == "RUNNING")
                .values(lease_until=func.now() + LEASE, **values)
                .returning(Job.cancel_requested)
            ).scalar_one_or_none()
        if cancelled is None or cancelled:
            raise Cancelled


@contextmanager
def job_session(
    runtime: Runtime, agency_id: uuid.UUID, actor: str, request_id: str = ""
) -> Iterator[Session]:
    """A transaction outside a request, whose jobs wake workers when it commits."""
    with Session(runtime.engine, expire_on_commit=False) as session:
        session.info["wake"] = runtime.wake
        session.info["cache"] = runtime.cache
        session.info["redis"] = runtime.redis
        set_tenant(session, Tenant(agency_id, actor, request_id))
        with session.begin():
            yield session


def _end(job: Job, status: str, now: dt.datetime, error: str | None = None) -> None:
    job.status = status
    job.finished_at = now
    job.lease_until = None
    job.error = None if error is None else error[:_ERROR_LONGEST]


def _lock(session: Session, job_id: uuid.UUID) -> Job:
    job = session.get(
        Job, (tenant_of(session).agency_id, job_id), with_for_update=True, populate_existing=True
    )
    if job is None:
        raise NotFound(f"There is no job {job_id}.")
    return job


def _unfinished(session: Session, kind: str, unique_key: str | None) -> uuid.UUID:
    found = session.execute(
        select(Job.id).where(
            Job.agency_id == tenant_of(session).agency_id,
            Job.kind == kind,
            Job.unique_key == unique_key,
            Job.status.in_(UNFINISHED),
        )
    ).scalar_one_or_none()
    if found is None:
        raise Conflict("The same job has just finished: ask again.", retry_after_s=1)
    return found


def _wake_after_commit(session: Session, agency_id: uuid.UUID, job_id: uuid.UUID, kind: str) -> None:
    wake = session.info.get("wake")
    if wake is not None:
        after_commit(session, lambda: wake(agency_id, job_id, kind))
