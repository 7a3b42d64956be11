"""Workers and the clock tell of their memory, as processes of their own, and their jobs' short-lived processes do not."""

from __future__ import annotations

import time

import pytest

from extensions.hold_off import guarded_redis
from extensions.memory import Store


@pytest.mark.req("S1", "M4")
def test_workers_and_the_clock_are_seen(work):
    pool, cron = work.start("workers"), work.start("cron")
    store = Store(guarded_redis(work.valkey.url, 5.0))

    def seen() -> dict[int, str]:
        return {one["pid"]: one["role"] for one in store.read() or ()}

    def all_are_there() -> bool:
        workers = [one.pid for one in work.workers_of(pool)]
        return len(workers) == 2 and seen() == {**dict.fromkeys(workers, "worker"), cron.pid: "clock"}

    work.wait_until(all_are_there)
    work.wait(work.submit("t_empty"), "SUCCEEDED")
    time.sleep(1.5)
    assert all_are_there(), "a job's process tells nothing"
    (clock,) = [one for one in store.read() or () if one["role"] == "clock"]
    assert clock["rss_bytes"] > clock["uss_bytes"] > 0
    assert clock["threads"] >= 2
