"""Background jobs that are never lost: a row in PostgreSQL, written with the work itself, and RQ to wake a worker."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Final

import redis
from flask import Flask, current_app
from sqlalchemy import Engine, MetaData, NullPool, create_engine, event
from sqlalchemy.orm import Session

from extensions.contract import Base, Health, Metric, Setting
from extensions.hold_off import guarded_redis
from extensions.jobs.attempt import CodeGone, run_attempt
from extensions.jobs.pool import Pool, PoolRules
from extensions.jobs.queues import Queues
from extensions.jobs.rows import Rows, job_table
from extensions.jobs.watch import Watch
from extensions.jobs.worker import registered

__all__ = ["Jobs"]

_WAITING: Final = "jobs_after_commit"
_RUNNER: Final = "extensions.jobs.run"
_Function = Callable[..., dict[str, Any] | None]
_app: Flask | None = None
"""The app of this process's workers."""


@dataclass(frozen=True, slots=True)
class _Kind:
    queue: str
    function: _Function
    max_attempts: int
    timeout_s: int


@dataclass
class _State:
    engine: Engine | None
    queues: Queues
    names: tuple[str, ...]
    runs_here: bool
    rows: Rows
    kinds: dict[str, _Kind] = field(default_factory=dict)


class Jobs(Base):
    """Jobs of an app with a table of its own, ``jobs``. An app with one may use the parts."""

    name = "jobs"
    requires = ("logs",)
    settings = (
        Setting("DATABASE_URL", "", "PostgreSQL, where the jobs are", "URL"),
        Setting("ENABLE_JOB_QUEUE", True, "false: jobs run at once, in the process that asks"),
        Setting("JOB_QUEUES", ("default",), "The queues, in the order in which workers serve them"),
        Setting("JOB_QUEUE_REDIS_DB", 1, "Redis database of the job queues"),
        Setting("MAX_JOB_ATTEMPTS", 3, "Attempts of a job"),
        Setting("REDIS_TIMEOUT", 250, "Longest wait for Redis", "ms"),
        Setting("REDIS_URL", "redis://127.0.0.1:6379", "Where the queues are", "URL"),
    )

    def init_app(self, app: Flask) -> None:
        """Make the queues of ``app``. Connects to nothing."""
        url = self.setting(app, "DATABASE_URL")
        client = guarded_redis(
            self.setting(app, "REDIS_URL"),
            self.setting(app, "REDIS_TIMEOUT") / 1000,
            db=self.setting(app, "JOB_QUEUE_REDIS_DB"),
        )
        app.extensions[self.name] = _State(
            # No pool: an app that brings its own table makes no use of this engine.
            create_engine(_driver_url(url), poolclass=NullPool) if url else None,
            Queues(client, _RUNNER),
            tuple(self.setting(app, "JOB_QUEUES")),
            not self.setting(app, "ENABLE_JOB_QUEUE"),
            Rows(job_table(MetaData(), "jobs")),
        )

    def create_table(self) -> None:
        """Make the table of the current app, if it is not there."""
        state = self._state
        with self._engine.begin() as connection:
            state.rows.table.create(connection, checkfirst=True)

    def drop_table(self) -> None:
        """Remove the table, and all that is in it."""
        with self._engine.begin() as connection:
            self._state.rows.table.drop(connection)

    def session(self) -> Session:
        """A session on the database of the jobs."""
        return Session(self._engine)

    def job(self, queue: str = "default", *, max_attempts: int = 0, timeout_s: int = 600) -> Any:
        """Make a function of JSON values a kind of job, named as the function is. It may run more than once."""
        state = self._state
        attempts = max_attempts or self.setting(current_app, "MAX_JOB_ATTEMPTS")

        def decorate(function: _Function) -> _Function:
            state.kinds[function.__name__] = _Kind(queue, function, attempts, timeout_s)
            return function

        return decorate

    def submit(
        self, session: Session, kind: str, *, owner: str = "", unique_key: str | None = None, **arguments: Any
    ) -> uuid.UUID:
        """Ask for a job in the transaction of ``session``; when that commits, it is on its way.

        Args:
            owner: whose it is: owners share a queue fairly.
            unique_key: while an unfinished job of the kind has the same key, its id is returned and none is made.
        """
        state, app = self._state, current_app._get_current_object()  # type: ignore[attr-defined]
        spec, job_id = state.kinds[kind], uuid.uuid4()
        is_made = state.rows.write(
            session,
            owner,
            id=job_id,
            queue=spec.queue,
            kind=kind,
            arguments=arguments,
            unique_key=unique_key,
            max_attempts=spec.max_attempts,
        )
        if not is_made:
            found: uuid.UUID = state.rows.unfinished(session, owner, kind, unique_key)
            return found
        _after_commit(session, lambda: self._wake(app, owner, job_id, spec, kind))
        return job_id

    def read(self, job_id: uuid.UUID, *, owner: str = "") -> dict[str, Any] | None:
        """A job as it is now; None where there is none."""
        with self._engine.begin() as connection:
            row = self._state.rows.lock(connection, owner, job_id)
        return None if row is None else dict(row)

    def sweep(self, owners: Iterable[str] = ("",)) -> int:
        """Wake workers for jobs that nobody may be coming for; call it every few seconds. How many."""
        state, app, count = self._state, current_app._get_current_object(), 0  # type: ignore[attr-defined]
        for owner in owners:
            with self._engine.begin() as connection:
                state.rows.lost(connection, owner, tuple(state.kinds))
                found = state.rows.due(connection, owner, state.names, dt.datetime.now(dt.UTC))
            for row in found:
                self._wake(app, owner, row["id"], state.kinds[row["kind"]], row["kind"], again=True)
            count += len(found)
        return count

    def work(self, rules: PoolRules | None = None) -> None:
        """Work on the current app's jobs with a pool of processes, until SIGTERM."""
        global _app  # noqa: PLW0603  RQ calls a function by its name; a forked worker knows its app only so
        _app = current_app._get_current_object()  # type: ignore[attr-defined]
        url, db = (self.setting(current_app, name) for name in ("REDIS_URL", "JOB_QUEUE_REDIS_DB"))
        connection = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)
        connection.connection_pool.connection_kwargs["db"] = db
        Pool(list(self._state.names), connection, self._state.queues, rules or PoolRules()).run()

    def health(self) -> Health:
        """``degraded`` while Redis is away (jobs wait, none is lost), or jobs wait and no worker is alive."""
        state = self._state
        if state.runs_here:
            return Health("ok", {"runs": "in the process that asks"})
        try:
            workers = registered(state.queues.connection)
            waiting = sum(state.queues.depth(name).waiting for name in state.names)
        except redis.RedisError as error:
            return Health("degraded", {"redis": type(error).__name__})
        return Health(
            "degraded" if waiting and not workers else "ok", {"workers": workers, "waiting": waiting}
        )

    def collect(self) -> Iterable[Metric]:
        """Depth and oldest age of each queue, workers, and what has ended; nothing while Redis is away or not used.

        Every process tells the same, so of all processes it is the largest, not the sum.
        """
        state = self._state
        if state.runs_here:
            return
        try:
            for name in state.names:
                depth = state.queues.depth(name)
                yield Metric("jobs_waiting", depth.waiting, {"queue": name}, merge="max")
                yield Metric("jobs_oldest_waiting_seconds", depth.oldest_s, {"queue": name}, merge="max")
            yield Metric("jobs_workers", registered(state.queues.connection), merge="max")
            for (queue, outcome), count in state.queues.ended().items():
                yield Metric("jobs_attempts_total", count, {"queue": queue, "outcome": outcome}, merge="max")
        except redis.RedisError:
            return

    def after_fork(self, app: Flask) -> None:
        """The connections are the parent's."""
        state: _State = app.extensions[self.name]
        if not state.runs_here:
            state.queues.connection.connection_pool.reset()

    @property
    def _state(self) -> _State:
        found: _State = current_app.extensions[self.name]
        return found

    @property
    def _engine(self) -> Engine:
        engine = self._state.engine
        if engine is None:
            raise LookupError("Set DATABASE_URL: the jobs are rows in PostgreSQL.")
        return engine

    def _wake(
        self, app: Flask, owner: str, job_id: uuid.UUID, spec: _Kind, kind: str, *, again: bool = False
    ) -> None:
        state: _State = app.extensions[self.name]
        if state.runs_here:
            with app.app_context():
                _run(app, owner, job_id)
            return
        try:
            state.queues.wake(owner, job_id, spec.queue, kind, spec.timeout_s, again=again)
        except redis.RedisError:
            app.logger.warning("no worker was woken for job %s: the next sweep finds it", job_id)


