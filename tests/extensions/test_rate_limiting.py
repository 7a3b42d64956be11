"""Rate limiting: how exact it is, what it tells, and what it does without Redis."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from itertools import pairwise

import pytest
import redis
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from extensions.loader import load_extensions
from extensions.rate_limiting import RateLimiting, RouteClass, Rule
from extensions.rate_limiting.control import Control
from extensions.rate_limiting.counting import SLOTS, LocalWindows, SharedWindows
from extensions.rate_limiting.refusals import CALLERS_KEPT, Refusals
from extensions.rate_limiting.rules import Limits
from tests.support.own_valkey import OwnValkey, own_valkey

LOGIN = RouteClass("login", 0.5, ("POST /login",), by_address=True)
PATIENT_MS = 20_000
"""A busy machine must not look like a Redis that is away."""


def an_app(redis_url: str, most: int = 4, **config: object) -> Flask:
    app = Flask("bare")
    settings = {"RATE_LIMIT_MAX_REQUESTS": most, "RATE_LIMIT_CLASSES": (LOGIN,)}
    app.config.from_mapping({"REDIS_URL": redis_url, "REDIS_TIMEOUT": PATIENT_MS, **settings, **config})
    load_extensions(app, ["extensions.rate_limiting:RateLimiting"])
    app.add_url_rule("/hello", view_func=lambda: "hello")
    app.add_url_rule("/alive", "alive", view_func=lambda: "alive")
    app.add_url_rule("/login", "login", view_func=lambda: "in", methods=["POST"])
    return app


@pytest.fixture(scope="module")
def valkey(tmp_path_factory):
    with own_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def app(valkey: OwnValkey) -> Flask:
    redis.Redis.from_url(valkey.url).flushall()
    return an_app(valkey.url, RATE_LIMIT_EXEMPT_PATHS=("/alive",))


def ask(app: Flask, path: str = "/hello", method: str = "GET", address: str = "198.51.100.7"):
    return app.test_client().open(path, method=method, environ_base={"REMOTE_ADDR": address})


def until(is_so: Callable[[], bool], for_s: float = 30) -> None:
    deadline = time.monotonic() + for_s
    while not is_so():
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.05)


# How exact


def _count_allowed(url: str, times: int, results) -> None:
    windows = SharedWindows(redis.Redis.from_url(url), "exact")
    rules = [("default", Rule(1000, 3_600_000))]
    results.put(sum(windows.take("one", rules).is_allowed for _ in range(times)))


@pytest.mark.req("R1")
def test_of_many_requests_of_eight_processes_exactly_the_limit_passes(valkey):
    redis.Redis.from_url(valkey.url).flushall()
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    processes = [fork.Process(target=_count_allowed, args=(valkey.url, 200, results)) for _ in range(8)]
    for one in processes:
        one.start()
    allowed = [results.get(timeout=100) for _ in processes]
    for one in processes:
        one.join()
    assert sum(allowed) == 1000


@pytest.mark.req("R1")
def test_no_second_ever_has_more_than_the_limit_over_its_edges_too(valkey):
    redis.Redis.from_url(valkey.url).flushall()
    windows = SharedWindows(redis.Redis.from_url(valkey.url), "edges")
    rules, passed = [("default", Rule(50, 1000))], []
    stop_at = time.monotonic() + 4

    def hammer() -> None:
        while time.monotonic() < stop_at:
            # By the clock that Redis goes by: against another one it may run fast or slow by half a thousandth.
            began = time.time()
            if windows.take("one", rules).is_allowed:
                passed.append((began, time.time()))

    threads = [threading.Thread(target=hammer) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    # Redis counted each between the two moments: 51 that all lie within a second are one too many. It looks at its clock
    # once for all commands that came together, so its time of one may lie a little before the command was sent.
    passed.sort(key=lambda span: span[1])
    assert len(passed) > 50
    for first, last in zip(passed, passed[50:], strict=False):
        assert last[1] - first[0] > 1.0 - 0.02


@given(
    limit=st.integers(1, 5),
    pauses=st.lists(st.integers(0, 700), min_size=1, max_size=60),
)
def test_in_memory_no_window_has_more_and_none_waits_longer_than_a_hundredth_more(limit, pauses):
    now_ms, window_ms = 10_000_000, 1000
    windows = LocalWindows(lambda: now_ms / 1000)
    passed: list[int] = []
    for pause in pauses:
        now_ms += pause
        is_allowed = windows.take("one", [("default", Rule(limit, window_ms))]).is_allowed
        longer = window_ms + window_ms // SLOTS
        if is_allowed:
            assert sum(then > now_ms - window_ms for then in passed) < limit
            passed.append(now_ms)
        else:
            assert sum(then > now_ms - longer for then in passed) >= limit


def test_redis_and_memory_count_alike(valkey):
    redis.Redis.from_url(valkey.url).flushall()
    shared, local = SharedWindows(redis.Redis.from_url(valkey.url), "alike"), LocalWindows(time.time)
    rules = [("login", Rule(3, 3_600_000)), ("default", Rule(5, 3_600_000))]
    for asked in (rules, rules, rules[1:], rules, rules, rules[1:], rules[1:]):
        ours, theirs = local.take("one", asked), shared.take("one", asked)
        assert ours.is_allowed == theirs.is_allowed
        assert [one.left for one in ours.standings] == [one.left for one in theirs.standings]


def test_a_refused_request_counts_in_no_window(valkey):
    redis.Redis.from_url(valkey.url).flushall()
    rules = [("login", Rule(1, 3_600_000)), ("default", Rule(9, 3_600_000))]
    for windows in (SharedWindows(redis.Redis.from_url(valkey.url), "none"), LocalWindows(time.time)):
        left = [windows.take("one", rules).standings[1].left for _ in range(4)]
        assert left == [8, 8, 8, 8]


def test_a_place_comes_free_again(valkey):
    redis.Redis.from_url(valkey.url).flushall()
    windows = SharedWindows(redis.Redis.from_url(valkey.url), "free")
    rules = [("default", Rule(1, 1000))]
    assert windows.take("one", rules).is_allowed
    (standing,) = windows.take("one", rules).standings
    assert standing.frees_in_ms <= 1010
    time.sleep(standing.frees_in_ms / 1000)
    assert windows.take("one", rules).is_allowed


def test_one_request_is_one_round_trip(valkey, app):
    ask(app)
    client = redis.Redis.from_url(valkey.url)
    app.extensions["rate_limiting"].control._sync_at = time.monotonic() + 3600
    before = client.info("commandstats")
    for number in range(10):
        ask(app, address=f"198.51.100.{number}")
    after = client.info("commandstats")
    assert after["cmdstat_evalsha"]["calls"] - before["cmdstat_evalsha"]["calls"] == 10
    for number in range(10):
        ask(app, "/login", "POST", address=f"198.51.100.{number}")
    assert client.info("commandstats")["cmdstat_evalsha"]["calls"] - after["cmdstat_evalsha"]["calls"] == 10
    assert after.get("cmdstat_hgetall") == before.get("cmdstat_hgetall")


def test_the_memory_of_a_process_is_bounded():
    windows = LocalWindows(time.time, kept=10)
    for number in range(50):
        windows.take(f"caller {number}", [("default", Rule(5, 1000))])
    assert windows.clear() == 10
    refusals = Refusals(time.time, "bounded")
    for number in range(CALLERS_KEPT + 50):
        refusals.add("default", f"caller {number}")
    assert len(refusals.last_hour()) == CALLERS_KEPT
    assert refusals.totals["default"] == CALLERS_KEPT + 50


# What it tells


@pytest.mark.req("R3")
def test_too_many_requests_are_refused_and_told_when_to_come_back(app):
    answers = [ask(app) for _ in range(5)]
    assert [one.status_code for one in answers] == [200, 200, 200, 200, 429]
    assert answers[0].headers["RateLimit-Policy"] == '"default";q=4;w=60'
    assert answers[1].headers["RateLimit"].startswith('"default";r=2;t=')
    assert [one.headers["X-RateLimit-Remaining"] for one in answers] == ["3", "2", "1", "0", "0"]
    assert answers[0].headers["X-RateLimit-Limit"] == "4"
    refused = answers[4]
    assert refused.content_type == "application/problem+json"
    assert refused.get_json(force=True)["detail"].startswith("The limit `default` is 4 per 60 seconds: wait ")
    assert 1 <= int(refused.headers["Retry-After"]) <= 61
    assert "Retry-After" not in answers[0].headers
    assert ask(app, address="198.51.100.8").status_code == 200


@pytest.mark.req("R1", "R3")
def test_a_class_of_routes_has_a_limit_of_its_own_beside_the_one_of_all(app):
    answers = [ask(app, "/login", "POST") for _ in range(3)]
    assert [one.status_code for one in answers] == [200, 200, 429]
    assert answers[0].headers["RateLimit-Policy"] == '"login";q=2;w=60, "default";q=4;w=60'
    assert answers[0].headers["RateLimit"].count(";r=") == 2
    assert answers[0].headers["X-RateLimit-Limit"] == "2"
    assert "`login`" in answers[2].get_json(force=True)["detail"]
    assert [ask(app).status_code for _ in range(3)] == [200, 200, 429]


def test_a_class_by_address_does_not_believe_who_one_says_one_is(valkey):
    redis.Redis.from_url(valkey.url).flushall()
    callers = iter(f"user {number}" for number in range(100))
    app = an_app(valkey.url, RATE_LIMIT_IDENTIFY=lambda: next(callers))
    assert [ask(app, "/login", "POST").status_code for _ in range(3)] == [200, 200, 429]
    assert [ask(app).status_code for _ in range(9)] == [200] * 9


def test_an_exempt_path_is_never_refused(app):
    answers = [ask(app, "/alive") for _ in range(9)]
    assert {one.status_code for one in answers} == {200}
    assert "RateLimit" not in answers[0].headers


def test_what_has_no_route_is_counted_too(app):
    assert [ask(app, f"/guess/{number}").status_code for number in range(5)] == [404] * 4 + [429]


def test_only_a_view_that_says_so_tells_an_unlimited_caller_to_wait(app):
    app.add_url_rule("/busy", "busy", view_func=lambda: ("busy", 503, {"Retry-After": "2"}))
    assert ask(app, "/busy").headers.getlist("Retry-After") == ["2"]


def test_who_was_refused_is_told_of_all_processes(valkey, app):
    other = an_app(valkey.url)
    for _ in range(7):
        ask(app)
    for _ in range(2):
        ask(other)
        ask(other, address="198.51.100.9")
    for one in (app, other):
        one.extensions["rate_limiting"].control.sync(now=True)
    with other.app_context():
        report = RateLimiting().report()
    assert report["of_all_processes"]
    assert report["refused"] == 5
    assert report["refused_by_limit"] == {"default": 5}
    assert report["most_refused"] == [{"caller": "address:198.51.100.7", "limit": "default", "refused": 5}]


# What an operator says


@pytest.mark.parametrize(
    "text, amount, window_ms",
    [("30 per minute", 30, 60_000), ("5 per 10 seconds", 5, 10_000), ("1 per hour", 1, 3_600_000)],
)
def test_a_rule_is_said_in_words(text, amount, window_ms):
    rule = Rule.parse(text)
    assert rule == Rule(amount, window_ms) == Rule.parse(str(rule))


@pytest.mark.parametrize("text", ["", "many", "0 per minute", "5", "-1 per minute", "5 per 9999 hours"])
def test_what_is_no_rule_is_refused(text):
    with pytest.raises(ValueError, match=r"limit|window"):
        Rule.parse(text)


def test_a_changed_limit_holds_in_another_process_within_seconds(valkey, app):
    other = an_app(valkey.url)
    assert ask(other).headers["X-RateLimit-Limit"] == "4"
    with app.app_context():
        RateLimiting().override({"default": "3 per minute"})
    until(lambda: ask(other, address="198.51.100.33").headers["X-RateLimit-Limit"] == "3")
    with app.app_context():
        RateLimiting().override({})
    until(lambda: ask(other, address="198.51.100.34").headers["X-RateLimit-Limit"] == "4")


def test_what_redis_has_lost_is_restored(valkey):
    client = redis.Redis.from_url(valkey.url)
    client.flushall()
    limits = Limits(Rule(4, 60_000))
    control = Control(limits, client, "lost", restore=lambda: {"default": "2 per minute"})
    control.sync(now=True)
    assert limits.overrides == {"default": Rule(2, 60_000)}
    client.flushall()
    control.sync(now=True)
    assert client.hget("lost:overrides", "default") == b"2 per minute"


def test_a_limit_of_no_class_is_refused(app):
    with app.app_context(), pytest.raises(ValueError, match="There is no limit 'nothing'"):
        RateLimiting().override({"nothing": "3 per minute"})


# Without Redis


@pytest.mark.req("R4")
def test_a_dead_redis_makes_the_limit_count_in_memory():
    app = an_app("redis://127.0.0.1:1/0", most=3)
    assert [ask(app).status_code for _ in range(5)] == [200, 200, 200, 429, 429]
    with app.app_context():
        assert RateLimiting().health().status == "degraded"
        report = RateLimiting().report()
    assert report["counts_in"] == "memory"
    assert report["refused"] == 2
    assert not report["of_all_processes"]


@pytest.mark.req("R4")
def test_redis_is_counted_in_again_once_it_is_back(tmp_path):
    with own_valkey(tmp_path) as valkey:
        app = an_app(valkey.url, most=1000)
        storage = app.extensions["rate_limiting"].storage
        ask(app)
        assert not storage.counts_in_memory
        valkey.kill()
        assert {ask(app).status_code for _ in range(20)} == {200}
        assert storage.counts_in_memory
        valkey.start()
        until(lambda: ask(app).status_code == 200 and not storage.counts_in_memory)


def test_the_numbers_are_those_of_what_happened(app):
    for _ in range(6):
        ask(app)
    with app.app_context():
        numbers = {(one.name, one.labels.get("class")): one.value for one in RateLimiting().collect()}
    assert numbers["rate_limiting_refused_total", "default"] == 2
    assert numbers["rate_limiting_refused_total", "login"] == 0
    assert numbers["rate_limiting_in_memory", None] == 0


def test_what_is_left_never_grows_while_requests_come(valkey, app):
    left = [int(ask(app).headers["X-RateLimit-Remaining"]) for _ in range(4)]
    assert all(after < before for before, after in pairwise(left))
