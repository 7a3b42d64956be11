"""Runs one job: takes it, calls its function, writes down what came of it."""

from __future__ import annotations

import datetime as dt
import gc
import importlib
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import redis
import structlog
from rq import get_current_job
from sqlalchemy import NullPool, RowMapping, create_engine
from sqlalchemy.exc import SQLAlchemyError

import haven.models  # noqa: F401  every table must be known before the first query
from config import Settings, load_settings
from extensions.jobs.attempt import CodeGone, run_attempt
from extensions.jobs.watch import Connections, Watch
from haven.db.migrate import sqlalchemy_url
from haven.db.session import tenant_session
from haven.errors import HavenError
from haven.operations import job_measures, jobs
from haven.operations.kinds import KINDS
from haven.runtime import Runtime

log = structlog.get_logger(__name__)


class AttemptFailed(Exception):
    """Tells RQ, and so whoever looks at its queues, that the attempt failed; the job's row has it already."""


_prepared: list[Runtime] = []
"""Made before the fork, without a connection: a work horse need not compile what all of them say."""


def prepare(settings: Settings) -> None:
    """Make ready what each work horse needs, in the process that forks them; it keeps no connection."""
    runtime = Runtime.start(settings)
    nobody = uuid.UUID(int=0)
    context = jobs.JobContext(runtime, nobody, nobody, "worker")
    ledger = _Ledger(context)
    try:
        # Of a job that does not exist: each statement is compiled, and changes nothing.
        run_job(runtime, nobody, nobody)
        with context.session() as session:
            jobs.ROWS.change(session, nobody, nobody, **dict.fromkeys(_CLAIMED))
        for renews in (False, True):
            ledger.look(renews)
        ledger.succeed({})
        ledger.fail("")
    except SQLAlchemyError as error:
        log.warning("not_prepared", error=type(error).__name__)
    runtime.engine.dispose()
    for client in (runtime.redis, runtime.queues.connection):
        client.connection_pool.disconnect()
    _prepared[:] = [runtime]
    gc.collect()
    gc.freeze()


_CLAIMED = ("status", "attempts", "claim", "worker", "started_at", "lease_until")


@lru_cache(maxsize=1)
def _runtime_of(process_id: int) -> Runtime:  # noqa: ARG001  a connection is never shared over a fork
    return Runtime.start(load_settings())


def run(agency_id: str, job_id: str) -> str:
    """Run the job with this id, if it is there to be run; what RQ's workers call in a work horse.

    Raises:
        AttemptFailed: the attempt failed.
    """
    runtime = _prepared[0] if _prepared else _runtime_of(os.getpid())
    outcome, words = _run(
        runtime, uuid.UUID(agency_id), uuid.UUID(job_id), Connections(runtime.engine), _worker()
    )
    if outcome == "FAILED":
        raise AttemptFailed(words)
    return outcome


def run_job(runtime: Runtime, agency_id: uuid.UUID, job_id: uuid.UUID) -> str:
    """The same with a runtime given, in any process; what came of it: a status, or ``SKIPPED``."""
    return _run(runtime, agency_id, job_id, None, _worker())[0]


def killed(settings: Settings, agency_id: str, job_id: str, worker: str, words: str) -> None:
    """A work horse of ``worker`` was killed: its attempt has failed.

    The worker forks for each job, so no connection is kept.
    """
    engine = create_engine(sqlalchemy_url(settings.database_url), poolclass=NullPool)
    owner, job = uuid.UUID(agency_id), uuid.UUID(job_id)
    with tenant_session(engine, owner, "worker") as session:
        jobs.announce(session, jobs.ROWS.fail_of_worker(session, owner, job, worker, words))


def _run(
    runtime: Runtime,
    agency_id: uuid.UUID,
    job_id: uuid.UUID,
    connections: Connections | None,
    worker: str,
) -> tuple[str, str]:
    with jobs.job_session(runtime, agency_id, "worker") as session:
        job = jobs.claim(session, job_id, dt.datetime.now(dt.UTC), worker)
    if job is None:
        _leave_place(runtime, agency_id, job_id)
        return "SKIPPED", ""
    with (
        structlog.contextvars.bound_contextvars(
            job_id=str(job_id), kind=job["kind"], request_id=job["request_id"], **_trace(job)
        ),
        job_measures.measured(runtime, job["kind"], job["request_id"]) as measure,
    ):
        outcome = ("LOST", "")
        try:
            outcome = _attempt(runtime, job, connections)
            measure.status = outcome[0]
        finally:
            _make_room(runtime, agency_id, job_id, job["queue"], outcome[0])
    return outcome


