"""Memory on bare apps: limits of every kind, levels, refusals by priority, room made, a process given up, advice."""

from __future__ import annotations

import gc
import os
import secrets
import subprocess
import sys
import threading
import time
import tracemalloc
import weakref
from pathlib import Path

import psutil
import pytest
import redis
from flask import Flask

from extensions.contract import Base
from extensions.loader import load_extensions, run_after_fork
from extensions.memory import Level, Priorities, Priority, Rules, Store, Thresholds, Watcher, memory_optimizer
from extensions.memory.advice import advise
from extensions.memory.collector import Collector
from extensions.memory.culprits import Suspects
from extensions.memory.family import Family
from extensions.memory.limits import MachineLimit, Pressure, Source, find_limit
from extensions.memory.process import own_bytes
from extensions.memory.relief import Relief
from extensions.memory.shedding import shed_up_to
from extensions.memory.watcher import AGAIN_S, RETIRE_AFTER_S, SAMPLE_S
from tests.support.live import CHECKOUT
from tests.support.own_valkey import own_valkey, wait_until

PATH = "extensions.memory:Memory"
MIB = 1 << 20
GIB = 1 << 30
LIMIT = 1000 * MIB


class Given:
    """A limit whose use a test sets."""

    def __init__(self, share: float = 0.1, source: Source = "setting") -> None:
        self.source: Source = source
        self.bytes = LIMIT
        self.share = share

    def used(self) -> int:
        return int(self.share * self.bytes)

    def pressure(self) -> Pressure | None:
        return Pressure(1.5, 0.5)


class Held:
    """A watcher that is held by a test: its clock, and what is used."""

    def __init__(self, source: Source = "setting", **rules) -> None:
        self.now = 1000.0
        self.limit = Given(source=source)
        self.watcher = Watcher(
            Rules(limit_bytes=LIMIT, **rules),
            Store(None),
            priorities=Priorities(last=("/hooks/",), first=("/exports",)),
            family=Family(clock=lambda: self.now),
            limit=self.limit,
            clock=lambda: self.now,
        )
        self.watcher._begin()

    def at(self, share: float, after_s: float = 1.0) -> Watcher:
        """The watcher after a look at this use."""
        self.now += after_s
        self.limit.share = share
        self.watcher.tick()
        return self.watcher


@pytest.fixture
def held():
    one = Held()
    yield one
    one.watcher.stop()


@pytest.fixture
def make_app(redis_url):
    """Makes bare apps whose keys are their own."""
    prefix = f"t{secrets.token_hex(6)}"
    made: list[Flask] = []

    def make(*more: str, **config) -> Flask:
        app = Flask("bare")
        app.config.from_mapping(
            {"REDIS_URL": redis_url, "REDIS_TIMEOUT": 20_000, "MEMORY_PREFIX": prefix} | config
        )
        load_extensions(app, [PATH, *more])
        for path in ("/rents", "/health", "/hooks/stk", "/exports/units"):
            app.add_url_rule(path, path, lambda: "done", methods=["GET", "POST"])
        made.append(app)
        return app

    yield make
    for app in made:
        app.extensions["memory"].watcher.stop()


def _noted(called: list[float], pressure: float, size: int) -> int:
    called.append(pressure)
    return size


def watcher_of(app: Flask) -> Watcher:
    return app.extensions["memory"].watcher


# Limits


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


PSI = "some avg10=12.50 avg60=3.00 avg300=1.00 total=123\nfull avg10=2.25 avg60=0.10 avg300=0.00 total=45\n"


@pytest.mark.req("S1")
def test_the_tightest_cgroup_around_the_process_is_the_limit(tmp_path):
    group = "sys/fs/cgroup/pods/one"
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/pods/one/two\n",
            "sys/fs/cgroup/cgroup.controllers": "memory\n",
            f"{group}/two/memory.max": "max\n",
            f"{group}/memory.max": "536870912\n",
            f"{group}/memory.current": "400000000\n",
            f"{group}/memory.stat": "anon 300000000\ninactive_file 100000000\nactive_file 5\n",
            f"{group}/memory.pressure": PSI,
            "sys/fs/cgroup/pods/memory.max": "1073741824\n",
        },
    )
    limit = find_limit(0, Family(), tmp_path)
    assert (limit.source, limit.bytes) == ("cgroup", 512 * MIB)
    assert limit.used() == 300_000_000, "cached files are the kernel's to drop"
    assert limit.pressure() == Pressure(12.5, 2.25)


