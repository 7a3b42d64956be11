"""Flask-Caching on our store: its decorators work on a bare app, nothing is pickled, and a dead Redis is no error."""

from __future__ import annotations

import datetime as dt
import secrets
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import flask_caching
import hypothesis.strategies as st
import pytest
import redis
from flask import Flask, Response, abort, jsonify, make_response
from hypothesis import given
from markupsafe import Markup

from extensions.caching import Caching, Declared, cache_manager
from extensions.caching.flask_backend import CACHE_TYPE
from extensions.caching.typed_values import decode, encode
from extensions.caching.values import from_json, to_json
from tests.support.own_valkey import OwnValkey, wait_until

DEAD = "redis://127.0.0.1:1/0"


@pytest.fixture
def client(redis_url):
    return redis.Redis.from_url(redis_url)


@pytest.fixture
def make_app(redis_url):
    """Makes bare apps, each with keys of its own. A busy machine is no dead Redis."""

    def make(**config) -> Flask:
        app = Flask("bare")
        app.config.update(
            {
                "REDIS_URL": redis_url,
                "CACHE_TIMEOUT": 10,
                "CACHE_PREFIX": f"t{secrets.token_hex(6)}",
                "PROPAGATE_EXCEPTIONS": True,
            }
            | config
        )
        Caching(app)
        return app

    return make


@pytest.fixture
def app(make_app):
    return make_app()


def flask_of(app: Flask) -> flask_caching.Cache:
    found: flask_caching.Cache = app.extensions["caching"].flask
    return found


def counted(app, view, **options):
    """The view at ``/``, cached by Flask-Caching; the list grows with each time that it runs."""
    ran: list[int] = []

    def counting():
        ran.append(1)
        return view()

    app.add_url_rule("/", "index", flask_of(app).cached(60, **options)(counting))
    return ran


@pytest.mark.parametrize(
    "view, status, body",
    [
        (lambda: {"rent": "25000.00"}, 200, b'{"rent":"25000.00"}\n'),
        (lambda: [1, 2], 200, b"[1,2]\n"),
        (lambda: "<b>Kodi</b> ya Ngũgĩ", 200, "<b>Kodi</b> ya Ngũgĩ".encode()),
        (lambda: ({"made": True}, 201), 201, b'{"made":true}\n'),
        (lambda: ("gone", 410, {"X-Why": "sold"}), 410, b"gone"),
        (lambda: jsonify(rent=Decimal("25000.00")), 200, b'{"rent":"25000.00"}\n'),
        (lambda: make_response(b"\x89PNG\x00\xff", 203), 203, b"\x89PNG\x00\xff"),
    ],
)
def test_a_cached_view_answers_the_same_without_running_again(app, view, status, body):
    ran = counted(app, view)
    first, second = (app.test_client().get("/") for _ in range(2))
    assert len(ran) == 1
    assert (first.status_code, first.get_data()) == (status, body)
    assert (second.status_code, second.get_data()) == (status, body)
    assert dict(second.headers) == dict(first.headers)


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(
    "view, status",
    [
        (lambda: abort(404), 404),
        (lambda: Response(iter(["a", "b"])), 200),
        (lambda: Response("hello", headers={"Set-Cookie": "who=wanjiku"}), 200),
        (lambda: (Response("hello", headers={"Set-Cookie": "who=wanjiku"}), 200), 200),
    ],
    ids=["error", "stream", "cookie", "cookie in a tuple"],
)
def test_what_is_not_for_others_is_answered_and_not_stored(app, caplog, view, status, debug):
    app.debug = debug
    ran = counted(app, view)
    assert [app.test_client().get("/").status_code for _ in range(2)] == [status, status]
    assert len(ran) == 2
    assert not caplog.records


def test_a_memoized_function_is_told_from_itself_by_its_arguments_and_forgotten_on_demand(app):
    ran: list[tuple] = []

    @flask_of(app).memoize(60)
    def due(unit, paid=Decimal("0.00")):
        ran.append((unit, paid))
        return Decimal("25000.00") - paid, dt.date(2026, 11, 1)

    with app.app_context():
        once = [due("A1"), due("A1"), due("A2"), due("A1", paid=Decimal("5000.00"))]
        assert once == [due("A1"), due("A1"), due("A2"), due("A1", Decimal("5000.00"))]
        assert due("A1") == (Decimal("25000.00"), dt.date(2026, 11, 1))
        assert len(ran) == 3
        flask_of(app).delete_memoized(due, "A1")
        due("A1"), due("A2")
        assert len(ran) == 4
        flask_of(app).delete_memoized(due)
        due("A1"), due("A2")
        assert len(ran) == 6


