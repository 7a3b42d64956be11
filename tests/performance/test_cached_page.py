"""A stored list page against gunicorn's own rate: the same bytes from a WSGI app of three lines.

One process of each, one connection each, interleaved, medians, a ratio. `make bench` shows the figures.
"""

from __future__ import annotations

import socket
import statistics
import time
from urllib.parse import urlsplit

import pytest

from tests.api.conftest import caller_of, let_a_flat
from tests.support.web_server import gunicorn

__all__ = ["caller_of"]
ROUNDS = 15
REQUESTS = 100


class Wire:
    """One kept-alive connection that asks for one thing and reads answers as cheaply as Python can."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((str(parts.hostname), int(parts.port or 80)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = (
            f"GET {parts.path} HTTP/1.1\r\nHost: bench\r\nAccept: */*\r\nAuthorization: Bearer {token}\r\n\r\n"
        ).encode()

    def ask(self) -> bytes:
        """The whole answer."""
        self._socket.sendall(self._request)
        answer = self._socket.recv(65536)
        head, _, body = answer.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        while len(body) < length:
            body += self._socket.recv(65536)
        return head + b"\r\n\r\n" + body

    def rate(self) -> float:
        """Answers a second."""
        began = time.perf_counter()
        for _ in range(REQUESTS):
            self.ask()
        return REQUESTS / (time.perf_counter() - began)


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.req("C5")
def test_a_stored_page_costs_little_more_than_gunicorn_itself(environ, caller_of, record_property):
    by = caller_of()
    for _ in range(10):
        let_a_flat(by)
    # With all that guards a request in use: the limit counts, the log is written.
    one_process = {"WEB_CONCURRENCY": "1", "CACHE_TIMEOUT": "5", "LOG_LEVEL": "INFO"}
    with (
        gunicorn(environ | one_process) as haven,
        gunicorn(one_process, program="tests.support.bare:app") as bare,
    ):
        page, same, computed = (
            Wire(url, by.token) for url in (f"{haven}/api/v1/units", f"{bare}/units", haven)
        )
        computed._request = page._request.replace(b"Accept: */*", b"Accept: */*\r\nCache-Control: no-cache")
        for wire in (page, same, computed):
            wire.rate()
        assert b"X-Cache: HIT" in page.ask()
        assert b"X-Cache: BYPASS" in computed.ask()
        rates = [(page.rate(), same.rate(), computed.rate()) for _ in range(ROUNDS)]
    stored, gunicorns, without = (statistics.median(side) for side in zip(*rates, strict=True))
    record_property("ratio", stored / gunicorns)
    print(  # noqa: T201
        f"\na page of 10 units: {stored:.0f}/s stored, {without:.0f}/s computed, {gunicorns:.0f}/s by bare gunicorn:"
        f" {stored / gunicorns:.2f} of bare, {stored / without:.1f} times computed"
    )
    assert stored > without
