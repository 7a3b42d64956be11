"""Measurements in PostgreSQL: rolled up exactly, compacted, and gone in time."""

from __future__ import annotations

import datetime as dt
import random
import secrets
from itertools import pairwise

import pytest
import redis
from sqlalchemy import delete, select

from extensions.monitoring import Recorder, Rules, Sketch, Store
from extensions.monitoring.reader import Reader
from extensions.monitoring.rollup import HOUR, MINUTE, TEN_MINUTES, cover, due_minutes, kept_since
from haven.db.base import PLATFORM
from haven.db.session import tenant_session
from haven.operations.metric_history import RollupHistory, roll_up, roll_up_slots
from haven.operations.models import MetricRollup
from tests.support.builders import an_agency

pytestmark = pytest.mark.xdist_group("metric_rollup")
METRIC = "http"
ROUTES = ("", "GET /units", "POST /payments")


@pytest.fixture
def session(engine):
    with tenant_session(engine, PLATFORM) as session:
        session.execute(delete(MetricRollup))
        yield session
        session.rollback()


@pytest.fixture
def make_process(redis_url):
    """Makes processes on hosts of their own, whose keys are their own; they share a clock."""
    prefix = f"t{secrets.token_hex(6)}"
    client = redis.Redis.from_url(redis_url, socket_timeout=20)

    def make(host: str, clock) -> Recorder:
        return Recorder(Store(client, prefix, host), Rules(), clock)

    return make


