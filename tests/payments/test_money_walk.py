"""Every shilling that M-Pesa moves is posted once, whatever happens in whatever order and at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from sqlalchemy import Engine, Select, create_engine

from haven.db.migrate import sqlalchemy_url
from haven.db.prepare import APP_ROLE
from haven.payments import manual, statuses
from tests.payments.money_rules import a_walk
from tests.payments.money_walk import RULES, Step, Walk
from tests.support.servers import superuser_cursor


@pytest.fixture(scope="module")
def threads():
    with ThreadPoolExecutor(8, thread_name_prefix="thread") as threads:
        yield threads


def walk_often(engine, threads, examples):
    # Threads meet differently each time, so there is nothing to shrink: a failure tells its steps.
    @settings(
        max_examples=examples,
        phases=[Phase.generate],
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**64 - 1))
    def walk(seed):
        Walk(engine).run(a_walk(seed), threads)

    walk()


@pytest.mark.req("P4")
@pytest.mark.timeout(600)
def test_every_shilling_that_moved_is_posted_once(engine, threads):
    walk_often(engine, threads, examples=200)


@pytest.mark.req("P4")
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_shilling_that_moved_is_posted_once_in_very_many_walks(engine, threads):
    walk_often(engine, threads, examples=2000)


steps = st.builds(Step, st.sampled_from(sorted(RULES)), st.integers(0, 29), st.sampled_from([100, 200, 300]))


class MoneyInOrder(RuleBasedStateMachine):
    """The same rules one at a time: what fails here, hypothesis makes short. ``engine`` is given by a subclass."""

    engine: Engine

    @initialize(paid=st.sampled_from([pick for pick in range(30) if pick % 5 < 3]))
    def begin(self, paid):
        self.walk = Walk(self.engine)
        self.steps = [Step("invoice", 0, 300), Step("push", paid, 200)]

    @rule(step=steps)
    def step(self, step):
        self.steps.append(step)

    def teardown(self):
        self.walk.run(self.steps)


def run_in_order(engine, examples):
    run_state_machine_as_test(
        type("MoneyInOrderHere", (MoneyInOrder,), {"engine": engine}),
        settings=settings(
            max_examples=examples, stateful_step_count=20, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.timeout(600)
def test_every_shilling_that_moved_is_posted_once_in_order(engine):
    run_in_order(engine, examples=30)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_shilling_that_moved_is_posted_once_in_very_many_orders(engine):
    run_in_order(engine, examples=500)


# Tests of the test: without a guard it must fail.


def test_without_row_locks_the_walk_fails(engine, threads, monkeypatch):
    """All at one payment: copies of its callback, queries, the receipt by hand, reversals, replays."""
    monkeypatch.setattr(Select, "with_for_update", lambda self, **_: self)
    names = ["callback", "query", "receipt_by_hand", "callback_of_failure", "reverse", "invoice", "cash"]
    steps = [Step("invoice", 0, 300), Step("push", 0, 200), *(Step(name, 0, 100) for name in names * 4)]

    def walk_often():
        for _ in range(100):
            Walk(engine).run(steps, threads)

    with pytest.raises(AssertionError, match="What happened"):
        walk_often()


def test_without_the_index_of_receipts_the_walk_fails(addresses, worker_number):
    name = f"haven_no_index_{worker_number}"
    addresses.new_database(name)
    database = addresses.superuser_url.rpartition("/")[0] + f"/{name}"
    with superuser_cursor(database) as cursor:
        cursor.execute("DROP INDEX payment_receipt_key")
    engine = create_engine(sqlalchemy_url(addresses.database_url(APP_ROLE, name)))
    steps = [Step(name, 0, 200) for name in ("invoice", "push", "callback", "receipt_by_hand")]
    with pytest.raises(AssertionError, match="is on 2 payments"):
        Walk(engine).run(steps)
    engine.dispose()


@pytest.mark.parametrize("order", [("query", "receipt_by_hand"), ("receipt_by_hand", "query")])
@pytest.mark.parametrize("is_guarded", [True, False])
def test_what_a_query_and_a_person_tell_of_is_counted_once(engine, monkeypatch, order, is_guarded):
    steps = [Step(name, 0, 200) for name in ("invoice", "push", *order)]
    if is_guarded:
        Walk(engine).run(steps)
        return
    monkeypatch.setattr(statuses, "recorded_since", lambda *_: None)
    monkeypatch.setattr(manual, "lacking_receipt", lambda *_: None)
    with pytest.raises(AssertionError, match="is COMPLETED, but its money is on"):
        Walk(engine).run(steps)
