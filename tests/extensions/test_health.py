"""Checks of health: side by side, each with a time-out, cached; a hung one holds one thread and no probe."""

from __future__ import annotations

import threading
import time

import pytest

from extensions.contract import Health
from extensions.health import HealthRegistry


def waiting(names: list[str]) -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name in [f"health-{name}" for name in names]]


@pytest.mark.req("M5")
def test_checks_run_side_by_side():
    together = threading.Barrier(4, timeout=30)
    checks = HealthRegistry()
    for number in range(4):
        # Each waits for all others: one after another they would never meet.
        checks.add(f"part-{number}", lambda: Health("ok", {"met": together.wait() >= 0}), timeout_s=60)
    assert {one.status for one in checks.run().values()} == {"ok"}


@pytest.mark.req("M5")
def test_a_hung_check_is_reported_holds_one_thread_and_comes_back():
    released, calls = threading.Event(), []

    def hangs() -> Health:
        calls.append(1)
        released.wait(60)
        return Health("ok")

    checks = HealthRegistry(cached_s=0.0)
    checks.add("hung", hangs, timeout_s=0.05)
    checks.add("well", lambda: Health("ok"), timeout_s=30)
    for _ in range(20):
        found = checks.run()
        assert (found["hung"].status, found["well"].status) == ("down", "ok")
        assert found["hung"].numbers == {"reason": "no answer within 0.05 s"}
    assert len(calls) == 1
    assert len(waiting(["hung"])) == 1
    released.set()
    deadline = time.monotonic() + 30
    while checks.run(("hung",))["hung"].status != "ok":
        assert time.monotonic() < deadline


@pytest.mark.req("M5")
def test_what_was_said_is_good_for_a_second():
    now, calls = [0.0], []

    def check() -> Health:
        calls.append(1)
        return Health("degraded")

    checks = HealthRegistry(clock=lambda: now[0])
    checks.add("part", check)
    for _ in range(100):
        assert checks.run()["part"].status == "degraded"
    assert len(calls) == 1
    now[0] += 1.0
    checks.run()
    assert len(calls) == 2


def test_many_probes_at_once_ask_once():
    calls, begun = [], threading.Event()

    def slow() -> Health:
        calls.append(1)
        begun.wait(30)
        return Health("ok")

    checks = HealthRegistry()
    checks.add("part", slow, timeout_s=60)
    said: list[str] = []
    probes = [threading.Thread(target=lambda: said.append(checks.run()["part"].status)) for _ in range(8)]
    for probe in probes:
        probe.start()
    begun.set()
    for probe in probes:
        probe.join(30)
    assert said == ["ok"] * 8
    assert len(calls) == 1


def test_a_check_that_fails_is_down_and_says_why():
    checks = HealthRegistry()
    checks.add("part", lambda: Health("ok", {"share": 1 / 0}))
    assert checks.run()["part"] == Health("down", {"reason": "the check failed (ZeroDivisionError)"})
