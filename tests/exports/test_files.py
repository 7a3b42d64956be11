"""Files are kept whole, fetched by their link alone, and gone when their time is over."""

from __future__ import annotations

import datetime as dt
import errno
import hashlib
import os
import time
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

from haven.errors import Forbidden, NotFound, Unavailable
from haven.files import links, service, storage
from haven.files.storage import StorageFull, no_room
from haven.operations.jobs import job_session
from haven.operations.models import Job
from tests.exports.conftest import AtJobs
from tests.support.builders import an_agency

KEY = "a key that is used in tests and nowhere else"
LATER = dt.datetime(2099, 1, 1, tzinfo=dt.UTC)
NOW = dt.datetime(2026, 11, 25, tzinfo=dt.UTC)


def kept(at_jobs: AtJobs, context, filename="makao-payments.csv", content=b"0123456789"):
    with service.scratch(at_jobs.runtime.settings) as folder:
        (folder / "out").write_bytes(content)
        return service.keep(context, folder / "out", filename, "text/csv; charset=utf-8")


@pytest.fixture
def at_app(app, at_jobs) -> AtJobs:
    """The folder that the application reads."""
    return at_jobs.with_settings(export_dir=app.extensions["haven"].settings.export_dir)


def test_a_file_is_kept_whole_and_its_scratch_is_gone(at_jobs, engine):
    agency_id = an_agency(engine)
    file = kept(at_jobs, at_jobs.a_context(agency_id))

    assert file["filename"] == "makao-payments.csv"
    assert file["size_bytes"] == 10
    assert file["sha256"] == hashlib.sha256(b"0123456789").hexdigest()
    assert [path.name for path in at_jobs.files()] == ["makao-payments.csv"]
    with job_session(at_jobs.runtime, agency_id, "tests") as session:
        row = service.find(session, "makao-payments.csv", NOW)
        assert b"".join(service.read(at_jobs.runtime.settings, row, 2, 3)) == b"234"
        days = (row.expires_at - row.created_at).total_seconds() / 86400
    assert 6.99 < days <= 7


def test_two_jobs_never_have_one_name_and_a_job_that_runs_again_has_one_file(at_jobs, engine):
    agency_id = an_agency(engine)
    first, second = at_jobs.a_context(agency_id), at_jobs.a_context(agency_id)

    assert kept(at_jobs, first)["filename"] == "makao-payments.csv"
    assert kept(at_jobs, second)["filename"] == "makao-payments-2.csv"
    again = kept(at_jobs, second, content=b"other bytes")

    assert again["filename"] == "makao-payments-2.csv"
    assert sorted(path.read_bytes() for path in at_jobs.files()) == [b"0123456789", b"other bytes"]
    other = an_agency(engine)
    assert kept(at_jobs, at_jobs.a_context(other))["filename"] == "makao-payments.csv"


def test_what_the_storage_does_not_take_leaves_no_row(at_jobs, engine):
    agency_id = an_agency(engine)
    (at_jobs.folder / "files").parent.mkdir(parents=True, exist_ok=True)
    (at_jobs.folder / "files").write_text("in the way")

    with pytest.raises(Unavailable):
        kept(at_jobs, at_jobs.a_context(agency_id))

    with job_session(at_jobs.runtime, agency_id, "tests") as session, pytest.raises(NotFound):
        service.find(session, "makao-payments.csv", NOW)
    assert [path.name for path in at_jobs.files()] == ["files"]


def test_bytes_that_arrived_though_the_storage_failed_are_removed(at_jobs, engine, monkeypatch):
    def fails_for_folders(path, sync=storage._sync):
        if path.is_dir():
            raise OSError(errno.EIO, "Input/output error")
        sync(path)

    monkeypatch.setattr(storage, "_sync", fails_for_folders)
    with pytest.raises(Unavailable):
        kept(at_jobs, at_jobs.a_context(an_agency(engine)))
    assert at_jobs.files() == []


def test_what_a_storage_that_is_away_may_have_is_removed_when_its_time_is_over(at_jobs, engine, monkeypatch):
    agency_id = an_agency(engine)

    def away(*_):
        raise Unavailable("The storage is away.")

    def arrives_and_fails(self, path, key, put=storage.Folder.put):
        put(self, path, key)
        away()

    with monkeypatch.context() as broken:
        broken.setattr(storage.Folder, "put", arrives_and_fails)
        broken.setattr(storage.Folder, "delete", away)
        with pytest.raises(Unavailable):
            kept(at_jobs, at_jobs.a_context(agency_id))

    assert len(at_jobs.files()) == 1
    with job_session(at_jobs.runtime, agency_id, "tests") as session:
        assert service.remove_expired(session, LATER) == 1
    assert at_jobs.files() == []