def run(owner: str, job_id: str) -> str:
    """What a worker calls."""
    if _app is None:
        raise LookupError("Start the workers with Jobs.work().")
    with _app.app_context():
        return _run(_app, owner, uuid.UUID(job_id))


@dataclass(frozen=True)
class _Ledger:
    """Writes a claimed job down; see ``extensions/jobs/attempt.py``."""

    state: _State
    claimed: tuple[str, uuid.UUID, int]

    def look(self, renews: bool) -> bool | None:
        rows = self.state.rows
        with self._begin() as connection:
            return (rows.renew if renews else rows.look)(connection, *self.claimed)

    def succeed(self, result: dict[str, Any]) -> None:
        with self._begin() as connection:
            self.state.rows.succeed(connection, *self.claimed, result)

    def fail(self, error: str, *, for_good: bool = False) -> None:
        with self._begin() as connection:
            self.state.rows.fail(connection, *self.claimed, error, for_good=for_good)

    def stop(self) -> None:
        with self._begin() as connection:
            self.state.rows.stop(connection, *self.claimed)

    def put_back(self, wait_s: float = 0) -> None:
        with self._begin() as connection:
            self.state.rows.put_back(connection, *self.claimed, wait_s)

    def _begin(self) -> Any:
        return nullcontext() if self.state.engine is None else self.state.engine.begin()


