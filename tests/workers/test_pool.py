"""The pool of real workers: how many there are, when one is replaced, and what becomes of a job whose whole worker dies."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import select

from extensions.jobs.rows import CUT_OFF
from haven.notifications.models import Notification
from haven.notifications.queueing import SEND, queue_mail
from haven.operations import jobs
from haven.operations.kinds import KINDS
from haven.operations.models import Job
from haven.runtime import jobs_redis
from tests.support.at_work import AtWork, at_work, kill
from tests.support.builders import an_agency
from tests.support.job_kinds import HURRIED, one_try

pytestmark = pytest.mark.xdist_group("pool")


@pytest.fixture(scope="module")
def module_work(addresses, worker_number, environ, tmp_path_factory) -> Iterator[AtWork]:
    folder = tmp_path_factory.mktemp("pool")
    with at_work(addresses, f"haven_pool_{worker_number}", {**environ, **HURRIED}, folder) as there:
        yield there


@pytest.fixture
def work(module_work: AtWork) -> Iterator[AtWork]:
    """Nothing runs yet, and nothing after it."""
    yield module_work
    module_work.stop()
    module_work.valkey.client().flushall()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that takes connections and never says a word."""
    taken: list[socket.socket] = []

    def take(server: socket.socket) -> None:
        while True:
            try:
                taken.append(server.accept()[0])
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=take, args=(server,), daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    for one in taken:
        one.close()


def _pids(work: AtWork, count: int) -> list[str]:
    """The worker of each of so many jobs, run one after the other."""
    return [work.wait(work.submit("t_empty"), "SUCCEEDED").worker for _ in range(count)]


@pytest.mark.long
@pytest.mark.req("J3")
def test_the_pool_grows_with_age_and_with_depth_and_shrinks_when_nothing_waits(work):
    pool = work.start("workers", WORKER_PROCESSES="1", WORKER_PROCESSES_MAX="3", WORKER_IDLE_TIME="1")

    def has(count: int) -> bool:
        return len(work.workers_of(pool)) == count

    work.wait_until(lambda: has(1))
    # One runs and one waits: no more than there are workers, but for long.
    old = [work.submit("t_slow"), work.submit("t_slow")]
    work.wait_until(lambda: has(2))
    for job_id in old:
        assert work.wait(job_id, "SUCCEEDED").attempts == 1
    work.wait_until(lambda: has(1))
    many = [work.submit("t_slow") for _ in range(5)]
    work.wait_until(lambda: has(3))
    for job_id in many:
        assert work.wait(job_id, "SUCCEEDED").attempts == 1
    work.wait_until(lambda: has(1))


@pytest.mark.long
@pytest.mark.parametrize(
    "settings, jobs_of_each",
    [
        ({"WORKER_MAX_JOBS": "2"}, 2),
        # Less than a worker has from the beginning: it is replaced after its first job, which is too short to be stopped.
        ({"WORKER_MEMORY_LIMIT": str(20 * 2**20)}, 1),
        ({}, 4),
    ],
    ids=["after so many jobs", "grown too big", "the control"],
)
def test_a_worker_is_replaced_between_two_jobs(work, settings, jobs_of_each):
    work.start("workers", WORKER_PROCESSES="1", WORKER_PROCESSES_MAX="1", **settings)
    names = _pids(work, 4)
    assert len(set(names)) == 4 / jobs_of_each
    assert names == sorted(names, key=names.index)


def test_what_kills_its_whole_worker_each_time_fails_and_others_go_on(work):
    work.start("workers")
    work.start("cron")
    deadly = work.submit("t_deadly")
    others = [work.submit("t_empty") for _ in range(6)]
    for job_id in others:
        work.wait(job_id, "SUCCEEDED")
    job = work.wait(deadly, "FAILED")
    assert (job.error, job.attempts) == (CUT_OFF, 2)
    assert work.wait(work.submit("t_empty"), "SUCCEEDED").attempts == 1


@pytest.mark.long
def test_another_worker_takes_over_what_a_dead_one_had(work):
    pool = work.start("workers")
    work.start("cron")
    work.wait_until(lambda: len(work.workers_of(pool)) == 2)
    job_id = work.submit("t_slow")
    first = work.wait(job_id, "RUNNING").worker
    pid = jobs_redis(work.settings, 5).hget(f"rq:worker:{first}", "pid")
    (busy,) = (one for one in work.workers_of(pool) if one.pid == int(pid or 0))
    for each in [busy, *busy.children()]:
        kill(each.pid)
    job = work.wait(job_id, "SUCCEEDED")
    assert job.worker != first
    # A lease this short may run out once more on a busy machine.
    assert job.attempts >= 2


@pytest.mark.long
def test_a_mail_server_that_hangs_holds_up_no_other_and_its_mail_ends_clearly(work, silent_port, monkeypatch):
    monkeypatch.setitem(KINDS, SEND, one_try(SEND)[SEND])
    work.start(
        "workers",
        SMTP_URL=f"smtp://127.0.0.1:{silent_port}",
        MAIL_FROM="Haven <haven@makao.test>",
        TEST_ONE_TRY=SEND,
        # Half a minute for the mail server: time for the others on a slow machine, too.
        TEST_LEASE_S="60",
    )
    agency = an_agency(work.engine)
    values = {"name": "tenants.csv", "rows": "3", "size": "1 kB", "url": "/x", "expires_at": "2026-12-01"}
    with jobs.job_session(work.runtime, agency, "user:tests") as session:
        queue_mail(session, template="export_ready", recipients=["achieng@makao.test"], values=values)
    with jobs.job_session(work.runtime, agency, "tests") as session:
        hanging = session.execute(select(Job.id).where(Job.kind == SEND)).scalar_one()
    work.wait(hanging, "RUNNING", agency=agency)
    others = [work.submit("t_told", by) for by in (work.agency, agency) for _ in range(3)]
    for at, job_id in enumerate(others):
        by = work.agency if at < 3 else agency
        other = work.wait(job_id, "SUCCEEDED", agency=by)
        assert other.attempts == 1
    ended = work.wait(hanging, "SUCCEEDED", "FAILED", agency=agency)
    assert ended.finished_at > other.finished_at
    assert ended.result == {"sent": 0, "failed": 1, "unknown": 0}
    with jobs.job_session(work.runtime, agency, "tests") as session:
        row = session.execute(select(Notification)).scalar_one()
    assert row.status == "FAILED"
    # smtplib says so of an answer that did not come in time.
    assert row.last_error == "The mail server cannot be reached (SMTPServerDisconnected)."