@pytest.mark.req("S1")
def test_in_a_container_the_mounted_group_is_its_own(tmp_path):
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/cgroup.controllers": "memory\n",
            "sys/fs/cgroup/memory.max": "268435456\n",
            "sys/fs/cgroup/memory.current": "100\n",
        },
    )
    limit = find_limit(0, Family(), tmp_path)
    assert (limit.source, limit.bytes, limit.used()) == ("cgroup", 256 * MIB, 100)
    assert limit.pressure() is None


@pytest.mark.req("S1")
def test_a_limit_of_the_first_version_counts_too(tmp_path):
    write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/0123\n0::/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "268435456\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "200000000\n",
            "sys/fs/cgroup/memory/memory.stat": "inactive_file 7\ntotal_inactive_file 50000000\n",
            "proc/pressure/memory": PSI,
        },
    )
    limit = find_limit(0, Family(), tmp_path)
    assert (limit.source, limit.bytes, limit.used()) == ("cgroup", 256 * MIB, 150_000_000)
    assert limit.pressure() == Pressure(12.5, 2.25)


@pytest.mark.req("S1")
@pytest.mark.parametrize("text", ["max", "9223372036854771712", "", "nonsense"])
def test_without_a_limit_the_machine_is_it(tmp_path, text):
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/cgroup.controllers": "memory\n",
            "sys/fs/cgroup/memory.max": f"{text}\n",
        },
    )
    limit = find_limit(0, Family(), tmp_path)
    assert isinstance(limit, MachineLimit)
    assert limit.bytes == psutil.virtual_memory().total
    assert 0 < limit.used() < limit.bytes


@pytest.mark.req("S1")
def test_a_setting_goes_before_every_other_limit():
    limit = find_limit(123 * MIB, Family())
    assert (limit.source, limit.bytes) == ("setting", 123 * MIB)
    resident = psutil.Process().memory_info().rss
    assert 0.3 * resident < limit.used() < 3 * resident + GIB


def test_what_processes_share_counts_once():
    """A child that touches nothing adds little; what it takes for itself adds all of it."""
    kept = bytearray(os.urandom(1)) * (64 * MIB)
    now = [0.0]
    family = Family(clock=lambda: now[0])
    alone = family.used()
    reads, writes = os.pipe()
    tells, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(reads, 1)
        own = bytearray(os.urandom(1)) * (32 * MIB)
        os.write(told, b"x" if own else b"")
        time.sleep(60)
        os._exit(0)
    try:
        now[0] += 6
        together = family.used()
        assert together - alone < 48 * MIB, "the 64 MiB of the parent are not counted again"
        os.write(writes, b"x")
        os.read(tells, 1)
        assert family.used() - together > 24 * MIB, "seen at once, before shared pages are weighed again"
        now[0] += 20
        assert family.used() - together > 24 * MIB
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        for end in (reads, writes, tells, told):
            os.close(end)
    now[0] += 6
    assert family.used() < together + 16 * MIB
    assert len(kept) == 64 * MIB


# Levels


@pytest.mark.req("S1")
def test_levels_begin_at_their_thresholds_and_end_a_little_below():
    thresholds, level, seen = Thresholds(), Level.NORMAL, []
    for share in (0.69, 0.70, 0.68, 0.66, 0.95, 0.88, 0.86, 0.78, 0.76, 0.5):
        level = thresholds.level(share, level)
        seen.append(level.name)
    assert seen == [
        "NORMAL", "WARNING", "WARNING", "NORMAL", "EMERGENCY", "EMERGENCY", "CRITICAL", "CRITICAL", "WARNING", "NORMAL",
    ]  # fmt: skip


