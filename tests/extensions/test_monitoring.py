"""What is measured of a request, merged over processes, kept in bounded memory, and shown; on bare apps."""

from __future__ import annotations

import gc
import json
import math
import os
import random
import secrets
import subprocess
import sys
import time
from collections.abc import Iterable

import pytest
import redis
from ddsketch import DDSketch
from flask import Flask, Response
from hypothesis import given
from hypothesis import strategies as st

from extensions import trace
from extensions.contract import Metric
from extensions.loader import load_extensions, run_after_fork
from extensions.monitoring import ROUTE, Recorder, Sketch, Store, performance_metrics
from extensions.monitoring.prometheus import prometheus_name
from extensions.monitoring.reader import Reader
from extensions.monitoring.recorder import HTTP, statement_text
from extensions.monitoring.requests import Call, Middleware, _wait_ms
from extensions.monitoring.settled import PackedSlot, Settled
from extensions.monitoring.slots import KEPT, SLOT_S, Slot
from tests.support.live import CHECKOUT
from tests.support.own_valkey import OwnValkey, wait_until

PATH = "extensions.monitoring:Monitoring"
SHARES = (0.5, 0.9, 0.95, 0.99, 0.999)


@pytest.fixture
def make_app(redis_url):
    """Makes bare apps whose keys are their own."""
    prefix = f"t{secrets.token_hex(6)}"

    def make(**config) -> Flask:
        app = Flask("bare")
        app.config.from_mapping(
            {"REDIS_URL": redis_url, "REDIS_TIMEOUT": 20_000, "MONITORING_PREFIX": prefix} | config
        )
        load_extensions(app, [PATH])
        app.add_url_rule("/units/<int:number>", "unit", lambda number: {"number": number})
        app.add_url_rule("/wrong", "wrong", lambda: str(1 / 0))
        app.add_url_rule("/slow", "slow", _slowly)
        app.add_url_rule("/stream", "stream", lambda: Response(_parts()))
        app.add_url_rule("/broken", "broken", lambda: Response(_broken()))
        app.add_url_rule("/events", "events", lambda: Response(_parts(), content_type="text/event-stream"))
        return app

    return make


def _slowly() -> str:
    time.sleep(0.06)
    return "slow"


def _parts() -> Iterable[bytes]:
    for _ in range(3):
        time.sleep(0.02)
        yield b"part"


def _broken() -> Iterable[bytes]:
    yield b"part"
    raise OSError("the disk is gone")


def ask(app: Flask, path: str, **options):
    answer = app.test_client().get(path, **options)
    answer.get_data()
    return answer


def stats_of(app: Flask, window_ms: float = 60_000):
    with app.app_context():
        return performance_metrics.get_api_stats(window_ms)


def endpoint(stats, route):
    (found,) = (one for one in stats["endpoints"] if one["route"] == route)
    return found


def exact(values: list[float], share: float) -> float:
    return sorted(values)[math.floor(share * (len(values) - 1))]


def durations(count: int, seed: int) -> list[float]:
    """Log-normal, with a second hump, and some that are far out; in ms."""
    chance = random.Random(seed)
    return [
        chance.lognormvariate(3, 0.8)
        if kind < 0.7
        else chance.gauss(900, 40)
        if kind < 0.998
        else 60_000 * chance.random() + 1
        for kind in (chance.random() for _ in range(count))
    ]


@given(st.lists(st.floats(0.002, 1e9), min_size=1, max_size=300), st.integers(1, 5))
def test_a_sketch_in_parts_says_what_the_librarys_says_of_the_whole(values, parts):
    library, pieces = DDSketch(0.01), [Sketch() for _ in range(parts)]
    for at, value in enumerate(values):
        library.add(value)
        pieces[at % parts].add(value)
    whole = Sketch()
    for piece in pieces:
        whole.merge(Sketch.unpack(json.loads(json.dumps(piece.pack()))))
    assert whole.count == len(values)
    assert whole.sum == pytest.approx(sum(values))
    for share, found in zip(SHARES, whole.quantiles(SHARES), strict=True):
        assert found == pytest.approx(library.get_quantile_value(share))
        assert found == pytest.approx(exact(values, share), rel=0.01 + 1e-9)
    stored = Sketch.stored(whole.count, whole.sum, whole.errors, whole.bins_bytes())
    assert stored.bins == whole.bins


