"""The clock: its tasks are seen, one that hangs or fails holds up no other, and its lock follows its connection."""

from __future__ import annotations

import datetime as dt
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import create_engine, select, text, update

from extensions.caching.keys import Place
from haven.db.migrate import sqlalchemy_url
from haven.db.session import tenant_session
from haven.operations import cache, jobs, maintenance
from haven.operations.models import Job, MaintenanceTask
from haven.runtime import Runtime
from tests.support.builders import an_agency
from workers.cron import Clock, Leader
from workers.schedule import Task


@pytest.fixture
def clock_engine(database_url):
    engine = create_engine(sqlalchemy_url(database_url), pool_size=10)
    yield engine
    engine.dispose()


def _until(is_so, for_s=30):
    deadline = time.monotonic() + for_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _seen(engine, name):
    with tenant_session(engine, an_agency(engine)) as session:
        return next(row for row in maintenance.tasks(session, dt.datetime.now(dt.UTC)) if row["name"] == name)


def test_a_task_that_hangs_or_fails_holds_up_no_other_and_says_so(settings, clock_engine):
    freed = threading.Event()
    ran = []

    def hang(_runtime):
        freed.wait(60)
        return 0

    def fall(_session, _now):
        raise RuntimeError("the table is locked")

    def work(_runtime):
        ran.append(1)
        return 7

    tasks = (
        Task("t_hangs", 1, act_once=hang),
        Task("t_falls", 3600, fall),
        Task("t_works", 1, act_once=work),
    )
    an_agency(clock_engine)
    clock = Clock(Runtime.start(settings, clock_engine), tasks)
    try:

        def ticked():
            clock.tick()
            return len(ran) >= 2 and _seen(clock_engine, "t_falls")["status"] == "FAILED"

        _until(ticked)
        assert _seen(clock_engine, "t_hangs")["status"] == "RUNNING"
        assert "the table is locked" in _seen(clock_engine, "t_falls")["error"]
        works = _seen(clock_engine, "t_works")
        assert (works["rows"], works["error"], works["failures"]) == (7, None, 0)
        assert works["next_at"] > works["started_at"]
    finally:
        freed.set()
        clock.finish()


def test_of_two_clocks_one_leads_and_the_other_when_its_connection_is_cut(clock_engine, superuser_url):
    first, second = Leader(clock_engine), Leader(clock_engine)
    assert first.look()
    assert not second.look()
    held: Any = first._connection
    pid = held.driver_connection.info.backend_pid
    admin = create_engine(sqlalchemy_url(superuser_url), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    admin.dispose()
    _until(second.look)
    assert not first.look()
    second.release()
    assert first.look()
    first.release()


def test_a_task_that_has_not_come_for_long_is_late(engine):
    name = "t_late"
    maintenance.begin_due(engine, {name: 60})
    with tenant_session(engine, an_agency(engine)) as session:
        past = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=6)
        session.execute(update(MaintenanceTask).where(MaintenanceTask.name == name).values(next_at=past))
    assert _seen(engine, name)["status"] == "LATE"


def test_finished_jobs_go_when_their_time_is_over_and_others_stay(settings, engine):
    agency = an_agency(engine)
    runtime = Runtime.start(settings, engine)
    now = dt.datetime.now(dt.UTC)
    with jobs.job_session(runtime, agency, "tests") as session:
        old, new, waiting = (jobs.submit(session, "verify_books", {}) for _ in range(3))
        for job_id, days in ((old, 91), (new, 89)):
            finished = now - dt.timedelta(days=days)
            session.execute(
                update(Job).where(Job.id == job_id).values(status="SUCCEEDED", finished_at=finished)
            )
    with jobs.job_session(runtime, agency, "tests") as session:
        assert maintenance.remove_old_jobs(session, now) == 1
        assert set(session.execute(select(Job.id)).scalars()) == {new, waiting}


def test_what_the_cache_could_not_be_told_of_is_settled_though_nobody_reads(settings, engine):
    runtime = Runtime.start(settings, engine)
    owner = str(an_agency(engine))
    place = Place(owner, "tests", "one", ("lease",))
    assert runtime.cache.set(place, "old")
    with engine.begin() as connection:
        runtime.cache.debts.note(connection, owner, ["lease"])
    assert cache.settle_debts(runtime) >= 1
    assert cache.settle_debts(runtime) == 0
    assert runtime.cache.get(place) is None


def test_what_redis_cannot_be_told_of_yet_stays(settings, engine):
    away = replace(settings, cache_redis_url="redis://127.0.0.1:1/0")
    runtime = Runtime.start(away, engine)
    owner = str(an_agency(engine))
    with engine.begin() as connection:
        runtime.cache.debts.note(connection, owner)
    assert cache.settle_debts(runtime) == 0
    assert cache.settle_debts(Runtime.start(settings, engine)) >= 1
