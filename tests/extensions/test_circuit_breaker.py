"""The circuit breaker: one state machine, in memory and in Redis; never more probes than allowed, whoever asks."""

from __future__ import annotations

import itertools
import multiprocessing
import uuid
from dataclasses import dataclass

import pytest
from flask import Flask
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from extensions.circuit_breaker import Breaker, Breakers, CircuitBreaker, CircuitOpen, Outcome, Rules, State
from extensions.circuit_breaker.local import LocalCircuit
from extensions.circuit_breaker.rules import Standing
from extensions.circuit_breaker.shared import SharedCircuit
from extensions.circuit_breaker.survey import survey

RULES = Rules(
    window_s=60,
    window_calls=10,
    minimum_calls=4,
    failure_rate=0.5,
    slow_call_s=2,
    slow_call_rate=0.75,
    open_s=30,
    probes=3,
    probe_lease_s=20,
)
PROCESSES = 8


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def milliseconds(self) -> int:
        return round(self.now * 1000)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="module")
def redis(redis_url):
    with Redis.from_url(redis_url, socket_timeout=5) as redis:
        yield redis


@pytest.fixture(params=["in memory", "in Redis"])
def circuit(request, clock, redis):
    if request.param == "in memory":
        return LocalCircuit(RULES, clock)
    return SharedCircuit(f"test-{uuid.uuid4().hex}", RULES, redis, clock.milliseconds)


_permits = itertools.count()


def call(circuit, outcome):
    """Ask and tell; whether the call might go."""
    permit = f"p{next(_permits)}"
    decision = circuit.ask(permit)
    if decision.may_go:
        circuit.tell(permit, decision.generation, outcome)
    return decision.may_go


def open_it(circuit):
    for _ in range(RULES.minimum_calls):
        call(circuit, Outcome.FAILED)
    assert circuit.state() is State.OPEN


def test_it_opens_at_the_failure_rate(circuit):
    for outcome in (Outcome.OK, Outcome.OK, Outcome.FAILED):
        call(circuit, outcome)
    assert circuit.state() is State.CLOSED
    call(circuit, Outcome.FAILED)
    assert circuit.state() is State.OPEN
    assert not call(circuit, Outcome.OK)


def test_it_does_not_open_on_few_calls(circuit):
    for _ in range(RULES.minimum_calls - 1):
        call(circuit, Outcome.FAILED)
    assert circuit.state() is State.CLOSED


def test_it_opens_on_slow_calls_that_succeed(circuit):
    for outcome in (Outcome.SLOW, Outcome.SLOW, Outcome.OK, Outcome.SLOW):
        call(circuit, outcome)
    assert circuit.state() is State.OPEN


def test_failures_that_are_old_do_not_count(circuit, clock):
    for _ in range(3):
        call(circuit, Outcome.FAILED)
    clock.now += RULES.window_s
    call(circuit, Outcome.FAILED)
    assert circuit.state() is State.CLOSED


def test_only_the_newest_calls_count(circuit):
    for _ in range(RULES.window_calls):
        call(circuit, Outcome.OK)
    for _ in range(4):
        call(circuit, Outcome.FAILED)
    assert circuit.state() is State.CLOSED
    call(circuit, Outcome.FAILED)
    assert circuit.state() is State.OPEN


def test_open_it_says_when_to_ask_again(circuit, clock):
    open_it(circuit)
    clock.now += 10
    decision = circuit.ask("p")
    assert (decision.may_go, decision.wait_s) == (False, 20)


def test_its_time_over_it_lets_the_probes_through_and_no_more(circuit, clock):
    open_it(circuit)
    clock.now += RULES.open_s
    asked = [circuit.ask(f"p{number}") for number in range(10)]
    assert [one.may_go for one in asked] == [True] * 3 + [False] * 7
    assert asked[0].was is State.OPEN
    assert asked[9].wait_s == RULES.probe_lease_s


def test_probes_that_do_well_close_it_with_nothing_held_against_it(circuit, clock):
    open_it(circuit)
    clock.now += RULES.open_s
    for _ in range(3):
        assert circuit.state() is not State.CLOSED
        call(circuit, Outcome.OK)
    assert circuit.state() is State.CLOSED
    for _ in range(RULES.minimum_calls - 1):
        call(circuit, Outcome.FAILED)
    assert circuit.state() is State.CLOSED


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.FAILED_SLOWLY, Outcome.SLOW])
def test_one_bad_probe_opens_it_again(circuit, clock, outcome):
    open_it(circuit)
    clock.now += RULES.open_s
    call(circuit, Outcome.OK)
    call(circuit, outcome)
    assert circuit.state() is State.OPEN
    assert circuit.ask("p").wait_s == RULES.open_s


