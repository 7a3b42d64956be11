"""The queues as a whole: their numbers, pausing, emptying, running their failures again."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from typing import Any, Final

import redis
from sqlalchemy import Engine, Float, cast, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from extensions.jobs.queues import Queues
from extensions.jobs.worker import registered
from haven.db.base import PLATFORM
from haven.db.session import tenant_of, tenant_session
from haven.errors import Conflict, NotFound
from haven.identity.models import Agency
from haven.operations import jobs
from haven.operations.kinds import QUEUES
from haven.operations.models import Job, PausedQueue

_DAY: Final = dt.timedelta(days=1)
_AT_ONCE: Final = 1000
"""How many jobs of an agency one call changes at the most."""


def known(queue: str) -> str:
    """The queue's name.

    Raises:
        NotFound: there is none of that name.
    """
    if queue not in QUEUES:
        raise NotFound(f"There is no queue {queue}: they are {', '.join(QUEUES)}.")
    return queue


def pause(session: Session, queue: str) -> None:
    """From now on no worker takes from the queue; what runs is finished."""
    row = {"queue": known(queue), "paused_by": tenant_of(session).actor}
    session.execute(insert(PausedQueue).values(row).on_conflict_do_nothing())


def resume(session: Session, queue: str) -> None:
    """Workers take from the queue again; the clock wakes them for what waits, within seconds."""
    session.execute(delete(PausedQueue).where(PausedQueue.queue == known(queue)))


def empty(session: Session, queue: str) -> int:
    """Cancel the agency's jobs that wait in the queue, at most 1,000 a call; how many."""
    waiting = select(Job.id).where(_mine(session, queue), Job.status.in_(("QUEUED", "SCHEDULED")))
    return _each(session, waiting, jobs.cancel)


def requeue(session: Session, queue: str) -> int:
    """Run the agency's failed jobs of the queue again, at most 1,000 a call, the newest first; how many."""
    failed = select(Job.id).where(_mine(session, queue), Job.status == "FAILED").order_by(Job.id.desc())
    return _each(session, failed, jobs.retry)


def of_every_agency(engine: Engine, actor: str, wake: Any, act: Any, queue: str) -> int:
    """Do the same for every agency, each in a transaction of its own: for operators. How many jobs."""
    with tenant_session(engine, PLATFORM, actor, is_platform=True) as session:
        agencies = list(session.execute(select(Agency.id)).scalars())
    return sum(_of_one(engine, agency_id, actor, wake, act, queue) for agency_id in agencies)


def statistics(session: Session, queues: Queues) -> dict[str, Any]:
    """The agency's jobs by queue, now and of the last day; and the workers of all."""
    now = dt.datetime.now(dt.UTC)
    paused = set(session.execute(select(PausedQueue.queue)).scalars())
    rows = {name: {"queue": name, "is_paused": name in paused, **_NONE} for name in QUEUES}
    for row in session.execute(_counts(session, now)).mappings():
        if row["queue"] in rows:
            rows[row["queue"]].update({key: row[key] or 0 for key in _NONE})
    return {"queues": list(rows.values()), "workers": _workers(queues)}


_NONE: Final = {
    "waiting": 0,
    "scheduled": 0,
    "running": 0,
    "succeeded": 0,
    "failed": 0,
    "cancelled": 0,
    "oldest_wait_s": 0.0,
    "mean_wait_s": 0.0,
    "mean_run_s": 0.0,
}


def _counts(session: Session, now: dt.datetime) -> Any:
    """Unfinished jobs, and those that ended in the last day: one index for each of the two."""
    agency_id = tenant_of(session).agency_id

    def seconds(of: Any) -> Any:
        return cast(func.round(cast(func.extract("epoch", of) * 1000, Float)) / 1000, Float)

    def count(status: str) -> Any:
        return func.count().filter(Job.status == status).label(_NAMES[status])

    waits = (Job.status == "QUEUED") & (Job.run_after <= now)
    return (
        select(
            Job.queue,
            *(count(status) for status in _NAMES),
            seconds(func.max(now - Job.run_after).filter(waits)).label("oldest_wait_s"),
            seconds(func.avg(Job.started_at - Job.created_at)).label("mean_wait_s"),
            seconds(func.avg(Job.finished_at - Job.started_at)).label("mean_run_s"),
        )
        .where(
            Job.agency_id == agency_id,
            Job.status.in_(jobs.UNFINISHED) | (Job.finished_at >= now - _DAY),
        )
        .group_by(Job.queue)
    )


_NAMES: Final = {
    "QUEUED": "waiting",
    "SCHEDULED": "scheduled",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
}


def _workers(queues: Queues) -> int | None:
    try:
        return registered(queues.connection)
    except redis.RedisError:
        return None


def _mine(session: Session, queue: str) -> Any:
    return (Job.agency_id == tenant_of(session).agency_id) & (Job.queue == known(queue))


def _each(session: Session, found: Any, act: Any) -> int:
    count = 0
    ids: Iterable[uuid.UUID] = session.execute(found.limit(_AT_ONCE)).scalars().all()
    for job_id in ids:
        try:
            act(session, job_id)
        except Conflict:  # it has gone on meanwhile
            continue
        count += 1
    return count


def _of_one(engine: Engine, agency_id: uuid.UUID, actor: str, wake: Any, act: Any, queue: str) -> int:
    with tenant_session(engine, agency_id, actor) as session:
        session.info["wake"] = wake
        count: int = act(session, queue)
    return count
