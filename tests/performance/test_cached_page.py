"""A stored list page against gunicorn's own rate: the same bytes from a WSGI app of three lines.

One process of each, one connection each, interleaved, medians, a ratio: of rates, and of the processor time that the web
process itself takes, which other work on the machine does not change. `make bench` shows the figures.
"""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil
import pytest

from tests.api.conftest import caller_of
from tests.support.bare import BODY
from tests.support.builders import a_property
from tests.support.web_server import WebServer

__all__ = ["caller_of"]
ROUNDS = 15
REQUESTS = 200
PROPERTIES = 50
PAGE = f"/api/v1/properties?limit={PROPERTIES}"


class Wire:
    """One kept-alive connection that asks for one thing and reads answers as cheaply as Python can."""

    def __init__(self, url: str, token: str, more: str = "") -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((str(parts.hostname), int(parts.port or 80)), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = (
            f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: bench\r\nAccept: */*\r\n"
            f"Authorization: Bearer {token}\r\n{more}\r\n"
        ).encode()

    def ask(self) -> bytes:
        """The whole answer."""
        self._socket.sendall(self._request)
        answer = self._socket.recv(262_144)
        head, _, body = answer.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        while len(body) < length:
            body += self._socket.recv(262_144)
        return head + b"\r\n\r\n" + body


class Cost(NamedTuple):
    """Of one request: how long it took, and the processor time of the web process, in µs."""

    wall: float
    cpu: float


class Served:
    """A server of one web process, asked by one connection."""

    def __init__(self, server: WebServer, wire: Wire) -> None:
        self.wire = wire
        (self._process,) = psutil.Process(server.pid).children()

    def cost(self) -> Cost:
        """Of a request, by as many as make the clock's ticks small."""
        cpu, began = self._cpu_s(), time.perf_counter()
        for _ in range(REQUESTS):
            self.wire.ask()
        ended = time.perf_counter()
        return Cost((ended - began) / REQUESTS * 1e6, (self._cpu_s() - cpu) / REQUESTS * 1e6)

    def _cpu_s(self) -> float:
        # In ns; what psutil reads of /proc/…/stat is in ticks of 10 ms.
        tasks = Path(f"/proc/{self._process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


@contextlib.contextmanager
def served(
    environ: Mapping[str, str], token: str, program: str = "wsgi:app", more: str = ""
) -> Iterator[Served]:
    server = WebServer({"WEB_CONCURRENCY": "1", **environ}, Path(os.devnull), program)
    try:
        server.wait_ready("/alive")
        yield Served(server, Wire(server.url + PAGE, token, more))
    finally:
        server.stop()


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.req("C5")
def test_a_stored_page_costs_little_more_than_gunicorn_itself(
    environ, engine, caller_of, tmp_path, record_property
):
    by = caller_of()
    for number in range(PROPERTIES):
        a_property(engine, by.agency_id, name=f"Umoja {number}", location="Umoja", county="Nairobi")
    # With all that guards a request in use: the limit counts, the log is written, monitoring measures.
    guarded = environ | {"CACHE_TIMEOUT": "5", "LOG_LEVEL": "INFO", "RATE_LIMIT_MAX_REQUESTS": "1000000"}
    off = {"ENABLE_PERFORMANCE_MONITORING": "false"}
    body = tmp_path / "body"
    with served(guarded, by.token) as page, served(guarded | off, by.token) as unmeasured:
        for _ in range(3):
            answer = page.wire.ask()
        assert b"X-Cache: HIT" in answer
        assert b"RateLimit:" in answer
        body.write_bytes(answer.partition(b"\r\n\r\n")[2])
        bare = served({BODY: str(body)}, by.token, "tests.support.bare:app")
        computed = served(guarded, by.token, more="Cache-Control: no-cache\r\n")
        with bare as same, computed as fresh:
            assert b"X-Cache: BYPASS" in fresh.wire.ask()
            sides = (page, unmeasured, same, fresh)
            for side in sides:
                side.cost()
            costs = [[side.cost() for side in sides] for _ in range(ROUNDS)]
    ratio, cpu_ratio = (
        statistics.median(same_cost[at] / page_cost[at] for page_cost, _, same_cost, _ in costs)
        for at in (0, 1)
    )
    stored, off_stored, gunicorns, without = (
        Cost(*(statistics.median(each) for each in zip(*side, strict=True)))
        for side in zip(*costs, strict=True)
    )
    record_property("ratio", ratio)
    print(  # noqa: T201
        f"\na page of {PROPERTIES} properties, µs a request (µs of processor): {stored.wall:.0f} ({stored.cpu:.0f}) stored,"
        f" {off_stored.wall:.0f} ({off_stored.cpu:.0f}) without monitoring,"
        f" {without.wall:.0f} ({without.cpu:.0f}) computed, {gunicorns.wall:.0f} ({gunicorns.cpu:.0f}) by bare gunicorn:"
        f" {ratio:.2f} of bare ({cpu_ratio:.2f}), {without.wall / stored.wall:.1f} times computed"
    )
    assert stored.cpu < without.cpu
