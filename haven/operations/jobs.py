"""The life of a background job. Its row is the truth; the entry in Redis only wakes a worker.

A worker holds a job for a time (its lease), which a thread beside the job renews; a worker that dies lets the lease run out,
and another takes the job over. So a job may run more than once, and each one is written to bear that. The machinery is
``extensions/jobs``; here are Haven's table, tenants and kinds.
"""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast

import structlog
from sqlalchemy import RowMapping, Table
from sqlalchemy.orm import Session

from extensions.jobs.attempt import Cancelled
from extensions.jobs.rows import LEASE, UNFINISHED, Rows
from extensions.jobs.watch import Watch
from haven.db.base import new_id
from haven.db.session import Tenant, after_commit, set_tenant, tenant_of
from haven.errors import Conflict, NotFound
from haven.operations.kinds import DEFAULT_ATTEMPTS, KINDS, QUEUES
from haven.operations.models import Job, PausedQueue
from haven.runtime import Runtime

__all__ = ["LEASE", "UNFINISHED", "Cancelled", "JobContext", "job_session", "submit"]

ROWS: Final = Rows(cast("Table", Job.__table__), "agency_id", cast("Table", PausedQueue.__table__))
_PROGRESS_EVERY_S: Final = 0.5
_EVENT: Final = "job.finished"
_SOMEBODY: Final = ("user:", "key:")
_MESSAGES: Final = "notifications"
"""The queue of what comes of another change, a webhook's own deliveries among it: that change is what is told."""
_EVENT_FIELDS: Final = ("queue", "kind", "status", "attempts", "result", "error")


def submit(
    session: Session,
    kind: str,
    arguments: dict[str, Any],
    *,
    unique_key: str | None = None,
    run_after: dt.datetime | None = None,
) -> uuid.UUID:
    """Ask for a job in the caller's transaction; a worker is woken when that commits.

    The request's id and trace go with it, into the job's logs.

    Args:
        arguments: JSON values, given to the job's function by name.
        unique_key: while an unfinished job of this kind has the same key, that one's id is returned and none is made.
        run_after: not before this time.
    """
    spec = KINDS[kind]
    tenant = tenant_of(session)
    job_id = new_id()
    is_made = ROWS.write(
        session,
        tenant.agency_id,
        id=job_id,
        queue=spec.queue,
        kind=kind,
        status="QUEUED" if run_after is None else "SCHEDULED",
        arguments=arguments,
        unique_key=unique_key,
        requested_by=tenant.actor,
        request_id=tenant.request_id,
        trace_id=structlog.contextvars.get_contextvars().get("trace_id", ""),
        max_attempts=spec.max_attempts or session.info.get("job_attempts", DEFAULT_ATTEMPTS),
        **({} if run_after is None else {"run_after": run_after}),
    )
    if not is_made:
        return _unfinished(session, kind, unique_key)
    if run_after is None:
        _wake_after_commit(session, tenant.agency_id, job_id, kind)
    return job_id


def cancel(session: Session, job_id: uuid.UUID) -> None:
    """Cancel a job: at once while it waits, within two seconds while it runs.

    Raises:
        NotFound: there is none in this agency.
        Conflict: it has finished.
    """
    job = _lock(session, job_id)
    if job["status"] not in UNFINISHED:
        raise Conflict(f"The job is {job['status']}: there is nothing to cancel.")
    agency_id = job["agency_id"]
    if job["status"] == "RUNNING":
        ROWS.change(session, agency_id, job_id, cancel_requested=True)
        return
    now = dt.datetime.now(dt.UTC)
    announce(session, ROWS.change(session, agency_id, job_id, status="CANCELLED", finished_at=now))


def retry(session: Session, job_id: uuid.UUID) -> None:
    """Run a failed or cancelled job again, with all its attempts.

    Raises:
        NotFound: there is none in this agency.
        Conflict: it has not failed, or the same job has been asked for again meanwhile.
    """
    job = _lock(session, job_id)
    if job["status"] not in ("FAILED", "CANCELLED"):
        raise Conflict(f"The job is {job['status']}: only a failed or cancelled one can run again.")
    agency_id, kind, key = job["agency_id"], job["kind"], job["unique_key"]
    if kind not in KINDS:
        raise Conflict(f"Nothing here knows a job of the kind {kind}: its code is gone.")
    if key is not None and ROWS.unfinished(session, agency_id, kind, key) is not None:
        raise Conflict("The same job has been asked for again, and is not finished yet.")
    ROWS.change(
        session,
        agency_id,
        job_id,
        status="QUEUED",
        attempts=0,
        cancel_requested=False,
        error=None,
        finished_at=None,
        enqueued_at=None,
        run_after=dt.datetime.now(dt.UTC),
    )
    _wake_after_commit(session, agency_id, job_id, kind)