def _attempt(runtime: Runtime, job: RowMapping, connections: Connections | None) -> tuple[str, str]:
    kind = job["kind"]
    context = jobs.JobContext(
        runtime, job["agency_id"], job["id"], f"job:{kind}", job["request_id"], job["claim"]
    )

    def act(watch: Watch) -> dict[str, Any]:
        context.watch = watch
        return _function(kind)(context, **job["arguments"])

    return run_attempt(
        act,
        _Ledger(context),
        timeout_s=KINDS[kind].timeout_s if kind in KINDS else 60,
        memory_limit=runtime.settings.worker_memory_limit if connections is not None else 0,
        connections=connections,
        words_of=lambda error: (
            str(error) if isinstance(error, HavenError | CodeGone) else f"{type(error).__name__}: {error}"
        ),
    )


@dataclass(frozen=True)
class _Ledger:
    """Writes a claimed job down; see ``extensions/jobs/attempt.py``."""

    context: jobs.JobContext

    def look(self, renews: bool) -> bool | None:
        with self.context.session() as session:
            act = jobs.ROWS.renew if renews else jobs.ROWS.look
            return act(session, *self._claimed)

    def succeed(self, result: dict[str, Any]) -> None:
        with self.context.session() as session:
            said = self.context.unsaid()
            jobs.announce(session, jobs.ROWS.succeed(session, *self._claimed, result, **said))

    def fail(self, error: str, *, for_good: bool = False) -> None:
        with self.context.session() as session:
            jobs.announce(session, jobs.ROWS.fail(session, *self._claimed, error, for_good=for_good))

    def stop(self) -> None:
        with self.context.session() as session:
            jobs.announce(session, jobs.ROWS.stop(session, *self._claimed))

    def put_back(self, wait_s: float = 0) -> None:
        with self.context.session() as session:
            jobs.ROWS.put_back(session, *self._claimed, wait_s)

    @property
    def _claimed(self) -> tuple[uuid.UUID, uuid.UUID, int]:
        return self.context.agency_id, self.context.job_id, self.context.claim


def _leave_place(runtime: Runtime, agency_id: uuid.UUID, job_id: uuid.UUID) -> None:
    entry = get_current_job()
    if entry is not None:
        _make_room(runtime, agency_id, job_id, entry.origin)


def _make_room(
    runtime: Runtime, agency_id: uuid.UUID, job_id: uuid.UUID, queue: str, outcome: str = "SKIPPED"
) -> None:
    """The agency's next job of this queue may come, where one waits for a place."""
    if not runtime.settings.enable_job_queue:
        return
    owner, most = str(agency_id), runtime.queues.share(queue) + 2
    try:
        if not runtime.queues.done(owner, job_id, queue, outcome):
            return
        with jobs.job_session(runtime, agency_id, "worker") as session:
            waiting = jobs.ROWS.waiting(session, agency_id, queue, most)
        if len(waiting) < most:
            runtime.queues.no_backlog(owner, queue)
        for row in waiting:
            spec = KINDS.get(row["kind"])
            if spec is not None:
                runtime.queues.wake(owner, row["id"], queue, row["kind"], spec.timeout_s)
    except (redis.RedisError, SQLAlchemyError) as error:  # the clock finds them
        log.warning("next_job_not_woken", error=type(error).__name__)


def _trace(job: RowMapping) -> dict[str, str]:
    return {"trace_id": job["trace_id"]} if job["trace_id"] else {}


def _worker() -> str:
    """The RQ worker that this is a process of, or this process."""
    return os.environ.get("RQ_WORKER_ID") or f"pid {os.getpid()}"


def _function(kind: str) -> Callable[..., dict[str, Any]]:
    if kind not in KINDS:
        raise CodeGone(f"Nothing here knows a job of the kind {kind}: its code is gone.")
    module, _, name = KINDS[kind].function.partition(":")
    try:
        found: Callable[..., dict[str, Any]] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise CodeGone(f"The code of the job {kind} is gone ({KINDS[kind].function}): {error}.") from error
    return found