def test_the_place_of_a_probe_that_nobody_hears_of_is_free_again(circuit, clock):
    open_it(circuit)
    clock.now += RULES.open_s
    for number in range(3):
        circuit.ask(f"lost{number}")
    assert not circuit.ask("p").may_go
    clock.now += RULES.probe_lease_s
    assert circuit.ask("p").may_go


def test_an_abandoned_probe_gives_its_place_back_and_counts_for_nothing(circuit, clock):
    open_it(circuit)
    clock.now += RULES.open_s
    for _ in range(10):
        assert call(circuit, Outcome.ABANDONED)
    assert circuit.state() is State.HALF_OPEN


def test_a_call_from_before_the_circuit_opened_says_nothing_of_it_now(circuit, clock):
    late = circuit.ask("late")
    open_it(circuit)
    clock.now += RULES.open_s
    circuit.ask("probe")
    circuit.tell("late", late.generation, Outcome.FAILED)
    assert circuit.state() is State.HALF_OPEN


def test_a_clock_that_is_put_back_does_not_keep_it_open(redis, clock):
    circuit = SharedCircuit(f"test-{uuid.uuid4().hex}", RULES, redis, clock.milliseconds)
    open_it(circuit)
    clock.now -= 86_400
    assert circuit.ask("p").wait_s == RULES.open_s
    clock.now += RULES.open_s
    assert circuit.ask("p").may_go


class BothCircuits(RuleBasedStateMachine):
    """The circuit in memory and the one in Redis, side by side: they decide alike, and keep to the rules."""

    redis: Redis

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.going: dict[str, int] = {}
        self.probing: dict[str, float] = {}
        self.opened_at: float | None = None

    @initialize(window_s=st.sampled_from([0, 5, 60]), slow_call_rate=st.sampled_from([0.5, 1.0, 2.0]))
    def begin(self, window_s, slow_call_rate):
        self.numbers = Rules(
            window_s=window_s,
            window_calls=5,
            minimum_calls=2,
            failure_rate=0.6,
            slow_call_rate=slow_call_rate,
            open_s=10,
            probes=2,
            probe_lease_s=7,
        )
        self.local = LocalCircuit(self.numbers, self.clock)
        name = f"test-{uuid.uuid4().hex}"
        self.shared = SharedCircuit(name, self.numbers, self.redis, self.clock.milliseconds)

    @rule(milliseconds=st.sampled_from([1, 900, 4000, 7000, 10_000]))
    def wait(self, milliseconds):
        self.clock.now += milliseconds / 1000

    @rule()
    def ask(self):
        permit = f"p{next(_permits)}"
        decision, other = self.local.ask(permit), self.shared.ask(permit)
        assert (decision.may_go, decision.was, decision.state, decision.generation) == (
            other.may_go,
            other.was,
            other.state,
            other.generation,
        )
        assert decision.wait_s == pytest.approx(other.wait_s, abs=0.002)
        if decision.state is State.OPEN:
            assert not decision.may_go
            assert self.opened_at is not None
            assert self.clock.now < self.opened_at + self.numbers.open_s
        if decision.state is not State.CLOSED and not decision.may_go:
            assert decision.wait_s > 0
        if decision.was is not decision.state:
            self.probing.clear()
        if decision.may_go:
            self.going[permit] = decision.generation
            if decision.state is State.HALF_OPEN:
                self.probing[permit] = self.clock.now + self.numbers.probe_lease_s

    @precondition(lambda self: self.going)
    @rule(data=st.data(), outcome=st.sampled_from(list(Outcome)))
    def tell(self, data, outcome):
        permit = data.draw(st.sampled_from(sorted(self.going)))
        generation = self.going.pop(permit)
        self.probing.pop(permit, None)
        decision = self.local.tell(permit, generation, outcome)
        other = self.shared.tell(permit, generation, outcome)
        assert (decision.was, decision.state) == (other.was, other.state)
        if decision.was is not decision.state:
            self.probing.clear()
            self.opened_at = self.clock.now if decision.state is State.OPEN else None
            # Only a good call closes it, only a bad one opens it.
            assert (decision.state is State.CLOSED) == (outcome in (Outcome.OK, Outcome.SLOW)) or (
                decision.state is State.OPEN and outcome is not Outcome.ABANDONED
            )

    @invariant()
    def they_are_alike(self):
        if hasattr(self, "local"):
            assert self.local.state() is self.shared.state()

    @invariant()
    def no_more_probes_are_out_than_allowed(self):
        out = [ends_at for ends_at in self.probing.values() if ends_at > self.clock.now]
        assert not out or len(out) <= self.numbers.probes


def test_in_memory_and_in_redis_it_decides_alike(redis):
    BothCircuits.redis = redis
    run_state_machine_as_test(
        BothCircuits, settings=hypothesis_settings(max_examples=60, stateful_step_count=40, deadline=None)
    )