@pytest.mark.req("S4")
def test_what_is_refused_goes_by_priority():
    thresholds = Thresholds()
    wanted = {
        (Level.WARNING, 0.75): None,
        (Level.CRITICAL, 0.85): Priority.FIRST,
        (Level.EMERGENCY, 0.93): Priority.NORMAL,
        (Level.EMERGENCY, 0.96): Priority.LAST,
        (Level.EMERGENCY, 1.20): Priority.LAST,
    }
    assert {key: shed_up_to(*key, thresholds) for key in wanted} == wanted
    priorities = Priorities(last=("/hooks/",), first=("/exports",))
    assert [priorities.of(path).name for path in ("/alive", "/hooks/stk", "/units", "/exports/units")] == [
        "NEVER", "LAST", "NORMAL", "FIRST",
    ]  # fmt: skip


# What is done under pressure


@pytest.mark.req("S3", "S4")
def test_room_is_made_at_once_when_it_gets_worse_and_again_while_it_lasts(held):
    pressures: list[float] = []
    held.watcher.relief.add(pressures.append)
    held.at(0.5)
    assert pressures == []
    held.at(0.75)
    held.at(0.75)
    assert pressures == [0.25]
    held.at(0.85)
    held.at(0.95)
    assert pressures == [0.25, 0.5, 1.0]
    held.at(0.95, AGAIN_S[Level.EMERGENCY])
    held.at(0.95, 0.5)
    assert pressures == [0.25, 0.5, 1.0, 1.0]
    held.at(0.2, 100)
    assert pressures == [0.25, 0.5, 1.0, 1.0]


@pytest.mark.req("S3")
def test_pressure_collects_what_nobody_can_reach(held):
    class Ring:
        itself: Ring

    gc.disable()
    try:
        ring = Ring()
        ring.itself = ring
        gone = weakref.ref(ring)
        del ring
        held.at(0.5)
        assert gone() is not None
        held.at(0.75)
        assert gone() is None
    finally:
        gc.enable()