def test_what_is_memoized_is_of_its_owner_alone(make_app):
    who = ["one"]
    app = make_app(CACHE_OWNER=lambda: who[0])

    @flask_of(app).memoize(60)
    def whose():
        return who[0]

    with app.app_context():
        assert whose() == "one"
        who[0] = "other"
        assert whose() == "other"
        flask_of(app).clear()
        who[0] = "one"
        assert flask_of(app).cache.get(whose.make_cache_key(whose.uncached)) == "one"


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.dates()
    | st.times().map(lambda time: time.replace(fold=0))
    | st.datetimes(timezones=st.none() | st.just(dt.UTC), allow_imaginary=False).map(
        lambda time: time.replace(fold=0)
    )
    | st.timedeltas(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"])) | st.just("$tuple"), inner, max_size=3
        )
        | st.dictionaries(st.integers(0, 9) | st.uuids() | st.just("$dict"), inner, max_size=2)
    ),
    max_leaves=8,
)


@given(_VALUES)
def test_a_value_comes_back_as_it_went_in(value):
    found = decode(from_json(to_json(encode(value))))
    assert found == value
    assert repr(found) == repr(value)


@pytest.mark.parametrize(
    "value", [Markup("<b>"), {1, 2}, frozenset({"a"}), float("inf"), {"$tuple": [1]}, {"$": 1}, {"$dict": 1}]
)
def test_so_does_one_of_a_rarer_kind(app, value):
    with app.app_context():
        assert flask_of(app).set("key", value)
        found = flask_of(app).get("key")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("value", [object(), {"of": [object()]}, 2**80, Flask, OSError])
def test_a_value_that_json_cannot_hold_is_named(app, value):
    with app.app_context():
        with pytest.raises(TypeError, match=r"type|64-bit"):
            flask_of(app).set("key", value)
        assert flask_of(app).get("key") is None


def test_nothing_is_pickled(app, client):
    with app.app_context():
        flask_of(app).set("key", (1, "two"))
    (name,) = client.scan_iter(f"{app.config['CACHE_PREFIX']}:{{-}}:flask:v*:key")
    assert client.get(name).endswith(b'{"$tuple":[1,"two"]}')


def test_many_values_at_once(app):
    cache = flask_of(app)
    with app.app_context():
        assert cache.set_many({"a": 1, "b": None, "c": 3}) == ["a", "b", "c"]
        assert cache.get_many("a", "b", "none") == [1, None, None]
        assert cache.get_dict("a", "c") == {"a": 1, "c": 3}
        assert [cache.has(key) for key in ("a", "b", "none")] == [True, True, False]
        assert cache.delete_many("a", "none") == ["a", "none"]
        assert [cache.delete("b"), cache.delete("b")] == [True, False]
        assert cache.get_many("a", "b", "c") == [None, None, 3]


def test_a_value_ends_when_its_time_is_up_and_can_be_added_again(app, client):
    cache = flask_of(app)
    with app.app_context():
        assert [cache.add("key", 1, timeout=60), cache.add("key", 2, timeout=60)] == [True, False]
        assert cache.get("key") == 1
        (name,) = client.scan_iter(f"{app.config['CACHE_PREFIX']}:{{-}}:flask:v*:key")
        assert 50_000 < client.pttl(name) <= 60_000
        client.pexpire(name, 1)
        wait_until(lambda: not client.exists(name))
        assert cache.add("key", 3)


@pytest.mark.parametrize(
    "timeout, seconds", [(0, 604_800), (-1, 604_800), (10**9, 604_800), (None, 3600), (5, 5)]
)
def test_for_ever_is_a_week(app, client, timeout, seconds):
    with app.app_context():
        assert flask_of(app).set("key", 1, timeout=timeout)
        assert flask_of(app).get("key") == 1
    (name,) = client.scan_iter(f"{app.config['CACHE_PREFIX']}:{{-}}:flask:v*:key")
    assert seconds - 30 < client.ttl(name) <= seconds


