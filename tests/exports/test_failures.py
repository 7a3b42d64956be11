"""An export that cannot be finished leaves nothing behind, and says why."""

from __future__ import annotations

import resource as limits
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from haven.db.session import tenant_session
from haven.files.service import scratch
from haven.files.storage import StorageFull
from haven.insight.exports import service
from haven.insight.exports.query import Plan
from haven.insight.exports.writing import FORMATS, Teller, write
from haven.operations import jobs
from haven.operations.jobs import Cancelled, job_session
from tests.exports.conftest import AtJobs
from tests.support.builders import an_agency

MANY = 3_000
_RUNS_IT = """
import sys, uuid
import haven.models
from config import load_settings
from haven.runtime import Runtime
from workers.runner import run_job
print(run_job(Runtime.start(load_settings()), *map(uuid.UUID, sys.argv[1:])))
"""
_WAITS_IN_POSTGRESQL = """
import sys
import haven.models
from haven.insight.exports import query
sql_of = query.sql_of
query.sql_of = lambda *both: f"SELECT * FROM ({sql_of(*both)}) r WHERE pg_sleep(60) IS NOT NULL"
from workers.runner import run
run(*sys.argv[1:])
"""


@pytest.fixture(scope="module")
def crowded(engine) -> uuid.UUID:
    """An agency with some thousand tenants, of whom there is much to say."""
    agency_id = an_agency(engine)
    with tenant_session(engine, agency_id) as session:
        session.execute(
            text(
                "INSERT INTO tenant (agency_id, id, full_name, notes, status)"
                " SELECT :agency_id, uuidv7(), 'Tenant ' || n, (SELECT string_agg(md5((n * 50 + m)::text), ' ')"
                " FROM generate_series(1, 50) m), 'ACTIVE' FROM generate_series(1, :many) n"
            ),
            {"agency_id": agency_id, "many": MANY},
        )
    return agency_id


def asked(at: AtJobs, agency_id: uuid.UUID, form: str) -> uuid.UUID:
    with job_session(at.runtime, agency_id, "tests") as session:
        session.info["wake"] = None
        return service.request(session, "tenants", form, {})


@pytest.mark.parametrize("form", FORMATS)
def test_a_full_disk_fails_the_job_in_words_and_leaves_no_part(at_jobs, environ, crowded, form):
    job_id = asked(at_jobs, crowded, form)
    most = 300_000

    done = subprocess.run(
        [sys.executable, "-c", _RUNS_IT, str(crowded), str(job_id)],
        env={**environ, "EXPORT_DIR": str(at_jobs.folder), "MAX_JOB_ATTEMPTS": "1"},
        cwd=Path(__file__).parents[2],
        preexec_fn=lambda: limits.setrlimit(limits.RLIMIT_FSIZE, (most, most)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert "FAILED" in done.stdout, done.stderr[-2000:]
    assert "There is no room for the file" in (at_jobs.job(crowded, job_id).error or "")
    assert at_jobs.files() == []


@pytest.mark.parametrize("form", FORMATS)
def test_a_cancelled_export_leaves_nothing_and_its_connections_are_good(at_jobs, crowded, form, monkeypatch):
    job_id = asked(at_jobs, crowded, form)
    monkeypatch.setattr(Teller, "rows", lambda *_: (_ for _ in ()).throw(Cancelled))

    job = at_jobs.run(crowded, job_id)

    assert job.status == "CANCELLED"
    assert at_jobs.files() == []
    monkeypatch.undo()
    assert at_jobs.run(crowded, asked(at_jobs, crowded, form)).status == "SUCCEEDED"


@pytest.mark.parametrize("form", FORMATS)
def test_one_that_waits_for_postgresql_is_cancelled_at_once(at_jobs, environ, crowded, engine, form):
    """As a work horse runs it: the statement is in flight, not a byte has come, and nobody asks whether to go on."""
    job_id = asked(at_jobs, crowded, form)
    horse = subprocess.Popen(
        [sys.executable, "-c", _WAITS_IN_POSTGRESQL, str(crowded), str(job_id)],
        env={**environ, "EXPORT_DIR": str(at_jobs.folder)},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: asleep(engine))
        with job_session(at_jobs.runtime, crowded, "tests") as session:
            jobs.cancel(session, job_id)
        began = time.monotonic()
        until(lambda: at_jobs.job(crowded, job_id).status == "CANCELLED")
        took_s = time.monotonic() - began
        until(lambda: not asleep(engine))
        horse.wait(30)
    finally:
        horse.kill()
        horse.wait()
    # Two seconds on a machine that has time; the statement would sleep for sixty.
    assert took_s < 20
    assert at_jobs.files() == []


def until(is_so) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def asleep(engine: Engine) -> bool:
    """Whether PostgreSQL runs the export's statement."""
    found = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    )
    with engine.connect() as connection:
        return connection.execute(found).scalar_one() > 0


@pytest.mark.parametrize("form", FORMATS)
def test_a_disk_without_room_is_said_in_words(at_jobs, engine, crowded, form, tmp_path):
    """The kernel's own answer of a full disk (ENOSPC), in the middle of the rows."""
    full = tmp_path / f"full.{form}"
    full.symlink_to("/dev/full")
    plan, teller = Plan.of("tenants", {}), Teller(lambda *_: None, lambda: None)
    with (
        pytest.raises(StorageFull, match="No space left on device"),
        scratch(at_jobs.runtime.settings),
        tenant_session(engine, crowded) as session,
    ):
        write(session, plan, full, form, teller)
    assert at_jobs.files() == []
    assert {path.name for path in tmp_path.iterdir()} <= {full.name, "full.errors", "exports"}
