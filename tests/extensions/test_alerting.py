"""Rules over what is measured: pending, firing, resolved; on bare apps, without Redis, on a clock that tests hold."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import threading
import time

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from extensions.alerting import (
    DEFAULT_RULES,
    Alert,
    Alerting,
    MemoryStore,
    Rule,
    Silence,
    evaluate,
    faults,
    fingerprint,
)
from extensions.alerting.evaluator import SERIES_MOST
from extensions.alerting.machine import begin, move
from extensions.alerting.measures import Readings
from extensions.loader import load_extensions, run_after_fork
from extensions.monitoring.reader import Merged
from tests.support.measured_load import CALM, STEP_S, TROUBLES, Load, growing_memory, minutes, run

START = dt.datetime(2026, 11, 25, 2, 0, tzinfo=dt.UTC)
RULE = Rule("busy", "error_rate", "ABOVE", 0.8, 0.6, 60, "WARNING", resolve_for_s=120)
EXTENSIONS = ("jobs", "memory")


def after(seconds: float) -> dt.datetime:
    return START + dt.timedelta(seconds=seconds)


def states(rule, values, every_s=10):
    """What becomes of an alert that sees these values in turn: its state after each, ``-`` where there is none."""
    alert, found = None, []
    for number, value in enumerate(values):
        now = after(number * every_s)
        if alert is None:
            alert = None if value is None else begin(rule, {}, value, now)
        if alert is not None:
            moved = move(rule, alert, value, now)
            found.append("-" if moved == "DROPPED" else alert.state)
            alert = None if moved in ("DROPPED", "RESOLVED") else alert
        else:
            found.append("-")
    return found


def runs(found):
    """States without repetition."""
    return [one for number, one in enumerate(found) if number == 0 or found[number - 1] != one]


def test_it_is_pending_for_its_time_then_fires_and_is_over_after_its_time():
    found = states(RULE, [0.9] * 10 + [0.5] * 20)
    assert found[:6] == ["PENDING"] * 6
    assert found[6] == "FIRING"
    assert runs(found) == ["PENDING", "FIRING", "RESOLVED", "-"]
    # It was back at 100 s, and so is over at 220 s.
    assert found.index("RESOLVED") == 22


def test_what_goes_back_before_its_time_never_fires():
    assert runs(states(RULE, ([0.9] * 6 + [0.79]) * 20)) == ["PENDING", "-"] * 20


def test_between_the_thresholds_it_goes_on_and_does_not_begin():
    assert runs(states(RULE, [0.7] * 100)) == ["-"]
    assert runs(states(RULE, [0.9] * 10 + [0.7] * 1000)) == ["PENDING", "FIRING"]


def test_going_back_must_last():
    assert runs(states(RULE, [0.9] * 10 + ([0.5] * 11 + [0.7]) * 20)) == ["PENDING", "FIRING"]


def test_a_rule_below_is_the_other_way_round():
    rule = dataclasses.replace(RULE, comparison="BELOW", threshold=0.7, resolve_threshold=0.75)
    found = states(rule, [0.8] * 3 + [0.6] * 10 + [0.72] * 50 + [0.75] * 20)
    assert runs(found) == ["-", "PENDING", "FIRING", "RESOLVED", "-"]


def test_a_value_at_the_threshold_is_not_beyond_it():
    assert runs(states(RULE, [0.8] * 50)) == ["-"]


def test_too_little_data_is_no_reason_to_fire_and_ends_what_fires():
    assert runs(states(RULE, [0.9] * 3 + [None] + [0.9] * 3)) == ["PENDING", "-", "PENDING"]
    assert runs(states(RULE, [0.9] * 10 + [None] * 20)) == ["PENDING", "FIRING", "RESOLVED", "-"]


def test_what_nobody_looked_at_for_a_while_begins_its_time_anew():
    alert = begin(RULE, {}, 0.9, START)
    assert alert is not None
    assert move(RULE, alert, 0.9, after(3600)) == "KEPT"
    assert alert.started_at == after(3600)
    for second in range(3610, 3660, 10):
        assert move(RULE, alert, 0.9, after(second)) == "KEPT"
    assert move(RULE, alert, 0.9, after(3660)) == "FIRED"
    assert move(RULE, alert, 0.5, after(3670)) == "KEPT"
    assert move(RULE, alert, 0.5, after(9000)) == "KEPT"
    assert alert.state == "FIRING"


@given(
    values=st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=200),
    for_s=st.integers(0, 60),
    resolve_for_s=st.integers(0, 60),
)
def test_it_fires_only_after_its_time_and_is_over_only_after_its_time(values, for_s, resolve_for_s):
    rule = dataclasses.replace(RULE, for_s=for_s, resolve_for_s=resolve_for_s)
    found = states(rule, values)
    for number, state in enumerate(found):
        before = found[number - 1] if number else "-"
        if state == "FIRING" and before != "FIRING":
            beyond = values[number - -(-for_s // 10) : number + 1]
            assert all(value is not None and value > 0.8 for value in beyond)
        if state == "RESOLVED":
            back = values[number - -(-resolve_for_s // 10) : number + 1]
            assert all(value is None or value <= 0.6 for value in back)
        if before == "FIRING":
            assert state in ("FIRING", "RESOLVED")


def test_the_fingerprint_is_the_same_in_whatever_order_labels_come():
    one = fingerprint("deep_queue", {"queue": "exports", "host": "a"})
    assert (
        one
        == fingerprint("deep_queue", {"host": "a", "queue": "exports"})
        == "deep_queue/host=a,queue=exports"
    )
    assert fingerprint("deep_queue", {}) == "deep_queue"


@pytest.mark.parametrize(
    "changes, field",
    [
        ({"name": "Busy"}, "name"),
        ({"name": "a" * 64}, "name"),
        ({"metric": "nonsense"}, "metric"),
        ({"metric": "jobs_"}, None),
        ({"metric": "jobs waiting"}, "metric"),
        ({"comparison": "OVER"}, "comparison"),
        ({"severity": "BAD"}, "severity"),
        ({"threshold": float("nan")}, "threshold"),
        ({"resolve_threshold": 0.9}, "resolve_threshold"),
        ({"comparison": "BELOW"}, "resolve_threshold"),
        ({"for_s": -1}, "for_s"),
        ({"for_s": 86_401}, "for_s"),
        ({"resolve_for_s": -1}, "resolve_for_s"),
        ({"window_s": 9}, "window_s"),
        ({"window_s": 901}, "window_s"),
        ({"minimum_count": -1}, "minimum_count"),
        ({"labels": {"a queue": "x"}}, "labels"),
        ({}, None),
    ],
)
def test_a_rule_that_is_none_is_told_field_by_field(changes, field):
    found = faults(dataclasses.replace(RULE, **changes), EXTENSIONS)
    assert [name for name, _ in found] == ([] if field is None else [field])


def test_the_six_rules_of_every_installation_are_sound():
    assert [rule.name for rule in DEFAULT_RULES] == [
        "slow_responses", "high_memory", "slow_queries", "high_error_rate", "low_cache_hit_rate", "deep_queue",
    ]  # fmt: skip
    for rule in DEFAULT_RULES:
        assert faults(rule, EXTENSIONS) == []
        assert rule.enabled
        assert rule.threshold != rule.resolve_threshold


# What rules read


def readings(load: Load, rule: Rule):
    return Readings(load.reader, load.clock()).of(rule)


def rule_of(name: str, **changes) -> Rule:
    (found,) = (rule for rule in DEFAULT_RULES if rule.name == name)
    return dataclasses.replace(found, **changes)


def test_the_values_are_those_of_the_load():
    load = Load()
    for shape in minutes(
        5, errors=0.5, slow_ms=4000.0, hit_rate=0.4, waiting=1500.0, memory=0.7, noise=0.001
    ):
        load.step(shape)
    (rate,) = readings(load, rule_of("high_error_rate"))
    assert rate.value == pytest.approx(0.5, abs=0.05)
    assert rate.count == 30 * 80
    slow = {one.labels["route"]: one.value for one in readings(load, rule_of("slow_responses"))}
    assert slow == {
        "/api/v1/units": pytest.approx(0.04, rel=0.02),
        "/api/v1/slow": pytest.approx(4.0, rel=0.02),
    }
    (hits,) = readings(load, rule_of("low_cache_hit_rate"))
    assert hits.value == pytest.approx(0.4, abs=0.06)
    depth = {one.labels["queue"]: one.value for one in readings(load, rule_of("deep_queue"))}
    assert depth == {"exports": pytest.approx(1500, rel=0.02), "payments": pytest.approx(3, rel=0.02)}
    (memory,) = readings(load, rule_of("high_memory"))
    assert memory.value == pytest.approx(0.7, rel=0.02)


def test_of_several_processes_the_fullest_counts_and_a_spike_does_not():
    load = Load()
    for number in range(6):
        load.clock.at += STEP_S
        for share in (0.3, 0.4, 0.85):
            load.observe("memory_share", share, "host=one")
        load.observe("memory_share", 0.99 if number == 3 else 0.5, "host=two")
        load.recorder.flush()
    found = {one.labels["host"]: one.value for one in readings(load, rule_of("high_memory"))}
    assert found == {"one": pytest.approx(0.85, rel=0.02), "two": pytest.approx(0.58, rel=0.02)}


def test_of_a_total_it_is_what_it_grew_by_a_minute():
    load = Load()
    rule = Rule("refused", "rate_limiting_refused_total", "ABOVE", 10, 5, 60, "WARNING", window_s=60)
    total = [0.0]

    def sampler():
        from extensions.contract import Metric

        total[0] += 7
        return [Metric("rate_limiting_refused_total", total[0], {"class": "sign_in"})]

    load.recorder.samplers.append(sampler)
    for _ in range(30):
        load.clock.at += STEP_S
        load.recorder.flush()
    (found,) = readings(load, rule)
    assert found.labels == {"class": "sign_in"}
    assert found.value == pytest.approx(42, abs=8)


def test_labels_narrow_a_rule():
    load = Load()
    for shape in minutes(1):
        load.step(shape)
    found = readings(load, rule_of("deep_queue", labels={"queue": "payments"}))
    assert [one.labels for one in found] == [{"queue": "payments"}]
    (units,) = readings(load, rule_of("low_cache_hit_rate", labels={"namespace": "units"}))
    assert units.labels == {"namespace": "units"}
    assert readings(load, rule_of("low_cache_hit_rate", labels={"namespace": "leases"})) == []


def test_one_error_of_two_requests_is_no_error_rate():
    load = Load()
    load.clock.at += STEP_S
    for is_error in (True, False):
        load.observe("http", 5.0, is_error=is_error)
    assert readings(load, rule_of("high_error_rate")) == []


# Evaluation


def store_of(*rules: Rule, told=None) -> MemoryStore:
    return MemoryStore(rules or DEFAULT_RULES, (told if told is not None else []).append)


def on(store: MemoryStore):
    return lambda load: evaluate(store, load.reader, load.clock.now)


@pytest.mark.req("A2")
def test_a_load_of_known_shape_fires_exactly_the_right_alerts_once_each_and_resolves_them():
    told: list[Alert] = []
    store = store_of(told=told)
    trouble = {name: value for changes in TROUBLES.values() for name, value in changes.items()}
    trouble.pop("memory")
    shapes = minutes(10) + growing_memory(20, **trouble) + minutes(20)

    found = run(Load(), shapes, on(store))

    assert found.names(found.fired) == sorted(TROUBLES)
    assert found.names(found.resolved) == sorted(TROUBLES)
    assert all(600 < at < 1800 for at, _ in found.fired)
    assert all(at > 1800 for at, _ in found.resolved)
    assert sorted((one.fingerprint, one.state) for one in told) == sorted(
        (one, state) for one in TROUBLES for state in ("FIRING", "RESOLVED")
    )
    assert sorted(one.fingerprint for one in store.alerts("RESOLVED")) == sorted(TROUBLES)
    assert store.alerts("FIRING") == store.alerts("PENDING") == []


@pytest.mark.req("A2")
@pytest.mark.parametrize("expected", TROUBLES)
def test_each_trouble_alone_fires_its_alert_and_no_other(expected):
    found = run(
        Load(seed=7),
        minutes(3) + minutes(10, dataclasses.replace(CALM, **TROUBLES[expected])) + minutes(10),
        on(store_of()),
    )
    assert [found.names(found.fired), found.names(found.resolved)] == [[expected]] * 2


BUSY = dataclasses.replace(
    CALM, errors=0.02, slow_ms=1200.0, hit_rate=0.82, waiting=600.0, memory=0.72, slow_statements_a_minute=1.5, noise=0.25
)  # fmt: skip
AT_THE_THRESHOLD = dataclasses.replace(
    BUSY,
    errors=0.05,
    slow_ms=1300.0,
    hit_rate=0.70,
    waiting=1000.0,
    memory=0.80,
    slow_statements_a_minute=5.0,
)


def quiet_hours(seed: int) -> None:
    found = run(Load(seed), minutes(120, BUSY), on(store_of()))
    assert found.fired == []


def flapless_hours(seed: int) -> None:
    found = run(Load(seed), minutes(120, AT_THE_THRESHOLD), on(store_of()))
    fired = found.names(found.fired)
    assert fired == sorted(set(fired)), "an alert fired twice in two hours"
    assert len(fired) >= 2, "the noise is not at the threshold"


@pytest.mark.req("A2")
@pytest.mark.parametrize("seed", [1])
def test_no_alert_fires_on_noise_in_two_hours(seed):
    quiet_hours(seed)


@pytest.mark.req("A2")
@pytest.mark.parametrize("seed", [1])
def test_no_alert_flaps_on_noise_around_its_threshold_in_two_hours(seed):
    flapless_hours(seed)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_nor_does_any_with_other_noise():
    for seed in range(2, 22):
        quiet_hours(seed)
        flapless_hours(seed)


def firing_store(told) -> tuple[MemoryStore, Load]:
    """A queue that is full, and the alert of it firing."""
    store, load = store_of(rule_of("deep_queue"), told=told), Load()
    run(load, minutes(3, waiting=1500.0), on(store))
    return store, load


def test_what_is_silenced_is_recorded_and_not_told_until_the_silence_ends():
    told: list[Alert] = []
    load = Load()
    store = store_of(rule_of("deep_queue"), told=told)
    store.silence(Silence("moving", "otieno", load.clock.now + dt.timedelta(minutes=10), rule="deep_queue"))
    run(load, minutes(5, waiting=1500.0), on(store))
    (alert,) = store.alerts("FIRING")
    assert (alert.told_at, told) == (None, [])
    run(load, minutes(6, waiting=1500.0), on(store))
    assert [one.state for one in told] == ["FIRING"]
    run(load, minutes(6), on(store))
    assert [one.state for one in told] == ["FIRING", "RESOLVED"]


def test_of_what_was_silenced_to_its_end_nothing_is_told():
    told: list[Alert] = []
    load = Load()
    store = store_of(rule_of("deep_queue"), told=told)
    silence = Silence("moving", "otieno", load.clock.now + dt.timedelta(hours=1), "deep_queue/queue=exports")
    store.silence(silence)
    run(load, minutes(5, waiting=1500.0) + minutes(6), on(store))
    store.end_silence(silence.id)
    run(load, minutes(3), on(store))
    assert told == []
    assert [one.state for one in store.alerts()] == ["RESOLVED"]


def test_who_looks_after_it_is_remembered():
    told: list[Alert] = []
    store, load = firing_store(told)
    (alert,) = store.alerts("FIRING")
    store.acknowledge(alert.id, "otieno", load.clock.now, "more workers are on their way")
    run(load, minutes(6), on(store))
    (alert,) = store.alerts("RESOLVED")
    assert (alert.acknowledged_by, alert.acknowledged_note) == ("otieno", "more workers are on their way")
    with pytest.raises(LookupError):
        store.acknowledge(alert.id, "otieno", load.clock.now)


@pytest.mark.parametrize("act", ["switch off", "remove"])
def test_the_alerts_of_a_rule_that_is_gone_are_over(act):
    told: list[Alert] = []
    store, load = firing_store(told)
    if act == "remove":
        store.remove_rule("deep_queue")
    else:
        (rule,) = store.rules()
        store.put_rule(dataclasses.replace(rule, enabled=False))
    run(load, minutes(1, waiting=1500.0), on(store))
    assert [one.state for one in told] == ["FIRING", "RESOLVED"]
    assert [one.state for one in store.alerts()] == ["RESOLVED"]


class Away:
    """A reader whose Redis is away."""

    def window(self, window_s, metrics=()):
        return Merged(missing=["other processes (Redis is away)"])

    def points(self, metric, since, until, step_s, labels=None):
        return [], ["other processes (Redis is away)"]


def test_what_cannot_be_read_changes_nothing():
    told: list[Alert] = []
    store, load = firing_store(told)
    for _ in range(60):
        load.clock.at += STEP_S
        done = evaluate(store, Away(), load.clock.now)
        assert done is not None
        assert (done.unknown, done.firing) == (["deep_queue"], 1)
    assert [one.state for one in store.alerts()] == ["FIRING"]
    assert len(told) == 1


def test_when_everything_is_slow_some_routes_say_so():
    load = Load()
    store = store_of(rule_of("slow_responses", for_s=0))
    load.clock.at += STEP_S
    for route in range(100):
        for _ in range(30):
            load.observe("http", 4000.0 + 200 * route, f"GET /api/v1/r{route}")
    done = evaluate(store, load.reader, load.clock.now)
    assert done is not None
    assert len(done.fired) == SERIES_MOST
    assert {one.labels["route"] for one in done.fired} >= {"/api/v1/r99"}
    load.clock.at += STEP_S
    again = evaluate(store, load.reader, load.clock.now)
    assert again is not None
    assert (again.fired, again.firing) == ([], SERIES_MOST)


def test_two_evaluators_at_once_give_one_alert():
    told: list[Alert] = []
    load = Load()
    store = store_of(rule_of("deep_queue", for_s=0), told=told)
    load.step(dataclasses.replace(CALM, waiting=1500.0))
    both = threading.Barrier(4)

    def turn():
        both.wait()
        for _ in range(20):
            evaluate(store, load.reader, load.clock.now)

    threads = [threading.Thread(target=turn) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == len(store.alerts()) == 1


# On an app


def make_app(**config) -> Flask:
    app = Flask("bare")
    app.config.from_mapping(config)
    load_extensions(app, ["extensions.monitoring:Monitoring", "extensions.alerting:Alerting"])
    app.add_url_rule("/wrong", "wrong", lambda: ("wrong", 500))
    return app


AT_ONCE = Rule("wrong", "error_rate", "ABOVE", 0.5, 0.5, 0, "CRITICAL")


def until(is_so, for_s=30.0):
    deadline = time.monotonic() + for_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_thread_of_the_app_evaluates_after_its_first_request():
    app = make_app(ALERT_INTERVAL=0.05, ALERT_RULES=[AT_ONCE])
    with app.app_context():
        alerting = Alerting()
        told: list[Alert] = []
        alerting.listen(told.append)
        assert alerting.health().numbers["evaluated"] == "not yet"
        app.test_client().get("/wrong")
        until(lambda: told)
        until(lambda: alerting.health().numbers.get("firing") == 1)
        assert {one.name: one.value for one in alerting.collect()}["alerting_firing"] == 1


def test_a_process_that_was_forked_evaluates_itself():
    app = make_app(ALERT_INTERVAL=0.05, ALERT_RULES=[AT_ONCE])
    app.test_client().get("/wrong")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run_after_fork(app)
            app.extensions["alerting"].last = None
            app.test_client().get("/wrong")
            until(lambda: app.extensions["alerting"].last is not None)
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def fails(alert: Alert) -> None:
    raise RuntimeError(alert.rule)


def test_a_listener_that_fails_holds_up_no_other():
    app = make_app(ALERT_INTERVAL=0, ALERT_RULES=[AT_ONCE])
    told: list[Alert] = []
    with app.app_context():
        alerting = Alerting()
        alerting.listen(fails)
        alerting.listen(told.append)
        app.test_client().get("/wrong")
        done = alerting.evaluate()
    assert done is not None
    assert len(told) == 1


def test_without_monitoring_there_is_nothing_to_evaluate():
    app = Flask("bare")
    load_extensions(app, ["extensions.alerting:Alerting"])
    with app.app_context():
        assert Alerting().evaluate() is None
        assert Alerting().health().status == "ok"
