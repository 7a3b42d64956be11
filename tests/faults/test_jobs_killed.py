"""Workers, Valkey and the clock killed at random while jobs run: each job ends once, has its effect once, and says so."""

from __future__ import annotations

import logging
import random
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.support.at_work import AtWork, at_work, kill
from tests.support.job_kinds import HURRIED

pytestmark = pytest.mark.xdist_group("jobs_killed")
SEED = 20261125
WHAT_DIES = ("horse", "horse", "worker", "pool", "cron", "valkey")
log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def module_work(addresses, worker_number, environ, tmp_path_factory) -> Iterator[AtWork]:
    folder = tmp_path_factory.mktemp("killed")
    with at_work(addresses, f"haven_killed_{worker_number}", {**environ, **HURRIED}, folder) as there:
        yield there


@pytest.fixture
def work(module_work: AtWork) -> Iterator[AtWork]:
    """Nothing runs yet, and nothing after it."""
    module_work.log.write_bytes(b"")
    yield module_work
    module_work.stop()


def kill_it(
    what: str, work: AtWork, draw: random.Random, processes: dict[str, subprocess.Popen[bytes]]
) -> None:
    """Kill something, and start it again as a supervisor would. Valkey forgets everything."""
    if what == "valkey":
        work.valkey.client().flushall()
        work.valkey.kill()
        work.valkey.start()
    elif what in ("horse", "worker"):
        children = work.children(processes["workers"])
        if children:
            kill(draw.choice(children).pid)
    else:
        name = "workers" if what == "pool" else "cron"
        for child in work.children(processes[name]):
            kill(child.pid)
        processes[name].kill()
        processes[name].wait()
        processes[name] = work.start(name)


def all_end_once(work: AtWork, count: int, rounds: int, pause_s: float, for_s: float) -> None:
    """Kill each thing that can die once a round (a horse twice), in another order each time."""
    draw = random.Random(SEED)
    processes = {name: work.start(name) for name in ("workers", "cron")}
    ids = [work.submit("t_effect") for _ in range(count)]
    work.wait(ids[0], "SUCCEEDED")
    killed = [what for _ in range(rounds) for what in draw.sample(WHAT_DIES, len(WHAT_DIES))]
    for what in killed:
        time.sleep(draw.uniform(0, pause_s))
        kill_it(what, work, draw, processes)
    for job_id in ids:
        work.wait(job_id, "SUCCEEDED", "FAILED", "CANCELLED", for_s=for_s)
    again = 0
    for job_id in ids:
        job = work.row(job_id)
        assert (job.status, job.error) == ("SUCCEEDED", None), (job.status, job.error, killed)
        assert work.effects(job_id) == 1
        assert job.started_at is not None
        assert job.finished_at is not None
        assert job.created_at <= job.started_at <= job.finished_at
        assert 1 <= job.attempts <= job.claim
        again += job.attempts > 1
    log.info("%d jobs, killed %s, %d ran more than once", count, killed, again)


def test_thirty_jobs_survive_what_is_killed(work):
    all_end_once(work, 30, rounds=1, pause_s=0.3, for_s=90)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_three_hundred_jobs_survive_what_is_killed(work):
    all_end_once(work, 300, rounds=5, pause_s=1.5, for_s=400)


def test_the_control_a_careless_job_has_its_effect_twice_when_it_is_killed(work):
    """So the tests above would see an effect that is there twice."""
    work.start("workers")
    work.start("cron")
    job_id = work.submit("t_careless")
    assert work.wait(job_id, "SUCCEEDED").attempts == 2
    assert work.effects(job_id) == 2


def test_another_clock_leads_when_the_first_is_killed(work):
    first = work.start("cron")
    work.wait_until(lambda: "cron_leads" in work.log.read_text())
    second = work.start("cron")
    work.wait_until(lambda: work.log.read_text().count('"cron_started"') == 2)
    time.sleep(1.5)
    assert second.poll() is None
    assert work.log.read_text().count('"cron_leads"') == 1
    first.kill()
    first.wait()
    work.wait_until(lambda: work.log.read_text().count('"cron_leads"') == 2, for_s=15)
