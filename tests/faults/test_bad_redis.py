"""Redis is killed, paused, slow and flushed under load: slower answers at the most, no 5xx, and recovery by itself."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import redis

from tests.api.conftest import Caller, caller_of
from tests.support.bad_network import BadNetwork
from tests.support.own_valkey import OwnValkey, own_valkey
from tests.support.servers_behind_proxy import Clients, Seen
from tests.support.web_server import WebServer

pytestmark = pytest.mark.xdist_group("bad_redis")
__all__ = ["caller_of"]

LOAD = {"/api/v1/owners": 3, "/api/v1/auth/me": 3}
SETTLED_S = 1.0
"""After this the hold-off is open in every process: what was on its way when Redis went has waited its time-out."""


TOKEN = "shows the details of health"


@dataclass
class Stack:
    """A web server whose Redis is reached over a network that can be made bad."""

    valkey: OwnValkey
    network: BadNetwork
    server: WebServer

    def parts(self) -> dict[str, Any]:
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        answer = httpx.get(f"{self.server.url}/health/detailed", headers=bearer, timeout=10)
        found: dict[str, Any] = answer.json()["parts"]
        return found


@pytest.fixture(scope="module")
def stack(environ, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad-redis")
    with own_valkey(folder, "databases 1024") as valkey:
        network = BadNetwork(valkey.port)
        settings = {
            **environ,
            "REDIS_URL": valkey.url_through(network.port),
            "DRAIN_SECONDS": "0",
            # As it is by default; other tests are given more.
            "REDIS_TIMEOUT": "250",
            "CACHE_TIMEOUT": "0.2",
            "METRICS_TOKEN": TOKEN,
        }
        server = WebServer(settings, folder / "web.log", "wsgi:app")
        try:
            server.wait_ready()
            yield Stack(valkey, network, server)
        finally:
            server.stop()
            network.close()


@contextmanager
def killed(stack: Stack) -> Iterator[None]:
    stack.valkey.kill()
    stack.network.cut()
    yield
    stack.valkey.start()


@contextmanager
def paused(stack: Stack) -> Iterator[None]:
    stack.valkey.pause()
    yield
    stack.valkey.resume()


@contextmanager
def slow(stack: Stack) -> Iterator[None]:
    stack.network.delay_s = 0.5
    yield
    stack.network.delay_s = 0


@contextmanager
def flushed(stack: Stack) -> Iterator[None]:
    """Emptied every 50 ms."""
    is_over = threading.Event()
    client = redis.Redis.from_url(stack.valkey.url)

    def flush() -> None:
        while not is_over.wait(0.05):
            client.flushall()

    flushing = threading.Thread(target=flush)
    flushing.start()
    yield
    is_over.set()
    flushing.join()


FAULTS = [killed, paused, slow, flushed]


def p99(ms: list[float]) -> float:
    return statistics.quantiles(ms, n=100)[98]


def hurt(
    stack: Stack, by: Caller, fault: Callable[[Stack], Any], for_s: float
) -> tuple[Seen, float, float, float]:
    """Load before, in and after a fault: what was seen, and the p99 (ms) normally, in the fault, and afterwards."""
    clients = Clients([stack.server], LOAD, 0.005, {"Authorization": f"Bearer {by.token}"})
    with clients.asking() as seen:
        time.sleep(for_s)
        normal = len(seen.ms)
        with fault(stack):
            time.sleep(SETTLED_S)
            settled = len(seen.ms)
            asked = httpx.post(
                f"{stack.server.url}/api/v1/invoices/run",
                json={"period": "2026-11"},
                headers={"Authorization": f"Bearer {by.token}"},
                timeout=30,
            )
            assert asked.status_code == 202
            time.sleep(for_s)
            over = len(seen.ms)
        _recovers(stack)
        after = len(seen.ms)
        time.sleep(for_s)
    return seen, p99(seen.ms[:normal]), p99(seen.ms[settled:over]), p99(seen.ms[after:])


def _recovers(stack: Stack) -> None:
    deadline = time.monotonic() + 30
    while True:
        parts = stack.parts()
        if parts["redis"]["status"] == "ok" and parts["rate_limiting"]["counts_in"] == "redis":
            return
        assert time.monotonic() < deadline, parts
        time.sleep(0.1)


@pytest.mark.req("C9", "R4", "R6")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda one: one.__name__)
def test_a_bad_redis_is_no_error_and_is_used_again_once_it_is_well(stack, caller_of, fault):
    seen, normal, bad, after = hurt(stack, caller_of(), fault, for_s=2)
    assert seen.failures == []
    print(  # noqa: T201
        f"\n{fault.__name__}: {len(seen.ms)} requests, 0 failed; p99 {normal:.0f} ms normally, {bad:.0f} ms in the fault,"
        f" {after:.0f} ms afterwards, {max(seen.ms):.0f} ms the slowest"
    )


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda one: one.__name__)
def test_in_a_fault_the_slowest_hundredth_is_at_most_twice_as_slow_and_100_ms(stack, caller_of, fault):
    seen, normal, bad, _ = hurt(stack, caller_of(), fault, for_s=15)
    print(  # noqa: T201
        f"\n{fault.__name__}: {len(seen.ms)} requests, {len(seen.failures)} failed; p99 {normal:.0f} ms normally,"
        f" {bad:.0f} ms in the fault"
    )
    assert seen.failures == []
    assert bad <= 2 * normal + 100