def _run(app: Flask, owner: str, job_id: uuid.UUID) -> str:
    state: _State = app.extensions[Jobs.name]
    if state.engine is None:
        raise LookupError("Set DATABASE_URL: the jobs are rows in PostgreSQL.")
    with state.engine.begin() as connection:
        row = state.rows.claim(connection, owner, job_id, dt.datetime.now(dt.UTC))
    if row is None or row["status"] != "RUNNING":
        return "SKIPPED"
    spec = state.kinds.get(row["kind"])

    def act(_watch: Watch) -> dict[str, Any]:
        if spec is None:
            raise CodeGone(f"Nothing here knows a job of the kind {row['kind']}: its code is gone.")
        return spec.function(**row["arguments"]) or {}

    timeout_s = spec.timeout_s if spec else 60
    outcome, _ = run_attempt(act, _Ledger(state, (owner, job_id, row["claim"])), timeout_s=timeout_s)
    if not state.runs_here:
        state.queues.done(owner, job_id, row["queue"], outcome)
    return outcome


def _after_commit(session: Session, act: Callable[[], None]) -> None:
    """Run ``act`` when the transaction of ``session`` has committed, and never if it is rolled back."""
    if _WAITING not in session.info:
        event.listen(session, "after_commit", _committed)
        event.listen(session, "after_rollback", _rolled_back)
    session.info.setdefault(_WAITING, []).append(act)


def _committed(session: Session) -> None:
    waiting, session.info[_WAITING] = session.info[_WAITING], []
    for act in waiting:
        act()


def _rolled_back(session: Session) -> None:
    session.info[_WAITING] = []


def _driver_url(url: str) -> str:
    """``url`` with psycopg2 named; platforms give ``postgres://``."""
    for scheme in ("postgres://", "postgresql://"):
        if url.startswith(scheme):
            return "postgresql+psycopg2://" + url.removeprefix(scheme)
    return url