def test_expired_files_go_with_their_bytes(at_jobs, engine):
    agency_id = an_agency(engine)
    kept(at_jobs, at_jobs.a_context(agency_id))
    soon = dt.datetime.now(dt.UTC)

    with job_session(at_jobs.runtime, agency_id, "tests") as session:
        assert service.remove_expired(session, soon + dt.timedelta(days=6)) == 0
    assert len(at_jobs.files()) == 1
    with job_session(at_jobs.runtime, agency_id, "tests") as session:
        assert service.remove_expired(session, soon + dt.timedelta(days=8)) == 1
        assert service.remove_expired(session, soon + dt.timedelta(days=8)) == 0
    assert at_jobs.files() == []


def test_what_a_dead_process_was_making_is_removed_and_what_a_live_one_makes_is_not(at_jobs):
    settings = at_jobs.runtime.settings
    dead = at_jobs.folder / "scratch" / "job-dead"
    dead.mkdir(parents=True)
    (dead / "part").write_text("half")
    old = time.time() - 3600
    os.utime(dead, (old, old))

    with service.scratch(settings) as live:
        (live / "part").write_text("half")
        os.utime(live, (old, old))
        assert not dead.exists()
        with service.scratch(settings):
            assert (live / "part").exists()
    assert at_jobs.files() == []


def test_a_full_disk_is_said_in_words():
    full = no_room(OSError(errno.ENOSPC, "No space left on device"))
    assert isinstance(full, StorageFull)
    assert "No space left on device" in str(full)
    assert no_room(OSError(errno.EACCES, "Permission denied")) is None


@pytest.mark.parametrize("place", range(0, 75, 7))
def test_no_changed_token_opens_a_file(engine, place):
    agency_id = an_agency(engine)
    token = links.link(KEY, agency_id, "a.csv", LATER).partition("token=")[2]
    assert links.agency_of(KEY, token, "a.csv", NOW) == agency_id

    other = "A" if token[place] != "A" else "B"
    with pytest.raises(Forbidden):
        links.agency_of(KEY, token[:place] + other + token[place + 1 :], "a.csv", NOW)


@pytest.mark.parametrize("token", ["", "x", "é", "====", "A" * 75, "A" * 76, "\x00"])
def test_no_token_from_nowhere_opens_a_file(token):
    with pytest.raises(Forbidden):
        links.agency_of(KEY, token, "a.csv", NOW)


def test_a_token_is_of_one_file_one_key_and_one_time(engine):
    agency_id = an_agency(engine)
    ends = NOW + dt.timedelta(hours=1)
    token = links.link(KEY, agency_id, "a.csv", ends).partition("token=")[2]
    for key, name, now in ((KEY, "b.csv", NOW), (KEY[::-1], "a.csv", NOW), (KEY, "a.csv", ends)):
        with pytest.raises(Forbidden):
            links.agency_of(key, token, name, now)


