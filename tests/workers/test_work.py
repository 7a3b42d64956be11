"""Real workers: how a job that goes wrong ends, that it holds up no other, and what RQ's own tools see of it."""

from __future__ import annotations

import datetime as dt
import logging
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import httpx
import pytest
from rq import Queue
from rq.serializers import JSONSerializer
from sqlalchemy import insert

from haven.embedded_servers import free_port
from haven.operations import job_queues, jobs
from haven.operations.models import Job
from haven.runtime import jobs_redis
from tests.support.builders import an_agency

log = logging.getLogger(__name__)
pytestmark = pytest.mark.xdist_group("work")
CANCELLED_WITHIN_S = 2
SLOWER_AT_MOST = 15
"""How many times as long all may take on a machine with much else to do. At a load of 15 on two cores each of these tests took 3 s
in all."""


@pytest.fixture(scope="module", autouse=True)
def workers(work):
    started = work.start("workers", WORKER_MEMORY_LIMIT="500000000")
    work.start("cron")
    first = work.submit("t_empty")
    assert work.wait(first, "SUCCEEDED").attempts == 1
    return started


def _ended_s(job):
    return (job.finished_at - job.started_at).total_seconds()


@pytest.mark.parametrize("kind", ["t_deaf", "t_sql"])
def test_a_running_job_that_hears_nothing_is_cancelled_and_what_it_wrote_is_gone(work, kind):
    job_id = work.submit(kind)
    work.wait(job_id, "RUNNING")
    time.sleep(0.5)
    asked = work.cancel(job_id)
    job = work.wait(job_id, "CANCELLED")
    took_s = (job.finished_at - asked).total_seconds()
    log.info("cancelled after %.2f s", took_s)
    # Both would go on for a minute and more. What they wait for is in tests/extensions/test_job_watch.py.
    assert took_s < CANCELLED_WITHIN_S * SLOWER_AT_MOST
    assert (job.error, job.lease_until) == (None, None)
    assert work.effects(job_id) == 0


@pytest.mark.parametrize(
    "kind, words",
    [
        ("t_stuck", "The attempt took longer than the 1 s that this kind of job may, and was stopped."),
        ("t_poison", "was killed (signal 9)"),
        ("t_greedy", "needed more memory than the 477 MiB"),
        ("t_missing", "The code of the job t_missing is gone"),
        ("t_falls", "RuntimeError: the disk is full"),
    ],
)
def test_a_job_that_goes_wrong_ends_with_a_clear_sentence_and_holds_up_no_other(work, kind, words):
    job_id, other = work.submit(kind), work.submit("t_effect")
    assert work.wait(other, "SUCCEEDED").attempts == 1
    job = work.wait(job_id, "FAILED")
    assert words in job.error
    assert job.attempts == 1
    assert work.effects(job_id) == 0


def test_a_job_of_a_kind_that_nobody_knows_fails_at_once(work):
    job_id = uuid.uuid4()
    with jobs.job_session(work.runtime, work.agency, "tests") as session:
        session.execute(
            insert(Job).values(
                agency_id=work.agency,
                id=job_id,
                queue="exports",
                kind="t_of_yesterday",
                arguments={},
                requested_by="tests",
                max_attempts=3,
                created_at=dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1),
            )
        )
    assert work.wait(job_id, "FAILED").error == (
        "Nothing here knows a job of the kind t_of_yesterday: its code is gone."
    )


def test_one_job_of_an_agency_does_not_wait_for_a_hundred_of_another(work):
    many = [work.submit("t_effect") for _ in range(100)]
    other = an_agency(work.engine)
    one = work.wait(work.submit("t_effect", other), "SUCCEEDED", agency=other)
    finished = [job for job in (work.row(job_id) for job_id in many) if job.finished_at is not None]
    before = [job for job in finished if job.finished_at < one.finished_at]
    assert len(before) < 50
    with jobs.job_session(work.runtime, work.agency, "user:tests") as session:
        job_queues.empty(session, "exports")
    for job_id in many:
        work.wait(job_id, "SUCCEEDED", "CANCELLED", for_s=120)


def test_a_paused_queue_waits_even_if_redis_is_flushed(work):
    with jobs.job_session(work.runtime, work.agency, "user:operator") as session:
        job_queues.pause(session, "exports")
    job_id, other = work.submit("t_effect"), work.submit("t_falls")
    work.valkey.client().flushall()
    work.wait(other, "FAILED")
    assert work.row(job_id).status == "QUEUED"
    with jobs.job_session(work.runtime, work.agency, "user:operator") as session:
        job_queues.resume(session, "exports")
    work.wait(job_id, "SUCCEEDED")


def test_rqs_own_tools_work_on_the_queues_and_do_the_rows_no_harm(work):
    connection = jobs_redis(work.settings, 5)
    failed = work.submit("t_falls")
    work.wait(failed, "FAILED")
    queue = Queue("reports", connection=connection, serializer=JSONSerializer)
    work.wait_until(lambda: failed.hex in queue.failed_job_registry.get_job_ids(cleanup=False))
    url = work.valkey.url.rpartition("/")[0] + "/1"
    seen = subprocess.run(
        [sys.executable, "-m", "rq.cli", "info", "--url", url],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert seen.returncode == 0, seen.stderr
    assert "exports" in seen.stdout
    assert "2 workers" in seen.stdout
    assert _answer_of_rq_dashboard(url, "/") == 200
    assert _answer_of_rq_dashboard(url, f"/0/data/job/{failed.hex}.json") == 200

    with jobs.job_session(work.runtime, work.agency, "user:operator") as session:
        job_queues.pause(session, "exports")
    waiting = work.submit("t_effect")
    Queue("exports", connection=connection, serializer=JSONSerializer).empty()
    with jobs.job_session(work.runtime, work.agency, "user:operator") as session:
        job_queues.resume(session, "exports")
    work.wait(waiting, "SUCCEEDED")
    entry = queue.fetch_job(failed.hex)
    assert entry is not None
    entry.requeue()
    entry.delete()
    assert work.row(failed).status == "FAILED"


def test_at_sigterm_a_short_job_is_finished_and_a_long_one_put_back(work):
    stopping = work.start("workers", WORKER_STOP_GRACE="1", WORKER_PROCESSES="2")
    work.wait_until(lambda: len(work.children(stopping)) >= 2)
    for child in work.children(stopping):
        assert child.is_running()
    rest = [one for one in work._processes if one is not stopping]
    for one in rest:
        one.send_signal(signal.SIGTERM)
        one.wait(timeout=40)
    long, short = work.submit("t_deaf"), work.submit("t_effect")
    work.wait(long, "RUNNING")
    work.wait(short, "RUNNING", "SUCCEEDED")
    stopping.send_signal(signal.SIGTERM)
    assert stopping.wait(timeout=40) == 0
    assert work.row(short).status == "SUCCEEDED"
    put_back = work.row(long)
    assert (put_back.status, put_back.attempts, put_back.error) == ("QUEUED", 0, None)
    assert work.effects(long) == 0


def _answer_of_rq_dashboard(url: str, path: str) -> int:
    """The status of a page of the stock command line, started for it."""
    port = free_port()
    program = [str(Path(sys.executable).with_name("rq-dashboard")), "--bind", "127.0.0.1", "--json"]
    shown = subprocess.Popen(
        [*program, "--port", str(port), "--redis-url", url],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=10).status_code
            except httpx.ConnectError:
                assert shown.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
    finally:
        shown.kill()
        shown.wait()
