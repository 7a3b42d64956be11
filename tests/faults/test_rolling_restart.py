"""Web servers are replaced one after the other under load, and no request is lost."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import statistics
import time

import pytest

from tests.support.servers_behind_proxy import Clients, Seen
from tests.support.web_server import WebServer

PROGRAM = "tests.support.slow_web:app"
LOAD = {"/alive": 5, "/slow?for=0.02": 3, "/slow?for=2": 3}


@pytest.fixture
def start(environ, tmp_path):
    servers: list[WebServer] = []

    def start(**settings: str) -> WebServer:
        log = tmp_path / f"web-{len(servers)}.log"
        servers.append(WebServer({**environ, "DRAIN_SECONDS": "1", **settings}, log, PROGRAM))
        return servers[-1]

    yield start
    for one in servers:
        one.stop()


def replace(server: WebServer) -> None:
    """Stop it as a platform does, and start its successor."""
    server.tell(signal.SIGTERM)
    assert server.wait_stopped() == 0
    server.start()
    server.wait_ready()


def restart_all(servers: list[WebServer]) -> None:
    for server in servers:
        replace(server)
    for server in servers:
        server.tell(signal.SIGHUP)
        time.sleep(3)


def wait_for(seen: Seen, count: int) -> None:
    deadline = time.monotonic() + 100
    while len(seen.ms) < count:
        assert time.monotonic() < deadline, f"only {len(seen.ms)} requests"
        time.sleep(0.05)


@pytest.mark.req("R6")
def test_a_rolling_restart_and_a_reload_under_load_lose_no_request(start):
    servers = [start(), start()]
    for one in servers:
        one.wait_ready()
    with Clients(servers, LOAD, pause_s=0.01).asking() as seen:
        wait_for(seen, 200)
        replace(servers[0])
        servers[1].tell(signal.SIGHUP)
        time.sleep(3)
        wait_for(seen, len(seen.ms) + 200)
    assert seen.failures == []
    print(f"\n{len(seen.ms)} requests, none lost")  # noqa: T201


def test_the_clients_notice_a_server_that_does_not_stop_politely(start):
    servers = [start(), start()]
    for one in servers:
        one.wait_ready()
    with Clients(servers, LOAD, pause_s=0.01).asking() as seen:
        wait_for(seen, 200)
        servers[0].stop()
        wait_for(seen, len(seen.ms) + 200)
    assert seen.failures


def test_a_server_that_drains_serves_says_so_and_closes_connections(start):
    server = start(DRAIN_SECONDS="60", WEB_CONCURRENCY="1")
    server.wait_ready()
    kept = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    kept.request("GET", "/alive")
    answer = kept.getresponse()
    answer.read()
    assert answer.getheader("Connection") == "keep-alive"

    server.tell(signal.SIGTERM)
    deadline = time.monotonic() + 50
    while server.look() != 503:
        assert time.monotonic() < deadline
    kept.request("GET", "/alive")
    answer = kept.getresponse()

    assert answer.status == 200
    assert answer.getheader("Connection") == "close"
    server.tell(signal.SIGTERM)  # in a hurry
    assert server.wait_stopped() == 0


def test_a_request_that_waits_at_the_door_of_a_stopping_server_is_answered(start):
    """More clients than threads: what the kernel has accepted and no thread has taken yet is served as well."""
    server = start(DRAIN_SECONDS="0", WEB_CONCURRENCY="1", WEB_THREADS="2")
    server.wait_ready()
    asked = []
    for _ in range(8):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("GET", "/slow?for=0.5")
        asked.append(connection)
    server.tell(signal.SIGTERM)
    assert [one.getresponse().status for one in asked] == [200] * 8
    assert server.wait_stopped() == 0


def test_who_comes_too_late_is_refused_at_once_and_not_reset_later(start):
    """A refused connection is tried elsewhere; one that is reset after its request was sent is not."""
    server = start(DRAIN_SECONDS="0", WEB_CONCURRENCY="1")
    server.wait_ready()
    running = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    running.request("GET", "/slow?for=8")
    time.sleep(0.5)
    server.tell(signal.SIGTERM)
    deadline = time.monotonic() + 7
    while _takes_connections(server):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert running.getresponse().status == 200
    assert server.wait_stopped() == 0


def _takes_connections(server: WebServer) -> bool:
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_of_a_hundred_thousand_requests_over_rolling_restarts_none_is_lost(start):
    wanted = int(os.environ.get("ROLLING_REQUESTS", "100000"))
    servers = [start(), start()]
    for one in servers:
        one.wait_ready()
    with Clients(servers, {"/alive": 8, "/slow?for=0.02": 4, "/slow?for=2": 4}).asking() as seen:
        wait_for(seen, wanted // 10)
        steady = list(seen.ms)
        while len(seen.ms) < wanted:
            restart_all(servers)
    quick = [sorted(one for one in ms if one < 2000) for ms in (steady, seen.ms)]
    p50s, p99s = ([statistics.quantiles(ms, n=100)[at] for ms in quick] for at in (49, 98))
    print(  # noqa: T201
        f"\n{len(seen.ms):,} requests, {len(seen.failures)} lost; p50 {p50s[0]:.0f} ms steady and {p50s[1]:.0f} ms over"
        f" restarts, p99 {p99s[0]:.0f} and {p99s[1]:.0f} ms"
    )
    assert seen.failures == []
