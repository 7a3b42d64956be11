"""What was sent goes when nobody can need it any more, and not before."""

from __future__ import annotations

import datetime as dt
import io

import pytest
from sqlalchemy import func, select, update

from haven.bulk import running
from haven.bulk.leftovers import remove_uploads
from haven.bulk.models import BulkPiece, BulkUpload
from haven.operations import jobs
from haven.operations.models import Job
from tests.support.builders import an_agency

NOW = dt.datetime.now(dt.UTC)


def ago(days):
    return None if days is None else NOW - dt.timedelta(days=days)


@pytest.mark.parametrize(
    "sent, done, status, ended, is_removed",
    [
        (2, 1.1, "SUCCEEDED", 1.1, True),
        (2, 0.9, "SUCCEEDED", 0.9, False),
        (2, 1.1, "RUNNING", None, False),
        (8, None, "FAILED", 7.1, True),
        (8, None, "CANCELLED", 7.1, True),
        (8, None, "FAILED", 6.9, False),
        (8, None, "CANCELLED", 6.9, False),
        (99, None, "QUEUED", None, False),
        (99, None, "RUNNING", None, False),
        (7.1, None, None, None, True),
        (6.9, None, None, None, False),
    ],
)
def test_an_upload_goes_in_its_time(runtime, sent, done, status, ended, is_removed):
    agency = an_agency(runtime.engine)
    order = running.Order("tenants", "CREATE", "ATOMIC", "CSV", is_dry_run=False)
    with jobs.job_session(runtime, agency, "tests") as session:
        upload_id = running.keep(session, order, io.BytesIO(b"Name\nAchieng\n"))
        session.execute(update(BulkUpload).values(created_at=ago(sent), finished_at=ago(done)))
        if status is not None:
            jobs.submit(session, "bulk_apply", {"upload_id": str(upload_id)})
            session.execute(update(Job).values(status=status, finished_at=ago(ended)))
    with jobs.job_session(runtime, an_agency(runtime.engine), "tests") as session:
        assert remove_uploads(session, NOW) == 0
    with jobs.job_session(runtime, agency, "tests") as session:
        assert remove_uploads(session, NOW) == is_removed
        left = session.execute(select(func.count()).select_from(BulkPiece)).scalar_one()
        assert left == 1 - is_removed
