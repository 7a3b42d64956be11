"""What the cache keeps, how it is cleared, and who computes. On a real Valkey."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import threading
import time
import uuid
from decimal import Decimal
from typing import Any

import pytest
import redis
import time_machine
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from extensions.caching import Caching, cache_manager
from extensions.caching.breaker import Breaker
from extensions.caching.build import build_cache
from extensions.caching.cache import BYPASS, HIT, MISS, STALE_HIT, Rules
from extensions.caching.keys import Keys, Place, lease
from extensions.caching.link import Unavailable
from extensions.caching.local import LocalEntries
from extensions.caching.manager import Declared
from extensions.caching.values import Entry, pack, unpack

ONCE = "computed:once"


@pytest.fixture
def prefix():
    return f"test-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def cache(redis_url, prefix):
    # Patient, so that a busy machine is not taken for a dead Redis.
    return build_cache(redis_url, Rules(wait_s=20, lease_s=3), prefix, timeout_s=10)


@pytest.fixture
def plain(redis_url):
    return redis.Redis.from_url(redis_url, decode_responses=True)


def place(key="a", namespace="rents", owner="makao", tags=()):
    return Place(owner, namespace, key, tuple(tags))


def fetched(cache, where, value=b"new", ttl_s=60):
    return cache.fetch(where, lambda: value, lambda body: (b"", body), ttl_s)


def test_a_value_comes_back_as_json_has_it(cache):
    value = {
        "rent": Decimal("25000.00"),
        "on": dt.date(2026, 11, 1),
        "id": uuid.UUID(int=7),
        "n": [1, None, "Ñ"],
    }
    assert cache.set(place(), value)
    expected = {"rent": "25000.00", "on": "2026-11-01", "id": str(uuid.UUID(int=7)), "n": [1, None, "Ñ"]}
    assert cache.get(place()) == expected
    assert (
        cache.get_or_compute(place("b"), lambda: value) == expected == cache.get_or_compute(place("b"), list)
    )


def test_what_json_cannot_hold_is_refused(cache):
    with pytest.raises(TypeError, match="object is not"):
        cache.set(place(), {"it": object()})


def test_a_value_ends_with_its_life(cache):
    cache.set(place(), "short", ttl_s=0.05)
    time.sleep(0.08)
    assert cache.get(place()) is None


def test_a_deleted_value_is_gone_and_no_other(cache):
    cache.set(place("a"), 1)
    cache.set(place("b"), 2)
    cache.delete(place("a"))
    assert (cache.get(place("a")), cache.get(place("b"))) == (None, 2)


@pytest.mark.req("C2")
def test_keys_follow_the_convention(cache, plain, prefix):
    cache.set(place("november"), 1)
    (entry,) = plain.scan_iter(match=f"{prefix}:*:rents:*")
    before, _, version = entry.removesuffix(":november").rpartition(":v")
    assert before == f"{prefix}:{{makao}}:rents"
    assert len(version) == 20
    assert Keys(prefix).namespace_of(entry) == "rents"


@given(st.binary(max_size=9000), st.binary(max_size=99), st.integers(0, 10**6), st.integers(1, 10_000))
def test_an_entry_survives_being_packed(body, head, ttl_ms, compress_from):
    entry = Entry(1_790_000_000.125, ttl_ms / 1000, 0.25, head, body)
    assert unpack(pack(entry, compress_from)) == entry


@pytest.mark.parametrize("stored", [None, b"", b"\x09" * 40, b"\x80\x04pickle, an old friend of nobody"])
def test_what_is_no_entry_is_nothing(stored):
    assert unpack(stored) is None


def test_large_values_are_compressed_and_the_largest_not_kept(redis_url, prefix, plain):
    cache = build_cache(redis_url, Rules(compress_from=100, largest=2000), prefix)
    cache.set(place("text"), "rent " * 10_000)
    (entry,) = plain.scan_iter(match=f"{prefix}:*:text")
    assert plain.strlen(entry) < 1000
    assert cache.get(place("text")) == "rent " * 10_000
    assert not cache.set(place("noise"), uuid.uuid4().hex + "".join(uuid.uuid4().hex for _ in range(200)))


@pytest.mark.req("C7")
def test_a_tag_clears_what_has_it_of_one_owner(cache):
    with_tag, without, of_other = (
        place("a", tags=["lease"]),
        place("b"),
        place("a", owner="upeo", tags=["lease"]),
    )
    for one in (with_tag, without, of_other):
        cache.set(one, "kept")
    cache.clear_tags("makao", ["lease"])
    assert [cache.get(one) for one in (with_tag, without, of_other)] == [None, "kept", "kept"]


@pytest.mark.req("C7")
@pytest.mark.parametrize(
    "pattern, left",
    [
        ("*", []),
        ("rents:*", ["stats:2026-11", "stats:2026-12"]),
        ("stats:2026-1?", ["rents:a", "rents:b"]),
        ("*:2026-12", ["rents:a", "rents:b", "stats:2026-11"]),
        ("st*:*", ["rents:a", "rents:b"]),
        ("nothing:*", ["rents:a", "rents:b", "stats:2026-11", "stats:2026-12"]),
    ],
)
def test_a_pattern_clears_what_is_like_it(cache, pattern, left):
    names = [("rents", "a"), ("rents", "b"), ("stats", "2026-11"), ("stats", "2026-12")]
    for namespace, key in names:
        cache.set(place(key, namespace), 1)
        cache.set(place(key, namespace, owner="upeo"), 1)
    cache.clear_pattern("makao", pattern)
    found = [f"{namespace}:{key}" for namespace, key in names if cache.get(place(key, namespace)) is not None]
    assert found == left
    assert all(cache.get(place(key, namespace, owner="upeo")) for namespace, key in names)


def test_a_lost_generation_never_comes_back(cache, plain, prefix):
    cache.set(place(), "old")
    plain.delete(*plain.scan_iter(match=f"{prefix}:*generation*"))
    assert cache.get(place()) is None


def test_nothing_is_read_or_stored_between_announcing_and_settling(cache):
    where = place(tags=["lease"])
    fetched(cache, where)
    token = "one"
    cache.generations.announce("makao", ["lease"], token)
    assert fetched(cache, where).outcome == BYPASS
    cache.generations.settle("makao", ["lease"], token)
    assert [fetched(cache, where).outcome for _ in range(2)] == [MISS, HIT]


def test_one_writer_that_settles_does_not_end_the_hold_of_another(cache):
    where = place(tags=["lease"])
    one, other = "one", "other"
    for token in (one, other):
        cache.generations.announce("makao", ["lease"], token)
    cache.generations.settle("makao", ["lease"], one)
    cache.clear_tags("makao", ["lease"])
    assert fetched(cache, where).outcome == BYPASS
    cache.generations.settle("makao", ["lease"], other)
    assert fetched(cache, where).outcome == MISS


def test_the_hold_of_a_writer_that_died_ends_by_itself_with_a_new_generation(cache, monkeypatch):
    where = place(tags=["lease"])
    fetched(cache, where, b"old")
    monkeypatch.setattr("extensions.caching.generations.HOLD_S", 0.3)
    cache.generations.announce("makao", ["lease"], "never settled")
    assert fetched(cache, where).outcome == BYPASS
    time.sleep(0.35)
    again = fetched(cache, where, b"new")
    assert (again.outcome, again.value) == (MISS, b"new")


def test_what_was_computed_before_a_write_is_never_served_after_it(cache):
    """The race: a reader that saw the old rows stores only when the writer is done."""
    where = place(tags=["lease"])

    def slow_reader() -> bytes:
        cache.clear_tags("makao", ["lease"])  # a write, while we compute from what was before
        return b"old"

    cache.fetch(where, slow_reader, lambda body: (b"", body), 60)
    assert fetched(cache, where, b"new").value == b"new"


# One computation for all


@pytest.mark.req("C8")
def test_two_hundred_threads_that_find_nothing_compute_once(cache):
    calls, values = [], []
    ready = threading.Barrier(200)

    def compute() -> bytes:
        calls.append(1)
        time.sleep(0.2)
        return b"rent roll"

    def ask() -> None:
        ready.wait()
        got = cache.fetch(place(), compute, lambda body: (b"", body), 60)
        values.append(got.value or got.entry.body)

    threads = [threading.Thread(target=ask) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert values == [b"rent roll"] * 200


def _ask_from_a_process(redis_url: str, prefix: str, start: float, found: Any) -> None:
    cache = build_cache(redis_url, Rules(wait_s=20), prefix, timeout_s=10)
    plain = redis.Redis.from_url(redis_url)

    def compute() -> bytes:
        plain.incr(f"{prefix}:{ONCE}")
        time.sleep(0.5)
        return b"rent roll"

    def ask() -> None:
        got = cache.fetch(place(), compute, lambda body: (b"", body), 60)
        found.put(got.value or (got.entry and got.entry.body))

    time.sleep(max(0, start - time.time()))
    threads = [threading.Thread(target=ask) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.req("C8")
def test_four_processes_of_fifty_threads_compute_once(redis_url, prefix, plain):
    context = multiprocessing.get_context("spawn")
    found = context.Queue()
    arguments = (redis_url, prefix, time.time() + 6, found)
    processes = [context.Process(target=_ask_from_a_process, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    assert [found.get(timeout=60) for _ in range(200)] == [b"rent roll"] * 200
    for process in processes:
        process.join()
    assert plain.get(f"{prefix}:{ONCE}") == "1"


@pytest.mark.req("C8")
def test_one_that_dies_while_it_computes_holds_up_nobody_for_long(cache):
    where = place()
    version, _ = cache.generations.read("makao", where.every_tag())
    entry = cache.keys.entry(where, version)
    cache._leases.take(lease(entry), entry)  # and is never heard of again
    began = time.monotonic()
    assert fetched(cache, where).outcome == MISS
    assert time.monotonic() - began < cache.rules.wait_s + 3


def test_what_fails_for_one_is_tried_by_the_next(cache):
    def failing() -> bytes:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cache.fetch(place(), failing, lambda body: (b"", body), 60)
    assert fetched(cache, place()).outcome == MISS


def test_one_refreshes_what_has_ended_while_others_get_the_stale_one(cache):
    fetched(cache, place(), b"old", ttl_s=0.05)
    time.sleep(0.08)
    began, go_on = threading.Event(), threading.Event()

    def slow() -> bytes:
        began.set()
        go_on.wait(10)
        return b"new"

    refreshing = threading.Thread(target=lambda: cache.fetch(place(), slow, lambda body: (b"", body), 60))
    refreshing.start()
    assert began.wait(10)
    meanwhile = fetched(cache, place(), b"nobody computes this")
    go_on.set()
    refreshing.join()
    assert (meanwhile.outcome, meanwhile.entry.body) == (STALE_HIT, b"old")
    assert fetched(cache, place()).entry.body == b"new"


def test_an_early_refresh_is_likelier_near_the_end_and_for_what_is_dear():
    def early(age_s, cost_s, chance=0.5):
        return Entry(1000.0, 100.0, cost_s, b"", b"").is_to_refresh(1.0, now=1000.0 + age_s, chance=chance)

    assert [early(age_s, 10.0) for age_s in (10, 90, 94, 100)] == [False, False, True, True]
    assert [early(94, cost_s) for cost_s in (0.01, 10.0)] == [False, True]


# Numbers, memory, Redis away


@pytest.mark.req("C7")
def test_look_ups_are_counted_over_processes(redis_url, prefix):
    one, other = build_cache(redis_url, prefix=prefix), build_cache(redis_url, prefix=prefix)
    for cache in (one, other, one):
        fetched(cache, place())
    one.statistics.flush()
    numbers = other.statistics.read("makao")["rents"]
    assert (numbers.hits, numbers.misses, numbers.computations) == (2, 1, 1)
    assert numbers.hit_rate == pytest.approx(2 / 3)
    assert numbers.bytes > 0
    assert other.statistics.used_since(60, 10) == ["makao"]


def test_the_local_copies_stay_within_their_bytes():
    local = LocalEntries(1000)
    for number in range(20):
        local.put(f"key{number}", Entry(0, 1, 0, b"", bytes(100)))
    local.put("huge", Entry(0, 1, 0, b"", bytes(900)))
    assert local.get("key19") is not None
    assert local.get("key0") is None
    assert local.get("huge") is None
    assert 0 < local.bytes <= 1000
    assert local.release(1.0) > 0
    assert local.bytes == 0


def test_local_copies_of_a_version_go_when_it_is_over():
    local = LocalEntries(100_000)
    for number in range(20):
        local.put(f"key{number}", Entry(0, 1, 0, b"", bytes(100)), "old" if number % 2 else "new")
    local.put("key1", Entry(0, 1, 0, b"", bytes(50)), "new")
    bytes_of_all = local.bytes
    local.forget("old")
    assert [local.get(f"key{number}") is not None for number in range(4)] == [True, True, True, False]
    assert local.bytes == bytes_of_all - sum(100 + len(f"key{number}") for number in range(3, 20, 2))
    local.forget("old")
    local.forget("new")
    assert local.bytes == 0


def test_what_a_write_has_cleared_takes_no_room_in_the_process(redis_url, prefix):
    cache = build_cache(redis_url, prefix=prefix)

    def ask(number: int) -> None:
        where = Place("makao", "rents", f"page {number}", ("lease",))
        for _ in range(2):
            cache.fetch(where, lambda: bytes(1000), lambda body: (b"", body), keeps_locally=True)

    for number in range(5):
        ask(number)
    assert cache.local.bytes > 5000
    cache.clear_tags("makao", ["lease"])
    ask(0)
    assert 1000 < cache.local.bytes < 2000


def test_the_breaker_leaves_a_dead_backend_alone_and_tries_one_call_at_a_time():
    now = [0.0]
    breaker = Breaker(threshold=3, clock=lambda: now[0])
    for _ in range(3):
        assert breaker.allows()
        breaker.failed()
    assert not breaker.allows()
    now[0] += 0.6
    assert [breaker.allows(), breaker.allows()] == [True, False]
    breaker.failed()
    now[0] += 0.6
    assert not breaker.allows()
    now[0] += 0.6
    assert breaker.allows()
    breaker.succeeded()
    assert [breaker.allows(), breaker.allows()] == [True, True]


def test_a_writer_whose_connection_the_server_has_closed_is_not_refused(redis_url, prefix):
    cache = build_cache(redis_url, prefix=prefix, timeout_s=10)
    tags = ["payment", "lease"]
    cache.generations.announce("makao", tags, "one")
    server = redis.Redis.from_url(redis_url)
    mine = cache.link._own.connection._sock.getsockname()
    server.client_kill("{}:{}".format(*mine))
    cache.generations.settle("makao", tags, "one")
    cache.generations.announce("makao", tags, "two")
    cache.generations.settle("makao", tags, "two")
    assert not cache.link.breaker.is_open
    assert cache.generations.read("makao", tags)[0] is not None, "nothing is held any more"


def test_a_script_that_the_server_has_forgotten_is_sent_again(redis_url, prefix):
    cache = build_cache(redis_url, prefix=prefix, timeout_s=10)
    redis.Redis.from_url(redis_url).script_flush()
    cache.generations.announce("makao", ["lease"], "one")
    assert cache.generations.read("makao", ["lease"])[0] is None
    cache.generations.settle("makao", ["lease"], "one")
    assert cache.generations.read("makao", ["lease"])[0] is not None


@pytest.mark.req("C9")
def test_without_redis_everything_is_computed_and_only_clearing_by_hand_is_refused():
    cache = build_cache("redis://127.0.0.1:1/0")
    assert cache.get_or_compute(place(), lambda: 7) == 7
    assert cache.get(place()) is None
    assert cache.set(place(), 7) is False
    with pytest.raises(Unavailable):
        cache.clear_tags("makao", ["lease"])


def test_switched_off_it_keeps_nothing(redis_url, prefix):
    cache = build_cache(redis_url, Rules(is_on=False), prefix)
    assert [fetched(cache, place()).outcome for _ in range(2)] == [BYPASS, BYPASS]
    assert cache.set(place(), 1) is False


def test_the_manager_is_the_cache_of_the_app_at_work(redis_url, prefix):
    app = Flask("bare")
    declared = {"totals": Declared(tags=("lease",), ttl_s=60)}
    app.config.update(REDIS_URL=redis_url, CACHE_PREFIX=prefix, CACHE_NAMESPACES=declared)
    Caching(app)
    with app.app_context():
        assert cache_manager.set("totals:november", {"due": 1}, ttl=30)
        assert cache_manager.get("totals:november") == {"due": 1}
        assert cache_manager.get("totals:november", owner="upeo") is None
        cache_manager.invalidate_tags(["lease"])
        assert cache_manager.get("totals:november") is None
        cache_manager.set("plain", 1)
        cache_manager.delete("plain")
        assert cache_manager.get("plain") is None
    with pytest.raises(RuntimeError, match="application context"):
        cache_manager.get("totals:november")


def two_processes(redis_url, prefix, **declared):
    """Two apps on one cache, as two processes of a server are."""
    apps = [Flask("one"), Flask("other")]
    for app in apps:
        app.config.update(
            REDIS_URL=redis_url,
            CACHE_PREFIX=prefix,
            CACHE_TIMEOUT=10,
            CACHE_NAMESPACES={"counties": Declared(**declared)},
        )
        Caching(app)
    return apps


def in_app(app, act):
    with app.app_context():
        return act()


@pytest.mark.parametrize("unasked_s, soon", [(5, "old"), (0, "new")])
def test_a_namespace_that_says_so_is_served_unasked_for_a_short_while(redis_url, prefix, unasked_s, soon):
    one, other = two_processes(redis_url, prefix, unasked_s=unasked_s)
    began = time.time()
    with time_machine.travel(began, tick=False) as clock:
        in_app(one, lambda: cache_manager.set("counties:all", "old"))
        assert in_app(one, lambda: cache_manager.get("counties:all")) == "old"
        in_app(other, lambda: cache_manager.set("counties:all", "new"))
        clock.move_to(began + 4)
        assert in_app(one, lambda: cache_manager.get("counties:all")) == soon
        assert in_app(one, lambda: cache_manager.get_or_compute("counties:all", lambda: "x")) == soon
        clock.move_to(began + 5.1)
        assert in_app(one, lambda: cache_manager.get("counties:all")) == "new"


def test_what_is_served_unasked_asks_redis_nothing_is_no_others_and_heeds_its_own_process(redis_url, prefix):
    one, _ = two_processes(redis_url, prefix, unasked_s=60)
    client = redis.Redis.from_url(redis_url)
    with one.app_context():
        assert cache_manager.get_or_compute("counties:all", lambda: {"a": 1}) == {"a": 1}
        for key in client.scan_iter(f"{prefix}*"):
            client.delete(key)
        shown = cache_manager.get("counties:all")
        assert shown == {"a": 1}
        shown["a"] = 2
        assert cache_manager.get("counties:all") == {"a": 1}
        assert cache_manager.get("counties:all", owner="upeo") is None
        cache_manager.set("counties:all", 2)
        assert cache_manager.get("counties:all") == 2
        cache_manager.delete("counties:all")
        assert cache_manager.get("counties:all") is None
        assert one.extensions["caching"].cache.local.bytes == 0
