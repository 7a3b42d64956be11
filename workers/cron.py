"""``python -m workers.cron``: the clock. Finds what was lost on the way, and does what time brings.

A loop of our own, not RQ's cron scheduler: that one enqueues into Redis and stands still without it, and finding what Redis
lost is what this clock is for. Any number of clocks may run; a lock in PostgreSQL makes one of them the leader, and goes to
another within seconds when the leader dies or loses its connection. Each task has a thread of its own, so that one which hangs
or fails holds up no other.
"""

from __future__ import annotations

import datetime as dt
import os
import signal
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import closing
from typing import Final

import psycopg2
import redis
import structlog
from sqlalchemy import Engine, PoolProxiedConnection, select
from sqlalchemy.exc import SQLAlchemyError

import haven.models  # noqa: F401
from config import load_settings
from extensions.logs import configure_logging
from haven.db.base import PLATFORM
from haven.db.session import tenant_session
from haven.identity.models import Agency
from haven.operations import maintenance
from haven.operations.jobs import due, job_session
from haven.operations.kinds import KINDS
from haven.operations.memory_watch import watch_memory
from haven.runtime import CRON, Runtime, worker_engine
from workers.schedule import LOST_JOBS, TASKS, Task

log = structlog.get_logger(__name__)
_TICK_S: Final = 1.0
_LOCK: Final = 0x48415645
_STOPS_WITHIN_S: Final = 5.0


class Leader:
    """Whether this process is the clock that acts. Holds the lock as long as its connection lives."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: PoolProxiedConnection | None = None
        self.leads = False

    def look(self) -> bool:
        """Take the lock, or make sure that it is still held."""
        try:
            if self._connection is None:
                self._connection = self._engine.raw_connection()
                self._connection.driver_connection.autocommit = True  # type: ignore[union-attr]
            with closing(self._connection.cursor()) as cursor:
                if self.leads:
                    cursor.execute("SELECT true")
                else:
                    cursor.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,))
                self.leads = cursor.fetchone() == (True,)
        except (SQLAlchemyError, psycopg2.Error) as error:
            log.warning("database_unavailable", error=type(error).__name__)
            self.release()
        return self.leads

    def release(self) -> None:
        """Let another clock lead."""
        self.leads = False
        if self._connection is not None:
            # Closed rather than given back: the lock goes with the connection.
            self._connection.invalidate()
            self._connection = None


class Clock:
    """Runs the tasks when they are due, as long as it leads."""

    def __init__(self, runtime: Runtime, tasks: Sequence[Task] = TASKS) -> None:
        self._runtime = runtime
        self._tasks = {task.name: task for task in tasks}
        self._leader = Leader(runtime.engine)
        self._running: dict[str, threading.Thread] = {}

    @property
    def leads(self) -> bool:
        return self._leader.leads

    def tick(self) -> None:
        """Start what is due now; it goes on beside the clock."""
        had_led = self._leader.leads
        if not self._leader.look():
            return
        if not had_led:
            log.info("cron_leads", pid=os.getpid())
        self._running = {name: thread for name, thread in self._running.items() if thread.is_alive()}
        every = {name: task.every_s for name, task in self._tasks.items() if name not in self._running}
        for name in maintenance.begin_due(self._runtime.engine, every):
            thread = threading.Thread(target=self._run, args=(self._tasks[name],), name=name, daemon=True)
            self._running[name] = thread
            thread.start()

    def finish(self, within_s: float = _STOPS_WITHIN_S) -> None:
        """Wait for what runs, and let another clock lead."""
        ends_at = time.monotonic() + within_s
        for thread in list(self._running.values()):
            thread.join(max(ends_at - time.monotonic(), 0.0))
        self._leader.release()

    def _run(self, task: Task) -> None:
        moved, faults = 0, list[str]()
        try:
            if task.act_once is not None:
                moved = task.act_once(self._runtime)
            else:
                for agency_id in self._agencies():
                    if not self._leader.leads:
                        return
                    moved += self._serve(task, agency_id, faults)
        except Exception as error:  # it is shown with the task, and the task comes again
            log.exception("cron_task_failed", task=task.name)
            faults.append(f"{type(error).__name__}: {error}")
        if moved:
            log.info("cron_task", task=task.name, rows=moved)
        try:
            maintenance.finish(self._runtime.engine, task.name, moved, faults)
        except SQLAlchemyError as error:
            log.warning("cron_task_not_written_down", task=task.name, error=type(error).__name__)

    def _serve(self, task: Task, agency_id: uuid.UUID, faults: list[str]) -> int:
        now = dt.datetime.now(dt.UTC)
        try:
            if task.name == LOST_JOBS:
                return self._sweep(agency_id, now)
            if task.act is None:
                return 0
            with job_session(self._runtime, agency_id, f"cron:{task.name}") as session:
                return task.act(session, now)
        except Exception as error:  # the other agencies have theirs
            log.exception("cron_task_failed", task=task.name, agency_id=str(agency_id))
            faults.append(f"agency {agency_id}: {type(error).__name__}: {error}")
            return 0

    def _sweep(self, agency_id: uuid.UUID, now: dt.datetime) -> int:
        """Wake workers for the agency's jobs that nobody may be coming for."""
        with job_session(self._runtime, agency_id, "cron:sweep") as session:
            found = due(session, now)
        for job_id, kind in found:
            self._wake(agency_id, job_id, kind)
        return len(found)

    def _wake(self, agency_id: uuid.UUID, job_id: uuid.UUID, kind: str) -> None:
        if not self._runtime.settings.enable_job_queue:
            self._runtime.wake(agency_id, job_id, kind)
            return
        spec = KINDS[kind]
        try:
            self._runtime.queues.wake(str(agency_id), job_id, spec.queue, kind, spec.timeout_s, again=True)
        except redis.RedisError as error:
            log.warning("worker_not_woken", job_id=str(job_id), kind=kind, error=type(error).__name__)

    def _agencies(self) -> list[uuid.UUID]:
        with tenant_session(self._runtime.engine, PLATFORM, "cron", is_platform=True) as session:
            return list(session.execute(select(Agency.id)).scalars())


def main() -> None:
    """Tick until a SIGTERM."""
    settings = load_settings()
    configure_logging(settings.log_level)
    engine = worker_engine(settings, settings.database_url, CRON, overflow=len(TASKS) + 2)
    clock = Clock(Runtime.start(settings, engine))
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    watch_memory(settings, "clock", os.getpid())
    log.info("cron_started", tasks=[task.name for task in TASKS])
    while not stopped.wait(_TICK_S):
        try:
            clock.tick()
        except SQLAlchemyError as error:
            log.warning("database_unavailable", error=type(error).__name__)
    clock.finish()


if __name__ == "__main__":
    main()
