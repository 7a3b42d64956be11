"""Bulk jobs in real work horses that are killed or cancelled in the middle: each row is there once, or none is."""

from __future__ import annotations

import datetime as dt
import io
import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import func, select, text

from haven.bulk import running
from haven.bulk.models import BulkUpload
from haven.identity.models import AuditEntry
from haven.operations import jobs
from haven.portfolio.models import Property
from tests.support.at_work import AtWork, kill
from tests.support.builders import an_agency

pytestmark = pytest.mark.xdist_group("job_workers")
ROWS = 3000
HELD = 2500
"""The row at which a job waits: in the second batch of all or nothing."""
log = logging.getLogger(__name__)


@pytest.fixture(scope="module", autouse=True)
def workers(work):
    started = work.start("workers")
    work.start("cron")
    work.wait(work.submit("t_empty"), "SUCCEEDED")
    return started


@pytest.fixture
def agency(work):
    return an_agency(work.engine)


def send(work: AtWork, agency: uuid.UUID, mode: str) -> uuid.UUID:
    lines = "".join(f"House {n},H{n},HOUSE\n" for n in range(ROWS))
    order = running.Order("properties", "CREATE", mode, "CSV", is_dry_run=False)
    with jobs.job_session(work.runtime, agency, "user:tests") as session:
        upload_id = running.keep(session, order, io.BytesIO(f"Name,Code,Kind\n{lines}".encode()))
        return jobs.submit(session, "bulk_apply", {"upload_id": str(upload_id)})


@contextmanager
def held_in_the_middle(work: AtWork, agency: uuid.UUID, mode: str) -> Iterator[uuid.UUID]:
    """A job that waits at row ``HELD`` for the end of the block: somebody is making a property of the same code."""
    with jobs.job_session(work.runtime, agency, "tests") as session:
        session.add(Property(agency_id=agency, name="x", code=f"H{HELD}", kind="HOUSE"))
        session.flush()
        # Not pg_stat_activity: a transaction sees that as it was at the first look.
        waiting = text(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND transactionid = pg_current_xact_id()::xid"
        )
        job_id = send(work, agency, mode)
        work.wait_until(lambda: session.execute(waiting).scalar_one() > 0)
        yield job_id
        session.rollback()


def houses(work: AtWork, agency: uuid.UUID) -> tuple[int, int]:
    """Properties, and entries of the audit trail that say one was made."""
    made = select(func.count()).where(AuditEntry.entity == "property", AuditEntry.action == "INSERT")
    with jobs.job_session(work.runtime, agency, "tests") as session:
        there = session.execute(select(func.count()).select_from(Property)).scalar_one()
        return there, session.execute(made).scalar_one()


@pytest.mark.parametrize("mode, kept", [("PARTIAL", HELD), ("ATOMIC", 0)])
def test_a_killed_work_horse_leaves_each_row_once(work, workers, agency, mode, kept):
    with held_in_the_middle(work, agency, mode) as job_id:
        horses = [child for child in work.children(workers) if child.ppid() != workers.pid]
        assert horses
        for horse in horses:
            kill(horse.pid)
        assert houses(work, agency) == (kept, kept)
    job = work.wait(job_id, "SUCCEEDED", agency=agency)
    assert job.claim > 1
    assert (job.result["succeeded"], job.result["failed"]) == (ROWS, 0)
    assert houses(work, agency) == (ROWS, ROWS)


def test_a_cancelled_whole_leaves_nothing_though_its_statement_waits(work, agency):
    with held_in_the_middle(work, agency, "ATOMIC") as job_id:
        asked = dt.datetime.now(dt.UTC)
        with jobs.job_session(work.runtime, agency, "user:tests") as session:
            jobs.cancel(session, job_id)
        job = work.wait(job_id, "CANCELLED", agency=agency)
        log.info("cancelled after %.2f s", (job.finished_at - asked).total_seconds())
    assert job.attempts == 1
    assert houses(work, agency) == (0, 0)
    with jobs.job_session(work.runtime, agency, "tests") as session:
        assert session.execute(select(BulkUpload.finished_at)).scalar_one() is None