def _probe(redis_url, name, start, everybody_has_asked, let_through):
    if redis_url:
        breaker = Breaker(name, RULES, Redis.from_url(redis_url, socket_timeout=5))
    else:
        breaker = _half_open_alone(name)
    start.wait(30)
    try:
        with breaker.calling():
            with let_through.get_lock():
                let_through.value += 1
            everybody_has_asked.wait(30)
    except CircuitOpen:
        everybody_has_asked.wait(30)


def _half_open_alone(name):
    clock = Clock()
    breaker = Breaker(name, RULES, clock=clock)
    for _ in range(RULES.minimum_calls):
        with breaker.calling() as made:
            made.fail()
    clock.now += RULES.open_s
    return breaker


def _let_through_by_processes(redis_url, name):
    """How many of eight processes that ask at once are let through a circuit that is just half-open."""
    fork = multiprocessing.get_context("fork")
    start, everybody_has_asked = fork.Barrier(PROCESSES), fork.Barrier(PROCESSES)
    let_through = fork.Value("i", 0)
    arguments = (redis_url, name, start, everybody_has_asked, let_through)
    processes = [fork.Process(target=_probe, args=arguments) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    return let_through.value


def test_of_eight_processes_three_probe(redis, redis_url):
    name = f"test-{uuid.uuid4().hex}"
    opened = {"state": "open", "generation": 1, "opened_at": 0, "passed": 0}
    redis.hset(f"breaker:{{{name}}}", mapping=opened)
    assert _let_through_by_processes(redis_url, name) == RULES.probes


def test_of_eight_processes_that_share_nothing_all_would_probe():
    """What the test above would see of breakers that share nothing: all eight go."""
    assert _let_through_by_processes(None, "unshared") == PROCESSES


class GoesAway(Exception):
    pass


def test_an_exception_is_a_failure_unless_it_does_not_count():
    breaker = Breaker("x", RULES, clock=Clock())
    for _ in range(6):
        with pytest.raises(GoesAway), breaker.calling(lambda error: not isinstance(error, GoesAway)):
            raise GoesAway
    assert breaker.state() is State.CLOSED
    for _ in range(6):
        with pytest.raises((GoesAway, CircuitOpen)), breaker.calling():
            raise GoesAway
    assert breaker.state() is State.OPEN
    assert breaker.counts == {"ok": 6, "failed": 5, "refused": 1}


def test_a_process_that_is_stopped_in_a_call_counts_for_nothing():
    breaker = Breaker("x", RULES, clock=Clock())
    for _ in range(10):
        with pytest.raises(KeyboardInterrupt), breaker.calling():
            raise KeyboardInterrupt
    assert breaker.state() is State.CLOSED
    assert breaker.counts == {"abandoned": 10}


def test_slow_calls_are_timed(clock):
    breaker = Breaker("x", RULES, clock=clock)
    for _ in range(RULES.minimum_calls):
        with breaker.calling():
            clock.now += RULES.slow_call_s
    assert breaker.state() is State.OPEN


def test_open_it_refuses_at_once_and_says_for_how_long(clock):
    breaker = Breaker("daraja", RULES, clock=clock)
    for _ in range(RULES.minimum_calls):
        with breaker.calling() as made:
            made.fail()
    clock.now += 9.5
    with pytest.raises(CircuitOpen, match="daraja does not answer; not called for another 21 s") as refused:
        breaker.calling().__enter__()
    assert refused.value.retry_after_s == 21
    assert breaker.counts["refused"] == 1


def test_listeners_hear_of_each_change_and_cannot_break_a_call(clock):
    heard = []

    def falls(*_):
        raise RuntimeError

    breaker = Breaker("x", RULES, listeners=(falls, lambda *change: heard.append(change)), clock=clock)
    for _ in range(RULES.minimum_calls):
        with breaker.calling() as made:
            made.fail()
    clock.now += RULES.open_s
    for _ in range(RULES.probes):
        with breaker.calling():
            pass
    closed, opened, half_open = State.CLOSED, State.OPEN, State.HALF_OPEN
    assert heard == [("x", closed, opened), ("x", opened, half_open), ("x", half_open, closed)]


def test_two_breakers_of_one_name_share_their_state(redis):
    name = f"test-{uuid.uuid4().hex}"
    one, other = Breakers(RULES, redis)[name], Breakers(RULES, redis)[name]
    for _ in range(RULES.minimum_calls):
        with one.calling() as made:
            made.fail()
    assert other.state() is State.OPEN
    with pytest.raises(CircuitOpen):
        other.calling().__enter__()


def test_with_redis_away_a_process_has_a_circuit_of_its_own(clock):
    away = Redis.from_url("redis://127.0.0.1:1/0", socket_timeout=0.2, socket_connect_timeout=0.2)
    breaker = Breaker("x", RULES, away, clock=clock)
    for _ in range(RULES.minimum_calls):
        with breaker.calling() as made:
            made.fail()
    assert not breaker.is_shared
    with pytest.raises(CircuitOpen):
        breaker.calling().__enter__()


def test_redis_that_comes_back_is_used_again(redis, clock):
    breaker = Breaker(f"test-{uuid.uuid4().hex}", RULES, redis, clock=clock)
    breaker._leave_redis(ConnectionError())  # type: ignore[arg-type]
    calls = f"breaker:{{{breaker.name}}}:calls"
    with breaker.calling():
        pass
    assert redis.llen(calls) == 0
    clock.now += 5
    with breaker.calling():
        pass
    assert redis.llen(calls) == 1


def test_its_state_is_forgotten_after_a_day(redis, clock):
    name = f"test-{uuid.uuid4().hex}"
    circuit = SharedCircuit(name, RULES, redis, clock.milliseconds)
    call(circuit, Outcome.OK)
    open_it(circuit)
    clock.now += RULES.open_s
    call(circuit, Outcome.ABANDONED)
    circuit.ask("probe")
    for key in redis.scan_iter(f"breaker:{{{name}}}*"):
        assert 0 < redis.pttl(key) <= 86_400_000


@pytest.mark.parametrize(
    "wrong", [{"failure_rate": 0}, {"failure_rate": 1.1}, {"probes": 0}, {"minimum_calls": 0}, {"open_s": -1}]
)
def test_rules_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Rules(**wrong)


def test_an_open_circuit_shows_in_health_and_numbers(redis_url):
    app = Flask("bare")
    app.config.update(REDIS_URL=redis_url, BREAKER_MINIMUM_CALLS=2)
    extension = CircuitBreaker(app)
    name = f"test-{uuid.uuid4().hex}"
    with app.app_context():
        for _ in range(2):
            with extension.breaker(name).calling() as made:
                made.fail()
        assert extension.health().status == "degraded"
        assert extension.health().numbers == {"circuits": {name: "open"}, "shared": True}
        shown = {(one.name, one.labels.get("outcome")): one.value for one in extension.collect()}
    assert shown == {("circuit_breaker_state", None): 2, ("circuit_breaker_calls_total", "failed"): 2}


def _unlike_any() -> str:
    return f"unlike any other {uuid.uuid4().hex}"


def _fail(breakers, name):
    with breakers[name].calling() as call:
        call.fail()


def _seen(breakers):
    return {one.name: one for one in survey(breakers)}


def test_every_process_sees_the_circuits_of_the_others(redis):
    one, other, mine, others = Breakers(RULES, redis), Breakers(RULES, redis), _unlike_any(), _unlike_any()
    with one[mine].calling():
        pass
    _fail(other, others)
    _fail(other, others)
    seen = _seen(one)
    assert seen[mine].standing == Standing(State.CLOSED, calls=1)
    assert seen[others].standing == Standing(State.CLOSED, calls=2, failed=2)
    assert (seen[mine].is_shared, seen[others].is_shared) == (True, True)
    assert (seen[mine].counts, seen[others].counts) == ({"ok": 1}, {})
    _fail(other, others)
    _fail(other, others)
    assert _seen(one)[others].standing == Standing(State.OPEN)


def test_what_is_too_old_to_count_is_not_shown(redis, clock):
    name, breakers = _unlike_any(), Breakers(RULES, redis)
    _fail(breakers, name)
    old = SharedCircuit(name, RULES, redis, lambda: 1)
    old.tell("permit", old.ask("permit").generation, Outcome.FAILED_SLOWLY)
    assert _seen(breakers)[name].standing == Standing(State.CLOSED, calls=1, failed=1)
    local = LocalCircuit(RULES, clock)
    local.tell("permit", 0, Outcome.SLOW)
    assert local.standing() == Standing(State.CLOSED, calls=1, slow=1)
    clock.now += RULES.window_s
    assert local.standing() == Standing(State.CLOSED)


def test_with_redis_away_a_process_sees_its_own_circuits():
    with Redis.from_url("redis://127.0.0.1:1/0", socket_timeout=0.5) as away:
        breakers = Breakers(RULES, away)
        for _ in range(4):
            _fail(breakers, "its own")
        (seen,) = survey(breakers)
    assert (seen.name, seen.standing.state, seen.is_shared) == ("its own", State.OPEN, False)
    assert seen.counts == {"failed": 4}


def test_a_process_remembers_a_thousand_circuits_at_most():
    breakers = Breakers(RULES)
    kept = breakers["kept"]
    for number in range(1500):
        assert breakers[str(number)].name == str(number)
        assert breakers["kept"] is kept
    assert len(list(breakers)) == 1000
