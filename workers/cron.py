"""``python -m workers.cron``: the clock. Finds what was lost on the way, and does what time brings.

A loop of our own, not RQ's cron scheduler: that one enqueues into Redis and stands still without it, and finding what Redis
lost is what this clock is for. Two clocks may run; a lock in PostgreSQL lets one of them act.
"""

from __future__ import annotations

import datetime as dt
import signal
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

import haven.models  # noqa: F401
from config import load_settings
from extensions.logs import configure_logging
from haven.billing import service as billing
from haven.db.base import PLATFORM
from haven.db.session import tenant_session
from haven.identity.models import Agency
from haven.insight.reports import service as reports
from haven.leasing import service as leasing
from haven.notifications.reminders import tell_of_invoices
from haven.operations import cache, maintenance
from haven.operations.jobs import due, job_session
from haven.payments import service as payments
from haven.runtime import CRON, Runtime, worker_engine

log = structlog.get_logger(__name__)
_TICK_S: Final = 1.0
_LOCK: Final = 0x48415645


@dataclass(frozen=True, slots=True)
class Task:
    """Something to do for each agency every ``every_s`` seconds; it says how many rows it moved."""

    name: str
    every_s: int
    act: Callable[[Session, dt.datetime], int]


TASKS: Final = (
    Task("mpesa_queries", 5, payments.submit_due_queries),
    Task("mpesa_silent_pushes", 30, payments.settle_silent_pushes),
    Task("mpesa_orphans", 15, payments.submit_orphaned_callbacks),
    Task("mpesa_pulls", 60, payments.submit_due_pulls),
    Task("overdue_invoices", 300, payments.mark_overdue_invoices),
    Task("past_leases", 300, leasing.end_past_leases),
    Task("late_fees", 300, billing.request_late_fees),
    Task("books", 900, billing.request_nightly),
    Task("invoice_notices", 60, tell_of_invoices),
    Task("reports", 30, reports.submit_due),
    Task("expired_reports", 3600, reports.remove_expired),
    Task("cache_warm", 300, cache.keep_warm),
    Task("expired_rows", 3600, maintenance.remove_expired),
)


class Clock:
    """Runs the tasks when they are due."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._next = {task.name: 0.0 for task in TASKS}
        self._next_sweep = 0.0

    def tick(self) -> None:
        """Do what is due now, for every agency."""
        now = time.monotonic()
        tasks = [task for task in TASKS if self._next[task.name] <= now]
        sweeps = self._next_sweep <= now
        if not tasks and not sweeps:
            return
        with self._runtime.engine.connect() as lock:
            if not lock.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}).scalar_one():
                return
            try:
                for agency_id in self._agencies():
                    self._serve(agency_id, tasks, sweeps=sweeps)
            finally:
                lock.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
        for task in tasks:
            self._next[task.name] = now + task.every_s
        if sweeps:
            self._next_sweep = now + 2

    def _agencies(self) -> list[uuid.UUID]:
        with tenant_session(self._runtime.engine, PLATFORM, "cron", is_platform=True) as session:
            return list(session.execute(select(Agency.id)).scalars())

    def _serve(self, agency_id: uuid.UUID, tasks: list[Task], *, sweeps: bool) -> None:
        now = dt.datetime.now(dt.UTC)
        for task in tasks:
            try:
                with job_session(self._runtime, agency_id, f"cron:{task.name}") as session:
                    moved = task.act(session, now)
            except SQLAlchemyError:
                log.exception("cron_task_failed", task=task.name, agency_id=str(agency_id))
                continue
            if moved:
                log.info("cron_task", task=task.name, agency_id=str(agency_id), rows=moved)
        if sweeps:
            with job_session(self._runtime, agency_id, "cron:sweep") as session:
                found = due(session, now)
            for job_id, kind in found:
                self._runtime.wake(agency_id, job_id, kind)


def main() -> None:
    """Tick until a SIGTERM."""
    settings = load_settings()
    configure_logging(settings.log_level)
    clock = Clock(Runtime.start(settings, worker_engine(settings, settings.database_url, CRON)))
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    log.info("cron_started", tasks=[task.name for task in TASKS])
    while not stopped.wait(_TICK_S):
        try:
            clock.tick()
        except SQLAlchemyError as error:
            log.warning("database_unavailable", error=type(error).__name__)


if __name__ == "__main__":
    main()
