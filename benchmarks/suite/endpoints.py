"""Requests to a gunicorn of one process over the loopback, with all that guards a request: as a caller sees them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.callbacks.load import request as callback_of
from benchmarks.suite.benchmark import BLOCKS, Benchmark

_START_S: Final = 60
_ANSWER_S: Final = 60
_FRESH: Final = {"Cache-Control": "no-cache"}
CALLBACKS_A_BLOCK: Final = 3
CALLBACKS_A_FIGURE: Final = BLOCKS * CALLBACKS_A_BLOCK
"""Each of them pays a push that is open, and so can be sent once."""


class Refused(Exception):
    """An answer was another than the one that is measured."""


class Wire:
    """One kept-alive connection that reads answers as cheaply as Python can."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> bytes:
        """The whole answer to a request.

        Raises:
            Refused: it is no 200.
        """
        self._socket.sendall(request)
        answer = self._receive()
        head, _, body = answer.partition(b"\r\n\r\n")
        while not head:
            answer += self._receive()
            head, _, body = answer.partition(b"\r\n\r\n")
        left = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]) - len(body)
        while left > 0:
            part = self._receive()
            body += part
            left -= len(part)
        if not head.startswith(b"HTTP/1.1 200"):
            raise Refused((head + b"\r\n\r\n" + body).decode(errors="replace")[:600])
        return head + b"\r\n\r\n" + body

    def _receive(self) -> bytes:
        part = self._socket.recv(262_144)
        if not part:
            raise Refused("The server closed the connection.")
        return part


@dataclass(frozen=True, slots=True)
class Web:
    """A running server, and who may ask it what."""

    port: int
    logins: Mapping[str, Any]
    first_push: int

    def get(self, path: str, **headers: str) -> bytes:
        """The request."""
        return self._request("GET", path, {"Authorization": f"Bearer {self._token}"} | headers)

    def fresh(self, path: str) -> bytes:
        """The request for an answer that is computed, whatever is stored."""
        return self._request("GET", path, {"Authorization": f"Bearer {self._token}"} | _FRESH)

    def post(self, path: str, body: Mapping[str, Any]) -> bytes:
        """The request of somebody who has not signed in."""
        content = json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        return self._request("POST", path, headers) + content

    @property
    def _token(self) -> str:
        return str(self.logins["agency_admin"]["api_key"])

    @staticmethod
    def _request(method: str, path: str, headers: Mapping[str, str]) -> bytes:
        lines = [f"{method} /api/v1{path} HTTP/1.1", "Host: bench", "Accept: */*"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


@contextmanager
def gunicorn(checkout: Path, environ: Mapping[str, str], log: Path) -> Iterator[int]:
    """A server of the code in ``checkout``; its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    argv = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]
    own = {**os.environ, **environ, "PORT": str(port), "BIND_HOST": "127.0.0.1", "WEB_CONCURRENCY": "1"}
    with log.open("ab") as out:
        process = subprocess.Popen(
            argv, cwd=checkout, env=own, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        _wait_ready(port, process, log)
        yield port
    finally:
        process.send_signal(signal.SIGQUIT)  # at once: nobody waits for an answer
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    ends_at = time.monotonic() + _START_S
    while time.monotonic() < ends_at and process.poll() is None:
        try:
            Wire(port).ask(b"GET /ready HTTP/1.1\r\nHost: bench\r\n\r\n")
        except (OSError, Refused, ValueError):
            time.sleep(0.1)
        else:
            return
    raise Refused(f"gunicorn did not become ready:\n{log.read_text(errors='replace')[-2000:]}")


def list_computed(web: Web) -> Benchmark:
    """A page of 50 units from PostgreSQL."""
    return _asking("list_computed", web, web.fresh("/units?limit=50"), 4)


def list_stored(web: Web) -> Benchmark:
    """The same page, stored."""
    return _asking("list_stored", web, web.get("/units?limit=50"), 12, b"X-Cache: HIT")


def one_row(web: Web) -> Benchmark:
    """One unit by its id."""
    page = Wire(web.port).ask(web.get("/units?limit=1"))
    unit_id = json.loads(page.partition(b"\r\n\r\n")[2])["data"][0]["id"]
    return _asking("one_row", web, web.fresh(f"/units/{unit_id}"), 5)


def dashboard(web: Web) -> Benchmark:
    """The figures of the running month, computed."""
    return _asking("dashboard", web, web.fresh("/dashboard/stats"), 4)


def sign_in(web: Web) -> Benchmark:
    """A sign-in by password, most of which is Argon2id."""
    admin = web.logins["agency_admin"]
    body = {"email": admin["email"], "password": admin["password"]}
    return _asking("sign_in", web, web.post("/auth/login", body), 1)


def callback(web: Web) -> Benchmark:
    """A callback of M-Pesa that pays: stored, committed, applied."""
    wire = Wire(web.port)
    pushes = iter(range(web.first_push, web.first_push + 10_000_000))
    return Benchmark("callback", lambda: wire.ask(callback_of(next(pushes))), CALLBACKS_A_BLOCK)


def _asking(name: str, web: Web, request: bytes, times: int, must_say: bytes = b"") -> Benchmark:
    """One request over a connection of its own."""
    wire = Wire(web.port)
    if must_say:
        wire.ask(request)
        answer = wire.ask(request)
        if must_say not in answer:
            raise Refused(f"{name} is not what it should be: {must_say.decode()} is missing.")
    return Benchmark(name, lambda: wire.ask(request), times)


ENDPOINTS: dict[str, Callable[[Web], Benchmark]] = {
    "list_computed": list_computed,
    "list_stored": list_stored,
    "one_row": one_row,
    "dashboard": dashboard,
    "sign_in": sign_in,
    "callback": callback,
}