def test_the_link_fetches_the_file_without_a_sign_in(at_app, engine, client):
    file = kept(at_app, at_app.a_context(an_agency(engine)))

    answer = client.get(file["url"])

    assert (answer.status_code, answer.data) == (200, b"0123456789")
    assert answer.headers["ETag"] == f'"{file["sha256"]}"'
    assert answer.headers["Content-Length"] == "10"
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert 'filename="makao-payments.csv"' in answer.headers["Content-Disposition"]
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert client.head(file["url"]).headers["Content-Length"] == "10"
    assert client.get(file["url"], headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304


def test_whoever_asks_for_the_head_alone_leaves_no_open_file(at_app, engine, client):
    file = kept(at_app, at_app.a_context(an_agency(engine)))
    where = [str(one) for one in at_app.files()]
    for _ in range(3):
        client.head(file["url"])
    opened = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of this very listing
            opened.add(os.readlink(descriptor))
    assert not set(where) & opened


@pytest.mark.parametrize(
    "asked, status, data, content_range",
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=0-9", 200, b"0123456789", None),
        ("bytes=-99", 200, b"0123456789", None),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=-0", 200, b"0123456789", None),
        ("bytes=0-1,4-5", 200, b"0123456789", None),
        ("bytes=5-2", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("nonsense", 200, b"0123456789", None),
    ],
)
def test_ranges(at_app, engine, client, asked, status, data, content_range):
    file = kept(at_app, at_app.a_context(an_agency(engine)))
    answer = client.get(file["url"], headers={"Range": asked})
    assert (answer.status_code, answer.data) == (status, data)
    assert answer.headers.get("Content-Range") == content_range


def test_a_range_of_another_file_is_the_whole_file(at_app, engine, client):
    file = kept(at_app, at_app.a_context(an_agency(engine)))
    ranged = {"Range": "bytes=2-3"}
    assert client.get(file["url"], headers=ranged | {"If-Range": f'"{file["sha256"]}"'}).data == b"23"
    for other in ('"other"', f'W/"{file["sha256"]}"', "Wed, 25 Nov 2026 12:00:00 GMT"):
        assert client.get(file["url"], headers=ranged | {"If-Range": other}).status_code == 200


def test_an_empty_file_is_fetched(at_app, engine, client):
    file = kept(at_app, at_app.a_context(an_agency(engine)), content=b"")
    assert (client.get(file["url"]).status_code, client.get(file["url"]).data) == (200, b"")
    assert client.get(file["url"], headers={"Range": "bytes=0-1"}).status_code == 200


def test_no_link_of_another_file_or_agency_is_good(at_app, engine, client):
    mine = kept(at_app, at_app.a_context(an_agency(engine)), "mine.csv")
    theirs = kept(at_app, at_app.a_context(an_agency(engine)), "theirs.csv")
    token = mine["url"].partition("?")[2]

    for url in (
        f"/api/v1/exports/download/theirs.csv?{token}",
        "/api/v1/exports/download/mine.csv",
        "/api/v1/exports/download/mine.csv?token=",
        f"/api/v1/exports/download/..%2Fmine.csv?{token}",
    ):
        answer = client.get(url)
        assert answer.status_code in (403, 404), url
        assert answer.content_type == "application/problem+json"
    assert client.get(theirs["url"]).status_code == 200


def test_a_good_link_of_a_file_that_is_gone_is_404(at_app, engine, client):
    agency_id = an_agency(engine)
    file = kept(at_app, at_app.a_context(agency_id))
    for path in at_app.files():
        if str(agency_id) in str(path):
            path.unlink()
    assert client.get(file["url"]).status_code == 404


def test_exports_are_listed_to_those_who_may_read_what_is_in_them(at_app, engine, client, caller_of):
    admin = caller_of()
    ended = at_app.a_context(admin.agency_id)
    file = kept(at_app, ended)
    at_app.end(ended)
    kept(at_app, at_app.a_context(an_agency(engine)), "theirs.csv")

    (listed,) = admin.get("/exports").get_json()["data"]

    assert (listed["filename"], listed["status"]) == ("makao-payments.csv", "SUCCEEDED")
    assert listed["sha256"] == file["sha256"]
    assert client.get(listed["url"]).data == b"0123456789"
    narrow = caller_of("AGENCY_ADMIN", admin.agency_id, ("exports:read", "tenants:read"))
    assert narrow.get("/exports").get_json()["data"] == []


def test_exports_that_wait_run_or_have_failed_are_listed_with_their_job(at_app, caller_of):
    admin = caller_of()
    waiting = admin.post("/exports/payments", {"format": "csv"}).get_json()
    running = at_app.a_context(admin.agency_id)
    kept(at_app, running, "not-yet.csv")
    broken = admin.post("/exports/units", {"format": "csv"}).get_json()
    with job_session(at_app.runtime, admin.agency_id, "tests") as session:
        job = session.get_one(Job, (admin.agency_id, uuid.UUID(broken["id"])))
        job.status, job.error = "FAILED", "There is no room for the file"
        job = session.get_one(Job, (admin.agency_id, running.job_id))
        job.progress_done, job.progress_total, job.progress_message = 3, 12, "Writing"

    rows = {row["id"]: row for row in admin.get("/exports").get_json()["data"]}

    assert list(rows) == [broken["id"], str(running.job_id), waiting["id"]]
    assert rows[waiting["id"]]["status"] == "QUEUED"
    assert rows[waiting["id"]]["job"] == f"/api/v1/jobs/exports/{waiting['id']}"
    assert (rows[waiting["id"]]["resource"], rows[waiting["id"]]["url"]) == ("payments", None)
    shown = rows[str(running.job_id)]
    assert shown["progress"] == {"done": 3, "total": 12, "percent": 25, "message": "Writing"}
    assert (shown["status"], shown["filename"], shown["url"]) == ("RUNNING", None, None)
    assert rows[broken["id"]]["error"] == "There is no room for the file"
    assert [one["id"] for one in admin.get("/exports?status=FAILED").get_json()["data"]] == [broken["id"]]
    assert admin.get(rows[waiting["id"]]["job"].removeprefix("/api/v1")).status_code == 200


def test_an_export_whose_file_is_gone_is_listed_no_more(at_app, caller_of):
    admin = caller_of()
    ended = at_app.a_context(admin.agency_id)
    kept(at_app, ended)
    at_app.end(ended)
    with job_session(at_app.runtime, admin.agency_id, "tests") as session:
        assert service.remove_expired(session, LATER) == 1
    assert admin.get("/exports").get_json()["data"] == []