def test_nought_and_what_is_under_it_have_a_bin_and_nothing_has_no_percentile():
    sketch = Sketch()
    assert sketch.quantiles(SHARES) == [None] * 5
    for value in (0.0, -3.0, 1e300):
        sketch.add(value)
    low, *_, high = sketch.quantiles((0.0, 0.5, 1.0))
    assert low == 0.0
    assert high == pytest.approx(1e15, rel=0.01)
    assert sketch.counts_between((1, 10)) == [2, 0, 1]


_WRITER = """
import random, sys
from extensions.hold_off import guarded_redis
from extensions.monitoring import Recorder, Rules, Store
from tests.extensions.test_monitoring import durations

url, prefix, host, count, seed = sys.argv[1:]
recorder = Recorder(Store(guarded_redis(url, 20), prefix, host), Rules())
for at, value in enumerate(durations(int(count), int(seed))):
    recorder.observe("http", value)
    if at % 50_000 == 49_999:
        recorder.flush()
recorder.flush()
"""


def percentiles_of_four_processes(redis_url: str, count: int) -> None:
    prefix = f"t{secrets.token_hex(6)}"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, redis_url, prefix, host, str(count // 4), str(seed)],
            cwd=CHECKOUT,
            env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        )
        for seed, host in enumerate(("web-1", "web-1", "web-2", "web-2"))
    ]
    values = [value for seed in range(4) for value in durations(count // 4, seed)]
    assert [writer.wait(110) for writer in writers] == [0] * 4
    store = Store(redis.Redis.from_url(redis_url, socket_timeout=20), prefix, "reader")
    merged = Reader(Recorder(store)).window(600)
    sketch = merged.one(HTTP)
    assert sketch.count == count
    assert sketch.sum == pytest.approx(sum(values))
    values.sort()
    for share, found in zip(SHARES, sketch.quantiles(SHARES), strict=True):
        assert found == pytest.approx(values[math.floor(share * (count - 1))], rel=0.01 + 1e-9)


@pytest.mark.req("M2")
def test_percentiles_of_four_processes_on_two_hosts_are_within_one_per_cent(redis_url):
    percentiles_of_four_processes(redis_url, 40_000)


@pytest.mark.long
@pytest.mark.req("M2")
def test_so_are_those_of_a_million(redis_url):
    percentiles_of_four_processes(redis_url, 1_000_000)


@pytest.mark.req("M1", "M2")
def test_requests_are_counted_by_route_with_their_errors(make_app):
    app, other = make_app(), make_app()
    for number in range(20):
        ask(app if number % 2 else other, f"/units/{number}")
    ask(app, "/wrong")
    for path in ("/.env", "/wp-admin", "/units/x"):
        ask(app, path)
    assert stats_of(other)["count"] >= 10
    stats = stats_of(app)
    assert (stats["count"], stats["errors"]) == (24, 1)
    assert stats["error_rate"] == pytest.approx(1 / 24, abs=1e-4)
    assert stats["statuses"] == {"200": 20, "404": 3, "500": 1}
    assert endpoint(stats, "/units/<int:number>")["count"] == 20
    assert endpoint(stats, "/wrong")["errors"] == 1
    assert endpoint(stats, "(no route)")["count"] == 3
    assert stats["in_flight"] == 0
    assert stats["missing"] == []


@pytest.mark.req("M1")
def test_a_stream_is_measured_until_it_is_closed_and_one_that_breaks_is_an_error(make_app):
    app = make_app()
    ask(app, "/stream")
    with pytest.raises(OSError, match="disk"):
        ask(app, "/broken")
    ask(app, "/events")
    stats = stats_of(app)
    stream = endpoint(stats, "/stream")
    assert stream["mean"] >= 55
    assert stream["bytes_mean"] == 12
    assert endpoint(stats, "/broken")["errors"] == 1
    assert stats["streams"] == 1
    assert stats["count"] == 2


def test_who_is_served_now_is_in_flight_and_a_client_that_leaves_is_not(make_app):
    app = make_app()
    recorder = app.extensions["monitoring"].recorder
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/stream", "wsgi.errors": sys.stderr, "SERVER_NAME": "x"}
    environ |= {"SERVER_PORT": "80", "wsgi.url_scheme": "http", "wsgi.input": None}
    body = app.wsgi_app(dict(environ), lambda *_: None)
    next(iter(body))
    assert recorder.in_flight == 1
    body.close()
    body.close()
    assert recorder.in_flight == 0
    left = app.wsgi_app(dict(environ), lambda *_: None)
    del left, body
    gc.collect()
    assert recorder.in_flight == 0
    assert stats_of(app)["count"] == 2


def test_a_forgotten_request_ends_without_a_touch_on_the_trace_of_the_one_at_hand(make_app):
    """A collection may begin anywhere: there the context is not to be changed (python/cpython#148891 ends the process)."""
    app = make_app()
    recorder = app.extensions["monitoring"].recorder
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/fast"}
    forgotten = Call(recorder, dict(environ), lambda *_: None)
    forgotten._environ["itself"] = forgotten
    at_hand = Call(recorder, dict(environ), lambda *_: None)
    assert recorder.in_flight == 2
    del forgotten
    gc.collect()
    assert recorder.in_flight == 1
    assert trace.current() is at_hand._trace
    at_hand._environ["itself"] = at_hand
    del at_hand
    gc.collect()
    assert (recorder.in_flight, trace.current()) == (0, None), (
        "what is forgotten last is nobody's trace either"
    )


def test_what_raises_past_the_application_is_an_error(make_app):
    app = make_app()

    def raises(environ, start_response):
        environ[ROUTE] = "/fast"
        raise MemoryError

    with pytest.raises(MemoryError):
        Middleware(raises, app.extensions["monitoring"].recorder)({"REQUEST_METHOD": "BREW"}, lambda *_: None)
    stats = stats_of(app)
    assert [(one["method"], one["route"], one["errors"]) for one in stats["endpoints"]] == [
        ("OTHER", "/fast", 1)
    ]


def test_an_answer_in_front_of_flask_is_measured_under_the_route_it_names(make_app):
    app = make_app()
    inner = app.wsgi_app

    def fast(environ, start_response):
        if environ["PATH_INFO"] != "/fast":
            return inner(environ, start_response)
        environ[ROUTE] = "/units"
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"stored"]

    from extensions.monitoring import measure_outermost

    app.wsgi_app = fast
    measure_outermost(app)
    measure_outermost(app)
    for path in ("/fast", "/units/1"):
        ask(app, path)
    stats = stats_of(app)
    assert stats["count"] == 2
    assert endpoint(stats, "/units")["count"] == 1


@pytest.mark.req("M1")
def test_a_slow_request_is_kept_with_what_it_spent_its_time_on(make_app):
    app = make_app(SLOW_REQUEST_THRESHOLD=50, SLOW_REQUESTS_KEPT=3)

    @app.get("/busy/<int:number>")
    def busy(number: int) -> Response:
        started = time.perf_counter()
        time.sleep(0.06)
        trace.add(trace.SQL, "SELECT %(a_1)s", started, 40.0)
        trace.add(trace.OUTSIDE, "daraja", started + 0.02, 10.0, has_failed=True)
        trace.add(trace.CACHE, "redis", started + 0.01, 5.0)
        trace.add(trace.LOOKUP, "units:misses")
        return Response("x", headers={"X-Request-ID": f"request-{number}"})

    for number in range(5):
        ask(app, f"/busy/{number}", headers={"X-Request-Start": f"t={time.time() - 2:.3f}"})
    ask(app, "/units/1")
    with app.app_context():
        slow = performance_metrics.get_slow_requests(10)
    assert [one["request_id"] for one in slow] == ["request-4", "request-3", "request-2"]
    newest = slow[0]
    assert (newest["method"], newest["route"], newest["status"]) == ("GET", "/busy/<int:number>", 200)
    assert newest["sql"] == {"count": 1, "ms": 40.0}
    assert newest["cache"] == {"hits": 0, "misses": 1, "trips": 1, "ms": 5.0}
    assert newest["outside"] == {"count": 1, "ms": 10.0}
    assert 1900 < newest["wait_ms"] < 20_000
    assert newest["other_ms"] == pytest.approx(newest["ms"] - 55, abs=0.1)
    assert [span["kind"] for span in newest["spans"]] == ["sql", "cache", "outside"]
    assert newest["spans"][0]["name"] == "SELECT %(a)s"


@pytest.mark.parametrize(
    "said, waited",
    [
        ("t=1700000000.0", 500),
        ("1700000000000", 500),
        ("t=1700000000000000", 500),
        ("1700000009", 0),  # a host whose clock is ahead
        ("t=1600000000", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("-5", None),
        ("", None),
    ],
)
def test_a_proxys_stamp_is_read_in_seconds_ms_or_us(said, waited):
    assert _wait_ms(said, 1_700_000_000.5) == waited


def test_statements_are_told_by_their_text_without_values(make_app):
    app = make_app(SLOW_QUERY_THRESHOLD=30)

    @app.get("/sql/<int:ms>")
    def sql(ms: int) -> Response:
        trace.add(trace.SQL, f"SELECT *\n FROM unit WHERE id IN (%(id_1_{ms})s, %(id_1_2)s)", 0.0, ms)
        return Response("x", headers={"X-Request-ID": f"request-{ms}"})

    for ms in (10, 40, 20):
        ask(app, f"/sql/{ms}")
    with app.app_context():
        (found,) = performance_metrics.get_statements(60_000)
        assert performance_metrics.get_statements(60_000, fingerprint="0" * 12) == []
        assert performance_metrics.get_statements(60_000, only_slow=True)[0] == found
    assert found["text"] == "SELECT * FROM unit WHERE id IN (%(id)s, …)"
    assert (found["count"], found["slow"], found["total_ms"]) == (3, 1, 70)
    assert found["max_ms"] == pytest.approx(40, rel=0.01)
    assert (found["route"], found["last_request_id"]) == ("GET /sql/<int:ms>", "request-40")


def test_a_text_with_a_value_in_it_loses_it():
    assert statement_text("SELECT 1 WHERE phone = '+254712345678' AND n = 'O''Neil'") == (
        "SELECT 1 WHERE phone = '?' AND n = '?'"
    )


def test_operators_alone_are_told_the_timing(make_app):
    seen: list[int] = []
    app = make_app(MONITORING_IS_OPERATOR=lambda: bool(seen))
    assert "Server-Timing" not in ask(app, "/units/1").headers
    seen.append(1)
    assert ask(app, "/units/1").headers["Server-Timing"].startswith('db;dur=0.00;desc="0 statements"')


_A_WEEK = """
import json, tracemalloc
from extensions.monitoring.recorder import HTTP, Recorder, Rules
from extensions.monitoring.slots import KEPT, OTHER
from extensions.monitoring.store import Store

now = [1_700_000_000.0]
recorder = Recorder(Store(None), Rules(series_most=1000), clock=lambda: now[0])
tracemalloc.start()
sizes = []
# A week in steps that fill a slot each; longer than what is kept by far.
for turn in range(KEPT * 3):
    now[0] += 604_800 / (KEPT * 3)
    for route in range(1200):
        recorder.observe(HTTP, 5.0 + route % 7 + turn % 5, f"GET /route/{route}")
    recorder.flush()
    if turn in (KEPT, KEPT * 2, KEPT * 3 - 1):
        sizes.append(tracemalloc.get_traced_memory()[0])
slots = list(recorder.slots.kept.values())
series = slots[-1].series
print(json.dumps({
    "sizes": sizes, "slots": len(slots), "most": max(len(slot.series) for slot in slots),
    "other": series[HTTP, OTHER].count, "all": sum(sketch.count for sketch in series.values()),
}))
"""


def test_a_thousand_routes_and_a_week_stay_in_bounded_memory():
    """In a process of its own: to end tracing in one with threads may crash it."""
    run = subprocess.run(
        [sys.executable, "-c", _A_WEEK], cwd=CHECKOUT, capture_output=True, text=True, timeout=100, check=True
    )
    found = json.loads(run.stdout)
    assert found["slots"] == KEPT
    assert found["most"] <= 1001
    assert (found["other"], found["all"]) == (200, 1200)
    assert max(found["sizes"]) < min(found["sizes"]) * 1.1
    assert found["sizes"][-1] < 100e6


def test_with_redis_away_it_goes_on_in_memory_says_so_and_catches_up(tmp_path, make_app):
    valkey = OwnValkey(tmp_path)
    try:
        app = make_app(REDIS_URL=valkey.url, REDIS_TIMEOUT=500)
        ask(app, "/units/1")
        assert stats_of(app)["count"] == 1
        valkey.kill()
        for _ in range(5):
            ask(app, "/units/1")
        stats = stats_of(app)
        assert stats["count"] == 6
        assert stats["missing"] == ["other processes (Redis is away)"]
        with app.app_context():
            (extension,) = app.extensions["haven_extensions"]
            assert extension.health().status == "degraded"
            assert performance_metrics.get_slow_requests(5) == []
        valkey.start()
        recorder = app.extensions["monitoring"].recorder

        def is_back() -> bool:
            recorder.flush()
            return not recorder.slots.unsent()

        wait_until(is_back)
        # The server has started empty: what was measured before is sent again where it is still in hand.
        stats = stats_of(app)
        assert stats["missing"] == []
        assert stats["count"] >= 5
        with app.app_context():
            assert extension.health().status == "ok"
    finally:
        valkey.kill()


def test_a_slot_sent_twice_counts_once(redis_url):
    store = Store(redis.Redis.from_url(redis_url), f"t{secrets.token_hex(6)}")
    recorder = Recorder(store)
    recorder.observe(HTTP, 5.0)
    recorder.flush()
    for slot in recorder.slots.kept.values():
        slot.is_sent = False
    recorder.flush()
    assert Reader(recorder).window(60).one(HTTP).count == 1


def test_a_slot_that_is_over_and_sent_is_kept_packed_and_loses_nothing(redis_url):
    now = [float(int(time.time()) // SLOT_S * SLOT_S)]
    store = Store(redis.Redis.from_url(redis_url), f"t{secrets.token_hex(6)}")
    recorder = Recorder(store, clock=lambda: now[0])
    first = int(now[0])
    for turn in range(5):
        recorder.observe(HTTP, 5.0 + turn)
        recorder.flush()
        now[0] += SLOT_S
    assert len(recorder.slots.kept) == 2
    starts = frozenset(first + SLOT_S * turn for turn in range(5))
    own = {slot.start: slot.series[HTTP, ""] for slot in recorder.own_slots(starts)}
    assert {start: sketch.count for start, sketch in own.items()} == dict.fromkeys(starts, 1)
    assert own[first].max == pytest.approx(5.0, rel=0.02)
    # What comes late is added to what there is, and sent again.
    late = recorder.slots.at(first)
    recorder.slots.sketch(late, HTTP, "").add(7.0)
    assert recorder.slots.unsent() == [late]
    recorder.flush()
    assert Reader(recorder).window(100).one(HTTP).count == 6


def test_what_is_read_again_and_again_is_what_every_process_has_counted(redis_url):
    prefix = f"t{secrets.token_hex(6)}"
    one, other = (Recorder(Store(redis.Redis.from_url(redis_url), prefix, host)) for host in ("a", "b"))
    often = Reader(one)
    for count in range(1, 8):
        for recorder in (one, other)[: 1 + count % 2]:
            recorder.observe(HTTP, float(count))
            recorder.observe(HTTP, 9.0, "GET /of-one-route")
            recorder.flush()
        now, fresh = often.newest(60, HTTP), Reader(one).window(60)
        assert now.one(HTTP).pack() == fresh.one(HTTP).pack()
        assert (now.processes, now.in_flight) == (fresh.processes, fresh.in_flight)
        assert {label: one.pack() for label, one in often.window(60).of(HTTP).items()} == {
            label: one.pack() for label, one in fresh.of(HTTP).items()
        }
    assert often.newest(60, HTTP).one(HTTP).count == 7 + 4
    assert often.newest(60, HTTP).processes == 2
    assert often.forget() > 0
    assert often.newest(60, HTTP).one(HTTP).count == 7 + 4


_AN_HOUR = """
import gc, json, random, sys, time, tracemalloc
import redis
from extensions.monitoring import HTTP, Reader, Recorder, Store
from extensions.monitoring.settled import Settled
from extensions.monitoring.slots import SLOT_S, Slot, slot_start

store = Store(redis.Redis.from_url(sys.argv[1], socket_timeout=20), sys.argv[2])
now, chance = int(time.time()), random.Random(7)
for start in range(slot_start(now) - 354 * SLOT_S, slot_start(now) - 7 * SLOT_S, SLOT_S):
    slot = Slot(start, at=float(start), process="p")
    slots = Recorder(store).slots
    for route in range(60):
        for label in ("", f"GET /{route}"):
            slots.sketch(slot, HTTP, label).add(chance.lognormvariate(3, 1))
        slots.sketch(slot, "http_response_bytes", f"GET /{route}").tally(1, 100.0)
    store.send([slot], [], [], 0)

def told(reader):
    points, missing = reader.points_of([(HTTP, ""), (HTTP, "GET /7"), (HTTP, None)], now - 3600, now, SLOT_S)
    window = {str(series): sketch.pack() for series, sketch in reader.window(900).series.items()}
    return [[(one.slot, one.labels, one.sketch.pack()) for one in of] for of in points], window, missing

before = told(Reader(Recorder(store, clock=lambda: now)))
reader = Reader(Recorder(store, clock=lambda: now))
gc.collect()
tracemalloc.start()
reader.points_of([(HTTP, "")], now - 3600, now, SLOT_S)
reader.window(900)
gc.collect()
held = tracemalloc.get_traced_memory()[0]
tracemalloc.stop()
again, said = told(reader), reader.forget()
crowded = Reader(Recorder(store, clock=lambda: now))
crowded._settled = Settled(600_000)
in_little_room = [told(crowded) for _ in range(2)]
print(json.dumps({
    "held": held, "said": said, "are_the_same": [one == before for one in (again, *in_little_room)],
    "points": len(again[0][0]), "series": len(again[1]), "of_routes": len(again[0][2]),
}))
"""


def test_an_hour_of_many_routes_takes_little_memory_and_says_all_that_was_measured(redis_url):
    run = subprocess.run(
        [sys.executable, "-c", _AN_HOUR, redis_url, f"t{secrets.token_hex(6)}"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["held"] < 5e6
    # By how much a process under pressure hopes to shrink.
    assert found["said"] == pytest.approx(found["held"], rel=0.4)
    assert found["are_the_same"] == [True, True, True]
    assert (found["points"], found["series"], found["of_routes"]) == (347, 121, 347 * 61)


def test_what_is_kept_makes_room_for_the_newest():
    def slot(at):
        series = {(HTTP, ""): Sketch(1, 5.0), ("few", "a"): Sketch(2, 1.0)}
        series |= {(HTTP, f"GET /{route}"): Sketch(route, 1.0) for route in range(200)}
        return PackedSlot.pack(at, series)

    whole = slot(0.0)
    assert dict(whole.all())["few", "a"] == Sketch(2, 1.0).pack()
    assert [labels for labels, _ in whole.of(HTTP, "GET /7")] == ["GET /7"]
    assert len(list(whole.of(HTTP, None))) == 201
    assert whole.knows(None)

    most = whole.size * 25
    kept = Settled(most)
    for start in range(0, 1000, 10):
        kept.put(start, slot(float(start)))
        assert kept.size <= most
    newest, older = kept.get(990), kept.get(700)
    assert newest
    assert older
    assert newest.knows(None)
    assert kept.get(0) is None
    assert not older.knows(None)
    assert not older.knows([(HTTP, None)])
    assert not older.knows([(HTTP, ""), (HTTP, "GET /7")])
    assert older.knows([(HTTP, ""), ("few", None), ("few", "a")])
    assert [labels for labels, _ in older.of(HTTP, None)] == [""]
    kept.put(700, slot(1000.0))
    assert kept.size <= most
    kept.remove_before(990)
    assert (len(kept), kept.size) == (1, newest.size)
    kept.clear()
    assert (len(kept), kept.size) == (0, 0)


def test_keys_in_redis_end_by_themselves(make_app, redis_url):
    app = make_app(SLOW_REQUEST_THRESHOLD=0)
    ask(app, "/units/1")
    stats_of(app)
    client = redis.Redis.from_url(redis_url)
    keys = list(client.scan_iter(f"{app.config['MONITORING_PREFIX']}:*"))
    assert len(keys) >= 3
    assert all(0 < client.ttl(key) <= 2 * 86_400 for key in keys)


def test_another_releases_slot_is_passed_over(redis_url):
    prefix = f"t{secrets.token_hex(6)}"
    client = redis.Redis.from_url(redis_url)
    recorder = Recorder(Store(client, prefix))
    recorder.observe(HTTP, 5.0)
    recorder.flush()
    start = max(recorder.slots.kept)
    client.hset(f"{prefix}:monitoring:slot:{start}", "newer:1:1", b"{}")
    assert Reader(recorder).window(60).one(HTTP).count == 1


def test_the_extensions_numbers_become_history(redis_url):
    now = [float(int(time.time()) // SLOT_S * SLOT_S)]
    recorder = Recorder(
        Store(redis.Redis.from_url(redis_url), f"t{secrets.token_hex(6)}"), clock=lambda: now[0]
    )
    total = [100.0]
    recorder.samplers.append(
        lambda: [Metric("pool_in_use", 7), Metric("rows_total", total[0], {"of": "unit"})]
    )
    recorder.samplers.append(lambda: [Metric("never", 1 / 0)])
    recorder.flush()
    now[0] += SLOT_S
    total[0] = 130.0
    recorder.flush()
    points, missing = Reader(recorder).points("pool_in_use", int(now[0]) - 60, int(now[0]) + 10, SLOT_S)
    assert [point.sketch.mean for point in points] == [7, 7]
    grown, _ = Reader(recorder).points("rows_total", int(now[0]) - 60, int(now[0]) + 10, SLOT_S, "of=unit")
    assert [point.sketch.sum for point in grown] == [100, 30]
    assert missing == []


def test_it_counts_after_a_fork_and_leaves_the_parents_numbers_to_the_parent(make_app):
    app = make_app()
    for _ in range(3):
        ask(app, "/units/1")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run_after_fork(app)
            ask(app, "/units/2")
            code = 0 if stats_of(app)["count"] >= 1 and app.extensions["monitoring"].recorder._thread else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert stats_of(app)["count"] == 4


def test_switched_off_it_measures_nothing(make_app):
    app = make_app(ENABLE_PERFORMANCE_MONITORING=False)
    ask(app, "/units/1")
    assert stats_of(app)["count"] == 0
    assert ask(app, "/metrics").status_code == 404
    app.extensions["monitoring"].observe("anything", 1.0)
    assert app.extensions["monitoring"].recorder._thread is None


def test_it_works_with_no_redis_at_all(make_app):
    app = make_app(REDIS_URL="", SLOW_REQUEST_THRESHOLD=50)
    ask(app, "/slow")
    stats = stats_of(app)
    assert (stats["count"], stats["missing"]) == (1, [])
    with app.app_context():
        (extension,) = app.extensions["haven_extensions"]
        assert extension.health().status == "ok"
        assert performance_metrics.get_slow_requests(1)[0]["route"] == "/slow"
        with pytest.raises(ValueError, match="window_ms"):
            performance_metrics.get_api_stats(1)


@pytest.mark.req("M6")
def test_metrics_are_for_this_host_or_bearers_of_the_token(make_app):
    app = make_app()
    assert ask(app, "/metrics").status_code == 200
    assert ask(app, "/metrics", environ_base={"REMOTE_ADDR": "10.1.2.3"}).status_code == 403
    assert ask(app, "/metrics", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 403
    guarded = make_app(METRICS_TOKEN="let me in please")
    assert ask(guarded, "/metrics").status_code == 403
    for shown, status in (("let me in please", 200), ("let me in", 403)):
        answer = ask(guarded, "/metrics", headers={"Authorization": f"Bearer {shown}"})
        assert answer.status_code == status


@pytest.mark.req("M6")
def test_metrics_have_routes_and_no_paths(make_app):
    app = make_app()
    for path in ("/units/1", "/units/2", "/nothing/here", "/wrong"):
        ask(app, path)
    stats_of(app)
    text = ask(app, "/metrics").get_data(as_text=True)
    assert (
        'haven_http_request_duration_seconds_count{method="GET",route="/units/<int:number>",status="2xx"} 2.0'
        in text
    )
    assert 'route="/wrong",status="5xx"} 1.0' in text
    assert "/units/1" not in text
    assert "/nothing" not in text
    assert "haven_monitoring_requests_in_flight" in text
    chosen = ask(app, "/metrics?name[]=haven_monitoring_requests_in_flight").get_data(as_text=True)
    assert "haven_http" not in chosen


def test_names_are_in_base_units():
    assert prometheus_name("database_statement_ms_total") == ("haven_database_statement_seconds_total", 0.001)
    assert prometheus_name("jobs_waiting") == ("haven_jobs_waiting", 1.0)


def test_a_slot_comes_back_as_it_went():
    slot = Slot(1_700_000_000, {(HTTP, "GET /"): Sketch()}, 3, 1_700_000_004.5, "web-1:7:ab")
    slot.series[HTTP, "GET /"].add(5.0, is_error=True)
    back = Slot.unpack(slot.pack())
    assert (back.start, back.in_flight, back.at, back.process) == (
        1_700_000_000,
        3,
        1_700_000_004.5,
        "web-1:7:ab",
    )
    assert back.series[HTTP, "GET /"].pack() == slot.series[HTTP, "GET /"].pack()
