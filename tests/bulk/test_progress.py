"""How far a bulk job is: told as it goes, and exact at its end."""

from __future__ import annotations

import io
import uuid

import pytest

from haven.bulk import reading
from haven.bulk.reading import about_rows
from haven.operations import jobs
from haven.operations.models import Job
from tests.bulk.test_requests import NDJSON, names
from workers.runner import run_job


@pytest.mark.parametrize(
    "form, data, rows",
    [
        ("CSV", b"Name\nA\nB\n", 2),
        ("CSV", b'Name\n"A\nB"\n', 2),
        ("CSV", b"", 1),
        ("NDJSON", b"{}\n{}\n", 2),
        ("JSON", b'[{"a": "}\\n"}, {}]', 2),
    ],
)
def test_rows_are_counted_by_their_line_ends(form, data, rows):
    assert about_rows(io.BytesIO(data), form) == rows


@pytest.mark.parametrize("mode", ["atomic", "partial"])
@pytest.mark.parametrize("content_type", ["text/csv", NDJSON])
def test_progress_rises_to_the_rows_that_are_there(
    by, send, engine, runtime, monkeypatch, mode, content_type
):
    cells = "".join(f'"Tenant {n}","two\nlines"\n' for n in range(2100))
    data = names(2100) if content_type == NDJSON else f"Name,Notes\n{cells}"
    answer = send("tenants", data, f"?mode={mode}", content_type=content_type)
    told = []
    say = jobs.JobContext.progress

    def heard(context, done, total=None, message=""):
        told.append((done, total))
        say(context, done, total, message)

    monkeypatch.setattr(jobs.JobContext, "progress", heard)
    job_id = uuid.UUID(answer.get_json()["id"])
    assert run_job(runtime, by.agency_id, job_id) == "SUCCEEDED"
    assert told[-1] == (2100, 2100)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert all(done <= total for done, total in told)
    assert len(told) >= 3
    with jobs.job_session(runtime, by.agency_id, "tests") as session:
        job = session.get_one(Job, (by.agency_id, job_id))
        assert (job.progress_done, job.progress_total) == (2100, 2100)


def test_the_rows_of_a_large_file_are_read_once_and_not_on_the_web(by, send, monkeypatch):
    """Only so many as are answered at once are parsed while somebody waits."""
    read = []
    row = reading._row

    def counted(*arguments):
        read.append(1)
        return row(*arguments)

    monkeypatch.setattr(reading, "_row", counted)
    answer = send("tenants", "Name\n" + "Achieng\n" * 50_000)
    assert answer.status_code == 202
    assert len(read) == 1001
