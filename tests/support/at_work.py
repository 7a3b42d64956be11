"""Workers and clocks as processes, over a database and a Valkey of a test module's own, to be killed at will."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg2
from sqlalchemy import Engine, create_engine, text

from config import Settings, load_settings
from haven.db.migrate import sqlalchemy_url
from haven.db.prepare import APP_ROLE, OWNER_ROLE
from haven.operations import jobs
from haven.operations.kinds import KINDS
from haven.operations.models import Job
from haven.runtime import Runtime
from tests.support.builders import an_agency
from tests.support.job_kinds import KINDS_OF_TESTS
from tests.support.own_valkey import OwnValkey, own_valkey

CHECKOUT = Path(__file__).resolve().parents[2]


class AtWork:
    """One agency's jobs, and whoever works on them."""

    def __init__(self, environ: dict[str, str], valkey: OwnValkey, folder: Path) -> None:
        KINDS.update(KINDS_OF_TESTS)
        self.environ = environ
        self.valkey = valkey
        self.settings: Settings = load_settings(environ)
        self.engine: Engine = create_engine(sqlalchemy_url(self.settings.database_url), pool_size=5)
        self.runtime = Runtime.start(self.settings, self.engine)
        self.agency = an_agency(self.engine)
        self.log = folder / "processes.log"
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, what: str, **environ: str) -> subprocess.Popen[bytes]:
        """``workers`` or ``cron``, with some settings of its own."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.job_kinds", what],
                env={**os.environ, **self.environ, **environ},
                cwd=CHECKOUT,
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        return process

    def submit(self, kind: str, agency: uuid.UUID | None = None, **options: Any) -> uuid.UUID:
        with jobs.job_session(self.runtime, agency or self.agency, "user:tests") as session:
            return jobs.submit(session, kind, {}, **options)

    def row(self, job_id: uuid.UUID, agency: uuid.UUID | None = None) -> Job:
        agency = agency or self.agency
        with jobs.job_session(self.runtime, agency, "tests") as session:
            found = session.get(Job, (agency, job_id))
            assert found is not None
            return found

    def wait(
        self, job_id: uuid.UUID, *statuses: str, for_s: float = 60, agency: uuid.UUID | None = None
    ) -> Job:
        """The job once it has one of these statuses."""
        self.wait_until(lambda: self.row(job_id, agency).status in statuses, for_s)
        return self.row(job_id, agency)

    def wait_until(self, is_so: Callable[[], bool], for_s: float = 60) -> None:
        deadline = time.monotonic() + for_s
        while not is_so():
            assert time.monotonic() < deadline, self.log.read_text()[-6000:]
            time.sleep(0.05)

    def cancel(self, job_id: uuid.UUID) -> dt.datetime:
        """Cancel a job; when, by the database's clock."""
        with jobs.job_session(self.runtime, self.agency, "user:tests") as session:
            jobs.cancel(session, job_id)
            found: dt.datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
        return found

    def effects(self, job_id: uuid.UUID) -> int:
        with self.engine.connect() as connection:
            found = connection.execute(
                text("SELECT count(*) FROM test_effect WHERE job_id = :id"), {"id": job_id}
            )
            return int(found.scalar_one())

    def children(self, process: subprocess.Popen[bytes]) -> list[psutil.Process]:
        try:
            return psutil.Process(process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def workers_of(self, process: subprocess.Popen[bytes]) -> list[psutil.Process]:
        """The workers of a pool, without their horses."""
        try:
            return psutil.Process(process.pid).children()
        except psutil.NoSuchProcess:
            return []

    def stop(self) -> None:
        """End every process, with what it started."""
        for process in self._processes:
            for each in self.children(process):
                kill(each.pid)
            process.kill()
            process.wait()
        self._processes.clear()

    def close(self) -> None:
        self.stop()
        self.engine.dispose()


def kill(pid: int) -> None:
    """End a process now, if it is there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@contextmanager
def at_work(addresses: Any, name: str, environ: dict[str, str], folder: Path) -> Iterator[AtWork]:
    """Everything but the processes, in a new database ``name``."""
    addresses.new_database(name)
    owner_url = addresses.database_url(OWNER_ROLE, name)
    connection = psycopg2.connect(owner_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE test_effect (job_id uuid NOT NULL)")
    connection.close()
    with own_valkey(folder / "valkey") as valkey:
        mine = {
            **environ,
            "DATABASE_URL": addresses.database_url(APP_ROLE, name),
            "DATABASE_OWNER_URL": owner_url,
            "REDIS_URL": valkey.url,
            "JOB_QUEUE_REDIS_DB": "1",
            "REDIS_TIMEOUT": "2000",
            "WORKER_PROCESSES": "2",
            "WORKER_PROCESSES_MAX": "2",
        }
        there = AtWork(mine, valkey, folder)
        try:
            yield there
        finally:
            there.close()