def test_a_hook_that_fails_keeps_no_other_from_its_turn(caplog):
    relief, called = Relief(), list[float]()
    relief.add(lambda pressure: 1 // 0)
    relief.add(lambda pressure: _noted(called, pressure, 7))
    assert relief.act(1.0) == 7
    assert called == [1.0]
    assert "could not release" in caplog.text


@pytest.mark.req("S4")
def test_requests_are_refused_and_counted_and_served_again(held):
    gate = held.watcher.gate
    paths = ("/exports/units", "/units", "/hooks/stk", "/health")

    def refused() -> list[str]:
        return [path for path in paths if not gate.is_calm and gate.refuses(path)]

    for share, wanted in (
        (0.6, []), (0.85, ["/exports/units"]), (0.92, ["/exports/units", "/units"]),
        (0.97, ["/exports/units", "/units", "/hooks/stk"]), (0.85, ["/exports/units"]), (0.5, []),
    ):  # fmt: skip
        held.at(share)
        assert refused() == wanted, share
    assert gate.refused == {Priority.FIRST: 4, Priority.NORMAL: 2, Priority.LAST: 1}
    assert gate.is_calm


@pytest.mark.req("S4")
def test_who_has_little_of_a_full_machine_refuses_nobody():
    """To refuse callers would free nothing there; what can be let go of is."""
    held = Held(source="machine")
    held.limit.bytes = 1000 * GIB
    pressures: list[float] = []
    held.watcher.relief.add(pressures.append)
    held.at(0.97)
    assert (held.watcher.level, held.watcher.gate.is_calm, pressures) == (Level.EMERGENCY, True, [1.0])
    held.limit.bytes = psutil.Process().memory_info().rss * 2
    held.at(0.97)
    assert not held.watcher.gate.is_calm
    held.watcher.stop()


@pytest.mark.req("S4")
def test_a_process_is_given_up_when_nothing_helped_and_its_end_would(held):
    given_up: list[bool] = []
    held.watcher.retire = lambda: given_up.append(True)
    held.at(0.95)
    held.at(0.95, RETIRE_AFTER_S + 1)
    assert given_up == [], "it has not grown: its end would free nothing"
    held.watcher._process.began_with -= LIMIT // 10
    held.at(0.5)
    held.at(0.95)
    held.at(0.95, RETIRE_AFTER_S - 1)
    assert given_up == []
    held.at(0.95, 2)
    held.at(0.95, 30)
    assert given_up == [True], "once"


def test_a_process_above_its_own_limit_is_given_up():
    held = Held(process_limit_bytes=MIB)
    given_up: list[bool] = []
    held.watcher.retire = lambda: given_up.append(True)
    held.at(0.1)
    assert given_up == [True]
    held.watcher.stop()


def test_of_several_processes_the_largest_is_given_up():
    child = os.fork()
    if child == 0:
        own = bytearray(os.urandom(1)) * (48 * MIB)
        time.sleep(60 if own else 0)
        os._exit(0)
    try:
        family = Family(os.getpid(), clock=lambda: 0.0)
        wait_until(lambda: psutil.Process(child).memory_info().rss > 48 * MIB)
        # Another test's server may be a child of this process, too.
        first, *below = [one.pid for one in family.members()]
        assert (first, child in below) == (os.getpid(), True)
        assert family.is_largest(child), "the first process starts the others; it is not compared with them"
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


# Collections


@pytest.mark.req("S3")
def test_collections_are_counted_with_their_yield_and_their_pauses():
    sizes = iter(range(100, 200))
    collector = Collector(lambda: next(sizes))
    collector.attach()
    collector.attach()
    assert gc.callbacks.count(collector._told) == 1
    try:
        gc.collect()
        before = collector.generations[2].collected
        for _ in range(50):
            ring: list = []
            ring.append(ring)
        del ring
        gc.collect()
    finally:
        collector.detach()
    full = collector.generations[2]
    assert full.collections == 2
    assert full.collected - before >= 50
    assert 0 < full.pause_ms_max <= full.pause_ms_total
    assert collector.pause_ms_total >= full.pause_ms_total
    assert collector.after_full == 101, "the size after the last full collection"
    assert collector.size_after_collection() == 101
    assert collector.size_after_collection() == 102, "none since: one is made"
    assert collector._told not in gc.callbacks


def test_tracing_is_never_begun():
    """Ending it may crash a process with threads, so lines are told only where it was begun with Python itself."""
    suspects = Suspects()
    gc.collect()  # what another test has left must not go while this one counts
    suspects.begin()
    assert not tracemalloc.is_tracing()
    kept = [Suspects() for _ in range(500)]
    told = suspects.end()
    assert {"what": "extensions.memory.culprits.Suspects", "count": len(kept)} in told
    assert all("bytes" not in one for one in told)


def test_objects_are_counted_without_a_touch_on_what_other_threads_are_making():
    """A tuple that is being made must be referred to by nobody else when it is given its size."""
    over = threading.Event()

    def count():
        suspects = Suspects()
        while not over.is_set():
            suspects.begin()

    counting = threading.Thread(target=count)
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    counting.start()
    try:
        ends_at = time.monotonic() + 3
        while time.monotonic() < ends_at:
            assert len(tuple(number for number in range(3000))) == 3000
    finally:
        over.set()
        counting.join()
        sys.setswitchinterval(usual)


def test_own_memory_is_read_as_it_grows():
    before = own_bytes()
    kept = bytearray(os.urandom(1)) * (32 * MIB)
    assert own_bytes() - before > 30 * MIB
    assert len(kept) == 32 * MIB


# The app


@pytest.mark.req("S4")
def test_a_refusal_is_a_problem_document_before_any_work(make_app):
    app = make_app(MEMORY_SHED_LAST=("/hooks/",), MEMORY_SHED_FIRST=("/exports",))
    worked: list[str] = []
    app.before_request(lambda: worked.append("work"))
    client, watcher = app.test_client(), watcher_of(app)
    assert client.get("/rents").status_code == 200
    watcher.stop()
    watcher.gate.set(Priority.NORMAL)
    worked.clear()
    answer = client.post("/rents", headers={"X-Request-ID": "brought-by-the-caller"})
    assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
    assert answer.headers["Retry-After"] == "5"
    problem = answer.get_json()
    assert problem.keys() == {"type", "title", "status", "detail", "instance", "request_id"}
    assert (problem["instance"], problem["request_id"]) == ("/rents", "brought-by-the-caller")
    assert client.head("/rents").get_data() == b""
    assert len(client.get("/rents", headers={"X-Request-ID": "<script>"}).get_json()["request_id"]) == 32
    assert worked == []
    assert [client.get(path).status_code for path in ("/health", "/hooks/stk", "/exports/units")] == [
        200,
        200,
        503,
    ]
    with app.app_context():
        shed = {
            metric.labels["priority"]: metric.value
            for metric in app.extensions["haven_extensions"][0].collect()
            if metric.name == "memory_shed_total"
        }
    assert shed == {"first": 1, "normal": 3, "last": 0}
    watcher.gate.set(None)
    assert client.get("/rents").status_code == 200


class Hoard(Base):
    name = "hoard"

    def init_app(self, app: Flask) -> None:
        app.extensions[self.name] = []

    def release(self, pressure: float) -> int:
        from flask import current_app

        current_app.extensions[self.name].append(pressure)
        return 5 * MIB


@pytest.mark.req("S4")
def test_extensions_and_hooks_let_go_under_pressure(make_app):
    app = make_app("tests.extensions.test_memory:Hoard")
    asked: list[float] = []
    with app.app_context():
        memory_optimizer.on_pressure(lambda pressure: _noted(asked, pressure, 2 * MIB))
    assert watcher_of(app).relief.act(0.5) == 7 * MIB
    assert (app.extensions["hoard"], asked) == ([0.5], [0.5])


@pytest.mark.req("U")
def test_the_optimizer_answers_by_its_names(make_app):
    app = make_app(REDIS_URL="", MEMORY_LIMIT=8 * GIB)
    with app.app_context():
        assert not watcher_of(app).is_watching
        memory_optimizer.start_monitoring(2000)
        assert watcher_of(app).is_watching
        assert watcher_of(app).interval_s == 2.0
        stats = memory_optimizer.get_memory_stats()
        assert memory_optimizer.get_optimization_recommendations() == []
        with pytest.raises(ValueError, match="interval_ms"):
            memory_optimizer.start_monitoring(10)
    assert stats.keys() == {
        "limit_bytes", "limit_source", "used_bytes", "share", "level", "pressure", "thresholds", "processes", "system", "missing",
    }  # fmt: skip
    assert stats["thresholds"] == {"warning": 0.7, "critical": 0.8, "emergency": 0.9}
    (process,) = stats["processes"]
    assert process.keys() == {
        "host", "pid", "role", "at", "rss_bytes", "uss_bytes", "cpu_percent", "threads", "open_files", "level", "shedding",
        "gc", "trend",
    }  # fmt: skip
    seen = psutil.Process()
    assert process["rss_bytes"] == pytest.approx(seen.memory_info().rss, rel=0.2)
    assert 0 < process["uss_bytes"] <= process["rss_bytes"]
    assert abs(process["threads"] - seen.num_threads()) <= 2
    assert abs(process["open_files"] - seen.num_fds()) <= 5
    assert [one["generation"] for one in process["gc"]] == [0, 1, 2]
    assert process["trend"].keys() == {"bytes_per_minute", "confidence", "is_leak", "culprits"}
    assert stats["system"]["cpus"] == os.cpu_count()
    assert stats["missing"] == []


@pytest.mark.req("M4")
def test_the_first_request_of_a_process_begins_the_watch_and_samples_go_into_history(make_app):
    app = make_app("extensions.monitoring:Monitoring", MONITORING_PREFIX=f"t{secrets.token_hex(6)}")
    assert app.test_client().get("/rents").status_code == 200
    assert watcher_of(app).is_watching
    assert watcher_of(app).gate.is_calm
    state = app.extensions["monitoring"]
    state.recorder.flush()
    now = int(time.time())
    for name in (
        "memory_share",
        "memory_rss_bytes",
        "memory_uss_bytes",
        "memory_threads",
        "memory_open_files",
    ):
        points, _ = state.reader.points(name, now - 60, now + 10, 10)
        assert points, name
        assert points[-1].sketch.mean > 0, name
    assert "haven_memory_rss_bytes" in app.test_client().get("/metrics").get_data(as_text=True)


@pytest.mark.req("S1")
def test_processes_meet_in_redis_and_the_dead_are_forgotten(make_app, redis_url):
    app = make_app()
    key = f"{app.config['MEMORY_PREFIX']}:memory:processes"
    client = redis.Redis.from_url(redis_url)
    other = Watcher(
        Rules(limit_bytes=GIB), Store(client, app.config["MEMORY_PREFIX"], "other-host"), "worker"
    )
    other.refresh()
    client.hset(key, "gone:1", b'{"host":"gone","pid":1,"role":"web","at":5,"trend":{},"gc":[]}')
    client.hset(key, "newer:1", b"[]")
    with app.app_context():
        stats = memory_optimizer.get_memory_stats()
    assert {(one["host"], one["role"]) for one in stats["processes"]} == {
        (watcher_of(app).store.host, "web"),
        ("other-host", "worker"),
    }
    assert client.hlen(key) == 2
    assert 0 < client.ttl(key) <= 3600


@pytest.mark.req("S1")
def test_with_redis_away_a_process_tells_of_itself_and_says_so(make_app, tmp_path):
    with own_valkey(tmp_path) as valkey:
        app = make_app(REDIS_URL=valkey.url, REDIS_TIMEOUT=500)
        with app.app_context():
            assert memory_optimizer.get_memory_stats()["missing"] == []
            valkey.kill()
            stats = memory_optimizer.get_memory_stats()
    assert stats["missing"] == ["other processes (Redis is away)"]
    assert len(stats["processes"]) == 1


def test_after_a_fork_each_watches_itself(make_app):
    app = make_app()
    assert app.test_client().get("/rents").status_code == 200
    parent = watcher_of(app)
    parent.relief.add(lambda pressure: 0)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            is_anew = not parent.is_watching and not parent.gate.is_calm
            run_after_fork(app)
            app.test_client().get("/rents")
            is_watching = parent.is_watching
            code = 0 if is_anew and is_watching and parent.report()["pid"] == os.getpid() else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert parent.is_watching


def test_a_watcher_that_nobody_holds_ends():
    watcher = Watcher(Rules(limit_bytes=GIB), Store(None))
    watcher.start()
    thread, callbacks = watcher._thread, len(gc.callbacks)
    assert thread is not None
    gone = weakref.ref(watcher)
    del watcher
    wait_until(lambda: gone() is None)
    thread.join(10)
    assert not thread.is_alive()
    assert len(gc.callbacks) == callbacks - 1


def test_health_tells_of_the_level_and_a_leak(make_app):
    app = make_app(REDIS_URL="")
    (extension,) = app.extensions["haven_extensions"]
    watcher = watcher_of(app)
    limit = Given(0.5)
    watcher._limit = limit
    with app.app_context():
        assert extension.health().status == "ok"
        limit.share = 0.92
        found = extension.health()
    assert (found.status, found.numbers["level"], found.numbers["share"]) == ("degraded", "EMERGENCY", 0.92)


# Advice

PROCESS = {
    "host": "web-1", "pid": 7, "role": "web", "rss_bytes": 200 * MIB, "uss_bytes": 150 * MIB, "cpu_percent": 20.0,
    "threads": 10, "open_files": 30, "level": "NORMAL", "shedding": False,
    "gc": [{"generation": 2, "collections": 5, "collected": 9, "pause_ms_total": 20.0, "pause_ms_max": 8.0}],
    "trend": {"bytes_per_minute": 0, "confidence": 0.5, "is_leak": False, "culprits": []},
}  # fmt: skip
SETTINGS = {"WEB_CONCURRENCY": 4, "CACHE_LOCAL_BYTES": 16 * MIB, "MEMORY_MONITORING_INTERVAL": 60_000}


def stats_of(share: float, *, count: int = 4, **changes) -> dict:
    return {
        "limit_bytes": GIB,
        "limit_source": "cgroup",
        "used_bytes": int(share * GIB),
        "share": share,
        "pressure": {"some_avg10": 0.0, "full_avg10": 0.0},
        "thresholds": {"warning": 0.7, "critical": 0.8, "emergency": 0.9},
        "processes": [PROCESS | {"pid": pid} | changes for pid in range(count)],
        "system": {"cpu_percent": 10.0, "load_1m": 0.5, "load_5m": 0.5, "load_15m": 0.5, "cpus": 4},
    }


def by_setting(stats, settings=SETTINGS, **more) -> dict[str, dict]:
    return {one["setting"]: one for one in advise(stats, settings, **more)}


@pytest.mark.req("S5")
def test_nothing_is_advised_where_all_is_well():
    assert by_setting(stats_of(0.5)) == {}


@pytest.mark.req("S5")
def test_short_memory_is_advised_on_by_its_numbers():
    found = by_setting(stats_of(0.85))
    assert (found["WEB_CONCURRENCY"]["now"], found["WEB_CONCURRENCY"]["suggested"]) == (4, 2)
    assert found["WEB_CONCURRENCY"]["text"].startswith(
        "Memory is at 85% of 1024 MiB. Each of 4 web processes has 150 MiB"
    )
    assert (found["CACHE_LOCAL_BYTES"]["now"], found["CACHE_LOCAL_BYTES"]["suggested"]) == (16 * MIB, 8 * MIB)
    more = found["memory.max of the container"]
    assert more["now"] == GIB < more["suggested"] < 2 * GIB


@pytest.mark.req("S5")
def test_a_leak_is_advised_on_with_its_culprits():
    trend = {
        "bytes_per_minute": MIB, "confidence": 0.999, "is_leak": True,
        "culprits": [{"what": "haven/rents.py:12", "bytes": 2 * MIB}, {"what": "haven.Rent", "count": 400}],
    }  # fmt: skip
    found = by_setting(stats_of(0.5, trend=trend))["MEMORY_PROCESS_LIMIT"]
    assert "1.0 MiB a minute" in found["text"]
    assert "haven/rents.py:12 (2 MiB), haven.Rent (400 more)" in found["text"]
    assert (found["now"], found["suggested"]) == (0, 320 * MIB)


@pytest.mark.req("S5")
@pytest.mark.parametrize(
    "stats, settings, gc_share, setting, suggested",
    [
        (stats_of(0.3, count=2, cpu_percent=90.0), {"WEB_CONCURRENCY": 2}, 0.0, "WEB_CONCURRENCY", 3),
        (stats_of(0.3), {"MEMORY_MONITORING_INTERVAL": 600_000}, 0.0, "MEMORY_MONITORING_INTERVAL", 60_000),
        (stats_of(0.3), {"MEMORY_GC_THRESHOLD": 700}, 0.08, "MEMORY_GC_THRESHOLD", 7000),
        (stats_of(0.3, open_files=10**9), {}, 0.0, "ulimit -n", None),
        (
            stats_of(0.3) | {"pressure": {"some_avg10": 30.0, "full_avg10": 9.0}},
            {},
            0.0,
            "memory.max of the container",
            GIB,
        ),
    ],
)
def test_other_numbers_have_their_advice(stats, settings, gc_share, setting, suggested):
    found = by_setting(stats, settings, gc_share=gc_share)
    assert found.keys() == {setting}
    assert found[setting]["suggested"] == suggested or suggested is None


def test_a_sample_is_taken_each_five_seconds(held):
    held.at(0.1)
    first = held.watcher._sampled_at
    held.at(0.1)
    assert held.watcher._sampled_at == first
    held.at(0.1, SAMPLE_S)
    assert held.watcher._sampled_at == held.now


_FLOOD = """
import sys, threading, time
from extensions.memory.collector import give_large_blocks_back, trim
from extensions.memory.process import own_bytes

if sys.argv[1] == "given back":
    assert give_large_blocks_back()
before, together = own_bytes(), threading.Barrier(16)

def ask():
    for _ in range(4):
        together.wait()
        block = bytearray(b"x") * (8 << 20)
        together.wait()
        del block
    together.wait()      # the threads stay, as a server's do
    together.wait()

threads = [threading.Thread(target=ask, daemon=True) for _ in range(15)]
for thread in threads:
    thread.start()
for _ in range(4):
    together.wait()
    together.wait()
together.wait()
trim()
print((own_bytes() - before) >> 20)
"""


@pytest.mark.req("S4")
def test_what_a_flood_of_large_blocks_took_goes_back_to_the_system():
    def left(how: str) -> int:
        run = subprocess.run(
            [sys.executable, "-c", _FLOOD, how],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return int(run.stdout)

    assert left("given back") < 16
    assert left("as it is") > 32, "the control: glibc by itself keeps it"
