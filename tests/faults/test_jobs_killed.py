"""Workers, Valkey and the clock killed at random while jobs run: each job ends once, has its effect once, and says so."""

from __future__ import annotations

import logging
import random
import subprocess
import time

import pytest

from tests.support.at_work import AtWork, at_work, kill

pytestmark = pytest.mark.xdist_group("job_workers")
SEED = 20261125
log = logging.getLogger(__name__)


@pytest.fixture
def work(addresses, worker_number, environ, tmp_path, request):
    name = f"haven_killed_{worker_number}_{abs(hash(request.node.name)) % 10**6}"
    with at_work(addresses, name, environ, tmp_path) as there:
        yield there


def kill_at_random(work: AtWork, draw: random.Random, processes: dict[str, subprocess.Popen[bytes]]) -> str:
    """Kill something, and start it again as a supervisor would."""
    what = draw.choice(("horse", "horse", "worker", "pool", "cron", "valkey"))
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
    return what


def all_end_once(work: AtWork, count: int, kills: int, pause_s: float, for_s: float) -> None:
    draw = random.Random(SEED)
    processes = {name: work.start(name) for name in ("workers", "cron")}
    ids = [work.submit("t_effect") for _ in range(count)]
    killed = []
    for _ in range(kills):
        time.sleep(draw.uniform(0, pause_s))
        killed.append(kill_at_random(work, draw, processes))
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
    all_end_once(work, 30, kills=4, pause_s=1.0, for_s=90)


@pytest.mark.long
@pytest.mark.timeout(400)
def test_three_hundred_jobs_survive_what_is_killed(work):
    all_end_once(work, 300, kills=20, pause_s=2.0, for_s=240)


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
    work.start("cron")
    time.sleep(2)
    assert work.log.read_text().count('"cron_leads"') == 1
    first.kill()
    first.wait()
    work.wait_until(lambda: work.log.read_text().count('"cron_leads"') == 2, for_s=15)