class Clock:
    def __init__(self) -> None:
        # The middle of a minute now: what is in Redis ends by real time.
        self.now = float(int(dt.datetime.now(dt.UTC).timestamp()) // 60 * 60 - 1800)

    def __call__(self) -> float:
        return self.now


def rows(session, step_s, labels=""):
    wanted = select(MetricRollup).where(
        MetricRollup.metric == METRIC, MetricRollup.step_s == step_s, MetricRollup.labels == labels
    )
    return list(session.execute(wanted.order_by(MetricRollup.slot)).scalars())


def sketch_of(row) -> Sketch:
    return Sketch.stored(row.count, row.sum, row.errors, row.sketch)


def filled(session, make_process, minutes=25):
    """25 minutes of two processes on two hosts, rolled up each minute; and what went in, as one sketch a minute."""
    clock, chance = Clock(), random.Random(7)
    processes = [make_process("web-1", clock), make_process("web-2", clock)]
    whole: dict[tuple[int, str], Sketch] = {}
    for _ in range(minutes * 6):
        for process in processes:
            for _ in range(5):
                value, route = chance.lognormvariate(3, 1), chance.choice(ROUTES)
                is_error = chance.random() < 0.07
                process.observe(METRIC, value, route, is_error=is_error)
                key = (int(clock.now) // 60 * 60, route)
                whole.setdefault(key, Sketch()).add(value, is_error=is_error)
            process.flush()
        clock.now += 10
        if clock.now % 60 == 10:
            roll_up_slots(session, processes[0].store, clock.now)
    clock.now += 10
    roll_up_slots(session, processes[0].store, clock.now)
    return clock, processes, whole


@pytest.mark.req("M2")
def test_minutes_tens_and_hours_hold_exactly_what_was_measured(session, make_process):
    _, _, whole = filled(session, make_process)
    for labels in ROUTES:
        for step_s in (MINUTE, TEN_MINUTES, HOUR):
            expected: dict[int, Sketch] = {}
            for (minute, route), sketch in whole.items():
                if route == labels:
                    expected.setdefault(minute // step_s * step_s, Sketch()).merge(sketch)
            found = {int(row.slot.timestamp()): sketch_of(row) for row in rows(session, step_s, labels)}
            assert found.keys() == expected.keys()
            for slot, sketch in found.items():
                assert sketch.bins == expected[slot].bins
                assert (sketch.count, sketch.errors) == (expected[slot].count, expected[slot].errors)
                assert sketch.sum == pytest.approx(expected[slot].sum)


def test_rolling_up_again_changes_nothing(session, make_process):
    clock, processes, _ = filled(session, make_process, minutes=3)
    before = [sketch_of(row).pack() for row in rows(session, MINUTE)]
    assert roll_up_slots(session, processes[0].store, clock.now) == 0
    assert [sketch_of(row).pack() for row in rows(session, MINUTE)] == before


def test_what_a_process_sends_late_is_rolled_up_again(session, make_process):
    clock = Clock()
    first, late = make_process("web-1", clock), make_process("web-2", clock)
    for process in (first, late):
        process.observe(METRIC, 5.0)
    first.flush()
    late.sample_now()  # counted in its minute, and not sent
    clock.now += 70
    roll_up_slots(session, first.store, clock.now)
    assert [row.count for row in rows(session, MINUTE)] == [1]
    late.flush()
    roll_up_slots(session, first.store, clock.now + 60)
    assert [row.count for row in rows(session, MINUTE)] == [2]
    assert [row.count for row in rows(session, HOUR)] == [2]


def test_a_flushed_redis_takes_nothing_from_history(session, make_process, redis_url):
    clock, processes, _ = filled(session, make_process, minutes=2)
    before = sum(row.count for row in rows(session, MINUTE))
    client = redis.Redis.from_url(redis_url)
    prefix = processes[0].store._prefix
    for key in client.scan_iter(f"{prefix}:slot:*"):
        client.delete(key)
    roll_up_slots(session, processes[0].store, clock.now)
    assert sum(row.count for row in rows(session, MINUTE)) == before


def test_a_day_a_week_and_a_month_are_kept(session):
    now = dt.datetime(2026, 11, 25, 9, 17, tzinfo=dt.UTC)
    ages = {MINUTE: (0.5, 23.9, 24.4), TEN_MINUTES: (25, 167, 170), HOUR: (200, 719, 722)}
    for step_s, hours in ages.items():
        for age in hours:
            slot = now - dt.timedelta(hours=age)
            at = dt.datetime.fromtimestamp(int(slot.timestamp()) // step_s * step_s, dt.UTC)
            session.add(MetricRollup(metric=METRIC, labels="", slot=at, step_s=step_s, count=1, sum=1.0))
    session.flush()
    assert roll_up_slots(session, Store(None), now.timestamp()) == 3
    for step_s in ages:
        assert len(rows(session, step_s)) == 2


def test_an_agencys_clock_rolls_nothing_up(engine, redis_url):
    with tenant_session(engine, an_agency(engine)) as session:
        session.info["redis"] = redis.Redis.from_url(redis_url)
        assert roll_up(session, dt.datetime.now(dt.UTC)) == 0


def test_history_and_the_last_minutes_are_read_as_one(engine, make_process):
    with tenant_session(engine, PLATFORM) as session:
        session.execute(delete(MetricRollup))
    with tenant_session(engine, PLATFORM) as session:
        clock, processes, whole = filled(session, make_process)
    processes[0].observe(METRIC, 5.0)
    processes[0].flush()
    reader = Reader(processes[0])
    reader.history = RollupHistory(engine)
    expected = sum(sketch.count for (_, route), sketch in whole.items() if not route) + 1
    merged = reader.window(3600, (METRIC,))
    assert merged.missing == []
    assert merged.one(METRIC).count == expected
    for step_s in (60, 600, 3600):
        since = int(clock.now - 3600) // step_s * step_s
        points, missing = reader.points(METRIC, since, int(clock.now) + 1, step_s, "")
        assert missing == []
        assert sum(point.sketch.count for point in points) == expected
        assert all(point.slot % step_s == 0 for point in points)
    with engine.begin() as connection:
        connection.execute(delete(MetricRollup))


@pytest.mark.parametrize("coarsest", [MINUTE, TEN_MINUTES, HOUR])
@pytest.mark.parametrize("back_s", [60, 3600, 90_000, 40 * 3600, 8 * 86_400, 29 * 86_400])
def test_a_time_is_covered_once_by_points_that_are_kept(coarsest, back_s):
    now = dt.datetime(2026, 11, 25, 9, 17, 42, tzinfo=dt.UTC).timestamp()
    since, until = int(now - back_s), int(now) // 60 * 60
    parts = cover(since, until, coarsest, now)
    assert parts[0][1] <= since < parts[0][1] + HOUR
    assert parts[-1][2] >= until
    for (_, _, end), (_, start, _) in pairwise(parts):
        assert end == start
    for step, start, end in parts:
        assert start % step == end % step == 0
        assert start >= kept_since(step, now)
        finest = next(one for one in (MINUTE, TEN_MINUTES, HOUR) if start >= kept_since(one, now))
        assert step <= max(coarsest, finest)
    if coarsest == HOUR:
        assert sum((end - start) // step for step, start, end in parts) <= back_s / 3600 + 60


def test_a_clock_that_was_away_makes_up_for_an_hour(redis_url):
    store, now = Store(redis.Redis.from_url(redis_url), f"t{secrets.token_hex(6)}"), 1_700_000_030.0
    due = due_minutes(store, 1_699_000_000 // 60 * 60, now)
    assert due == list(range(int(now - 3600) // 60 * 60 + 60, 1_699_999_980, 60))
    assert due_minutes(store, 0, now) == []
