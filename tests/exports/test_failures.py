"""An export that cannot be finished leaves nothing behind, and says why."""

from __future__ import annotations

import resource as limits
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest
from sqlalchemy import text

from haven.db.session import tenant_session
from haven.files.service import scratch
from haven.insight.exports import service
from haven.insight.exports.query import Plan
from haven.insight.exports.writing import FORMATS, Teller
from haven.insight.exports.xlsx import write_xlsx
from haven.operations import jobs
from haven.operations.jobs import Cancelled, job_session
from tests.exports.conftest import AtJobs
from tests.exports.reading import sheets_of
from tests.support.builders import a_tenant, an_agency

MANY = 3_000
_RUNS_IT = """
import sys, uuid
import haven.models
from config import load_settings
from haven.runtime import Runtime
from workers.runner import run_job
print(run_job(Runtime.start(load_settings()), *map(uuid.UUID, sys.argv[1:])))
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


def test_one_that_runs_is_cancelled_within_two_seconds(at_jobs, crowded):
    job_id = asked(at_jobs, crowded, "xlsx")
    runs = threading.Thread(target=at_jobs.run, args=(crowded, job_id))
    runs.start()
    deadline = time.monotonic() + 60
    while at_jobs.job(crowded, job_id).status != "RUNNING":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with job_session(at_jobs.runtime, crowded, "tests") as session:
        jobs.cancel(session, job_id)
    runs.join(60)
    assert at_jobs.job(crowded, job_id).status in ("CANCELLED", "SUCCEEDED")
    if at_jobs.job(crowded, job_id).status == "CANCELLED":
        assert at_jobs.files() == []


def test_a_workbook_goes_on_on_another_sheet(at_jobs, engine):
    agency_id = an_agency(engine)
    for number in range(5):
        a_tenant(engine, agency_id, full_name=f"Tenant {number}")
    with scratch(at_jobs.runtime.settings) as folder, tenant_session(engine, agency_id) as session:
        raw = session.connection().connection.driver_connection
        assert raw is not None
        with raw.cursor() as cursor:
            teller = Teller(lambda *_: None, lambda: None)
            plan = Plan.of("tenants", {"sort": "created_at"})
            assert write_xlsx(cursor, plan, folder / "a.xlsx", teller, max_rows=3) == 5
        sheets = sheets_of(folder / "a.xlsx")
    names = [[row["full_name"] for row in sheet] for sheet in sheets]
    assert names == [["Tenant 0", "Tenant 1"], ["Tenant 2", "Tenant 3"], ["Tenant 4"]]