def claim(session: Session, job_id: uuid.UUID, now: dt.datetime, worker: str = "") -> RowMapping | None:
    """Take a job to run it; None where another worker has it, or it is finished, paused or not due."""
    job = ROWS.claim(session, tenant_of(session).agency_id, job_id, now, worker)
    if job is None or job["status"] == "RUNNING":
        return job
    announce(session, job)
    return None


def due(session: Session, now: dt.datetime, per_queue: int = 100) -> list[tuple[uuid.UUID, str]]:
    """Jobs of the agency that nobody may be coming for: (id, kind) of each. Those whose code is gone fail."""
    agency_id = tenant_of(session).agency_id
    found = ROWS.due(session, agency_id, QUEUES, now, per_queue)
    if any(row["kind"] not in KINDS for row in found):
        for row in ROWS.lost(session, agency_id, tuple(KINDS)):
            announce(session, row)
    return [(row["id"], row["kind"]) for row in found if row["kind"] in KINDS]


def announce(session: Session, job: RowMapping | None) -> None:
    """Tell webhooks that a job has ended which a person or a program asked for; of others nobody waits to hear."""
    if job is None or job["status"] in UNFINISHED or job["queue"] == _MESSAGES:
        return
    if not job["requested_by"].startswith(_SOMEBODY):
        return
    # Late: sending it is a job itself.
    from haven.operations.webhooks import emit

    emit(session, _EVENT, {"id": str(job["id"])} | {name: job[name] for name in _EVENT_FIELDS})


@dataclass
class JobContext:
    """What a running job has in hand."""

    runtime: Runtime
    agency_id: uuid.UUID
    job_id: uuid.UUID
    actor: str
    request_id: str = ""
    claim: int = 0
    watch: Watch | None = field(default=None, repr=False)
    _reported_at: float = field(default=0.0, repr=False)
    _unsaid: dict[str, Any] = field(default_factory=dict, repr=False)

    def session(self) -> AbstractContextManager[Session]:
        """A transaction of the job's agency; commits at the end of the ``with`` block."""
        return job_session(self.runtime, self.agency_id, self.actor, self.request_id)

    def progress(self, done: int, total: int | None = None, message: str = "") -> None:
        """Say how far the job is; written at most twice a second, and at its end.

        Raises:
            Cancelled: the job shall stop.
        """
        self._unsaid = {
            "progress_done": done,
            "progress_total": total,
            "progress_message": message[:200],
        }
        self.check_cancelled()

    def check_cancelled(self) -> None:
        """Go on, or raise ``Cancelled``."""
        if self.watch is not None:
            self.watch.check()
        if time.monotonic() - self._reported_at >= _PROGRESS_EVERY_S:
            self._report()

    def unsaid(self) -> dict[str, Any]:
        """The progress that is not written yet."""
        said, self._unsaid = self._unsaid, {}
        return said

    def _report(self) -> None:
        self._reported_at = time.monotonic()
        with self.session() as session:
            cancelled = ROWS.renew(session, self.agency_id, self.job_id, self.claim, **self.unsaid())
        if cancelled is None or cancelled:
            raise Cancelled


@contextmanager
def job_session(
    runtime: Runtime, agency_id: uuid.UUID, actor: str, request_id: str = ""
) -> Iterator[Session]:
    """A transaction outside a request, whose jobs wake workers when it commits."""
    with Session(runtime.engine, expire_on_commit=False) as session:
        session.info["wake"] = runtime.wake
        session.info["job_attempts"] = runtime.settings.max_job_attempts
        session.info["job_history_days"] = runtime.settings.job_history_days
        session.info["cache"] = runtime.cache
        session.info["redis"] = runtime.redis
        session.info["settings"] = runtime.settings
        set_tenant(session, Tenant(agency_id, actor, request_id))
        with session.begin():
            yield session


def _lock(session: Session, job_id: uuid.UUID) -> RowMapping:
    job = ROWS.lock(session, tenant_of(session).agency_id, job_id)
    if job is None:
        raise NotFound(f"There is no job {job_id}.")
    return job


def _unfinished(session: Session, kind: str, unique_key: str | None) -> uuid.UUID:
    found: uuid.UUID | None = ROWS.unfinished(session, tenant_of(session).agency_id, kind, unique_key)
    if found is None:
        raise Conflict("The same job has just finished: ask again.", retry_after_s=1)
    return found


def _wake_after_commit(session: Session, agency_id: uuid.UUID, job_id: uuid.UUID, kind: str) -> None:
    wake = session.info.get("wake")
    if wake is not None:
        after_commit(session, lambda: wake(agency_id, job_id, kind))