def test_of_many_who_add_one_succeeds_and_of_many_who_count_none_is_lost(app):
    cache, together = flask_of(app).cache, threading.Barrier(8)

    def add_and_count(number):
        together.wait()
        is_first = cache.add("first", number)
        return is_first, [cache.inc("count", 2) for _ in range(25)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(add_and_count, range(8)))
    assert sum(is_first for is_first, _ in answers) == 1
    assert sorted(number for _, numbers in answers for number in numbers) == list(range(2, 402, 2))
    assert cache.dec("count") == 399
    assert cache.get("count") == 399
    cache.set("text", "a")
    with pytest.raises(TypeError, match="no whole number"):
        cache.inc("text")


def test_two_apps_do_not_meet(make_app):
    one, other = make_app(), make_app()
    with one.app_context():
        flask_of(one).set("key", "one's")
    with other.app_context():
        assert flask_of(other).get("key") is None
        flask_of(other).set("key", "other's")
        flask_of(other).clear()
    with one.app_context():
        assert flask_of(one).get("key") == "one's"


def test_clearing_takes_one_step_and_leaves_the_other_namespaces(make_app, tmp_path):
    # A server of its own: its statistics are of all its clients.
    valkey = OwnValkey(tmp_path)
    try:
        _clear_and_count(make_app(REDIS_URL=valkey.url), valkey.client())
    finally:
        valkey.kill()


def _clear_and_count(app, client):
    with app.app_context():
        cache_manager.set("rent:november", 1)
        flask_of(app).set_many({str(number): number for number in range(500)})
        client.config_resetstat()
        assert flask_of(app).clear()
        assert flask_of(app).get_many(*map(str, range(500))) == [None] * 500
        assert cache_manager.get("rent:november") == 1
    called = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
    assert not called & {"flushdb", "flushall", "keys", "scan", "del|keys"}
    assert client.info("commandstats")["cmdstat_evalsha"]["calls"] < 10


def test_what_clears_its_declared_tags_clears_it(make_app):
    app = make_app(CACHE_NAMESPACES={"flask": Declared(tags=("lease",))})
    with app.app_context():
        flask_of(app).set("key", 1)
        cache_manager.invalidate_tags(["lease"])
        assert flask_of(app).get("key") is None


def test_a_dead_redis_never_raises_and_everything_is_computed(make_app, caplog):
    app = make_app(REDIS_URL=DEAD, CACHE_TIMEOUT=0.2)
    cache = flask_of(app)
    ran = counted(app, lambda: {"rent": "25000.00"})

    @cache.memoize(60)
    def twice(number):
        return 2 * number

    assert [app.test_client().get("/").get_json() for _ in range(3)] == [{"rent": "25000.00"}] * 3
    assert len(ran) == 3
    with app.app_context():
        assert [twice(2), twice(2)] == [4, 4]
        assert (cache.get("a"), cache.get_many("a", "b"), cache.has("a")) == (None, [None, None], False)
        assert (cache.set("a", 1), cache.add("a", 1), cache.set_many({"a": 1})) == (False, False, [])
        assert (cache.delete("a"), cache.delete_many("a"), cache.clear()) == (False, [], False)
        assert (cache.cache.inc("a"), cache.cache.dec("a")) == (None, None)
        assert Caching().health().numbers["redis"]["circuit"] == "open"
    assert not [record for record in caplog.records if record.exc_info]


def test_with_the_cache_switched_off_everything_is_computed(make_app):
    app = make_app(ENABLE_CACHE=False)
    ran = counted(app, lambda: "hello")
    assert [app.test_client().get("/").status_code for _ in range(2)] == [200, 200]
    assert len(ran) == 2
    with app.app_context():
        assert (flask_of(app).set("a", 1), flask_of(app).cache.inc("a"), flask_of(app).get("a")) == (
            False,
            None,
            None,
        )


def test_a_cache_of_ones_own_may_sit_on_it_too(app):
    mine = flask_caching.Cache()
    mine.init_app(app, {"CACHE_TYPE": CACHE_TYPE})
    with app.app_context():
        mine.set("key", uuid.UUID(int=7))
        assert flask_of(app).get("key") == uuid.UUID(int=7)
    with pytest.raises(RuntimeError, match="call Caching"):
        flask_caching.Cache(Flask("without"), config={"CACHE_TYPE": CACHE_TYPE})
