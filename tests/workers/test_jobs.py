"""A job is its row: claimed once, taken over, retried, cancelled, found again."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
from sqlalchemy import update

from haven.crypto import Vault
from haven.db.session import tenant_session
from haven.errors import Conflict
from haven.operations import jobs
from haven.operations.kinds import KINDS, Kind
from haven.operations.models import Job
from haven.runtime import Runtime
from tests.support.builders import an_agency
from workers.runner import run_job

ran: list[str] = []
LATER = dt.timedelta(minutes=2)


def note(context, **arguments):
    ran.append(arguments["name"])
    context.progress(1, 2, "half")
    context.progress(2, 2, "done")
    return {"name": arguments["name"]}


def stop_short(context, **arguments):
    """Says at once how far it is, too often for the last of it to be written, and is done."""
    context.progress(0, 3, "reading")
    context.progress(2, 3, "keeping")
    return {}


def fall(context, **arguments):
    ran.append(arguments["name"])
    raise RuntimeError("the disk is full")


def wait_to_be_cancelled(context, **arguments):
    with context.session() as session:
        jobs.cancel(session, context.job_id)
    for _ in range(100):
        context.check_cancelled()
    return {}


@pytest.fixture(autouse=True)
def kinds(monkeypatch):
    ran.clear()
    for name, function in (
        ("note", "note"),
        ("fall", "fall"),
        ("short", "stop_short"),
        ("long", "wait_to_be_cancelled"),
    ):
        monkeypatch.setitem(KINDS, name, Kind("maintenance", f"{__name__}:{function}", max_attempts=2))


@pytest.fixture
def runtime(settings, engine):
    return Runtime.start(settings, engine)


@pytest.fixture
def agency(engine):
    return an_agency(engine)


def ask(engine, agency, kind="note", **options):
    with tenant_session(engine, agency, "user:test", "request-7") as session:
        return jobs.submit(session, kind, {"name": "rent"}, **options)


def row(engine, agency, job_id):
    with tenant_session(engine, agency) as session:
        return session.get(Job, (agency, job_id))


def test_a_job_that_has_succeeded_is_at_a_hundred_per_cent(engine, agency, runtime):
    job_id = ask(engine, agency, "short")
    assert run_job(runtime, agency, job_id) == "SUCCEEDED"
    job = row(engine, agency, job_id)
    assert (job.progress_done, job.progress_total, job.progress_message) == (3, 3, "keeping")


def test_a_job_runs_and_says_what_came_of_it(engine, agency, runtime):
    job_id = ask(engine, agency)
    assert run_job(runtime, agency, job_id) == "SUCCEEDED"
    job = row(engine, agency, job_id)
    assert (job.status, job.result, job.attempts) == ("SUCCEEDED", {"name": "rent"}, 1)
    assert (job.progress_done, job.progress_total) == (2, 2)
    assert (job.requested_by, job.request_id) == ("user:test", "request-7")
    assert run_job(runtime, agency, job_id) == "SKIPPED"
    assert ran == ["rent"]


def test_a_job_of_a_transaction_that_rolled_back_never_was(engine, agency, runtime):
    with tenant_session(engine, agency) as session:
        job_id = jobs.submit(session, "note", {"name": "rent"})
        session.rollback()
    assert row(engine, agency, job_id) is None
    assert run_job(runtime, agency, job_id) == "SKIPPED"


def test_the_same_unfinished_job_is_not_made_twice(engine, agency, runtime):
    first = ask(engine, agency, unique_key="2026-11")
    assert ask(engine, agency, unique_key="2026-11") == first
    assert ask(engine, agency, unique_key="2026-12") != first
    run_job(runtime, agency, first)
    assert ask(engine, agency, unique_key="2026-11") != first


def test_of_two_workers_one_gets_it(engine, agency, runtime):
    job_id = ask(engine, agency)
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda: answers.append(run_job(runtime, agency, job_id))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["SKIPPED", "SKIPPED", "SKIPPED", "SUCCEEDED"]
    assert ran == ["rent"]


def test_a_failed_attempt_waits_and_then_has_failed(engine, agency, runtime):
    job_id = ask(engine, agency, kind="fall")
    assert run_job(runtime, agency, job_id) == "FAILED"
    job = row(engine, agency, job_id)
    assert (job.status, job.error) == ("SCHEDULED", "RuntimeError: the disk is full")
    assert job.run_after > dt.datetime.now(dt.UTC)
    assert run_job(runtime, agency, job_id) == "SKIPPED"
    with tenant_session(engine, agency) as session:
        session.execute(update(Job).where(Job.id == job_id).values(run_after=dt.datetime.now(dt.UTC)))
    run_job(runtime, agency, job_id)
    assert row(engine, agency, job_id).status == "FAILED"
    with tenant_session(engine, agency) as session:
        jobs.retry(session, job_id)
    assert row(engine, agency, job_id).status == "QUEUED"


def test_a_job_whose_worker_died_is_taken_over_and_given_up_in_the_end(engine, agency, runtime):
    job_id = ask(engine, agency)
    with tenant_session(engine, agency) as session:
        assert jobs.claim(session, job_id, dt.datetime.now(dt.UTC)) is not None
    now = dt.datetime.now(dt.UTC)
    with tenant_session(engine, agency) as session:
        assert jobs.due(session, now) == []
        assert jobs.due(session, now + LATER) == [(job_id, "note")]
        assert jobs.claim(session, job_id, now) is None
        assert jobs.claim(session, job_id, now + LATER) is not None
    with tenant_session(engine, agency) as session:
        assert jobs.claim(session, job_id, now + LATER * 2) is None
    assert row(engine, agency, job_id).status == "FAILED"


def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_at_its_next_step(engine, agency, runtime):
    waiting, running = ask(engine, agency), ask(engine, agency, kind="long")
    with tenant_session(engine, agency) as session:
        jobs.cancel(session, waiting)
    assert row(engine, agency, waiting).status == "CANCELLED"
    assert run_job(runtime, agency, running) == "CANCELLED"
    assert row(engine, agency, running).status == "CANCELLED"
    with pytest.raises(Conflict), tenant_session(engine, agency) as session:
        jobs.cancel(session, waiting)


def test_a_job_whose_wake_up_was_lost_is_found(engine, agency):
    job_id = ask(engine, agency)
    with tenant_session(engine, agency) as session:
        assert jobs.due(session, dt.datetime.now(dt.UTC) + dt.timedelta(seconds=5)) == [(job_id, "note")]


def test_what_was_sealed_with_another_key_is_not_opened():
    sealed = Vault("a" * 32).encrypt(b"secret")
    assert Vault("a" * 32).decrypt(sealed) == b"secret"
    with pytest.raises(ValueError, match="SECRET_KEY"):
        Vault("b" * 32).decrypt(sealed)
