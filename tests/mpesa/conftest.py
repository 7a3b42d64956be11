"""The simulator as a process, and a receiver of its callbacks: all over real HTTP on the loopback."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from haven.embedded_servers import free_port
from haven.payments.mpesa import MpesaClient, PushAccepted
from haven.payments.mpesa.simulator.commands import DEFAULT_CONSUMER_KEY, DEFAULT_CONSUMER_SECRET
from haven.payments.mpesa.simulator.options import SANDBOX_PASSKEY, SANDBOX_SHORTCODE

CHECKOUT = Path(__file__).resolve().parents[2]
SPEED = 50
PATIENCE_S = 20
_lines = itertools.count()
_http = httpx.Client(timeout=10, verify=False, limits=httpx.Limits(max_keepalive_connections=0))


@dataclass
class Simulator:
    """A running simulator and its control API."""

    url: str

    def get(self, path: str) -> Any:
        return _http.get(f"{self.url}/simulator/{path}").json()

    def post(self, path: str, **body: Any) -> httpx.Response:
        return _http.post(f"{self.url}/simulator/{path}", json=body)

    def pushes_of(self, phone: str) -> list[dict[str, Any]]:
        digits = phone.removeprefix("+")
        return [row for row in self.get("state?limit=10000")["pushes"] if row["phone"] == digits]

    def moved_of(self, phone: str) -> list[dict[str, Any]]:
        return [row for row in self.get("moved")["payments"] if row["phone"] == phone.removeprefix("+")]


@dataclass
class Heard:
    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    address: str


@dataclass
class Receiver:
    """An address for callbacks. ``status``, ``answer`` and ``delay_s`` say how it takes them."""

    url: str
    heard: list[Heard] = field(default_factory=list)
    status: int = 200
    answer: bytes = b'{"ResultCode": 0, "ResultDesc": "Accepted"}'
    delay_s: float = 0.0

    def wait_for(self, count: int) -> list[Heard]:
        wait_until(lambda: len(self.heard) >= count)
        return list(self.heard)


def wait_until(is_so: Callable[[], Any]) -> None:
    ends_at = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < ends_at, "it did not come about"
        time.sleep(0.02)


def a_phone(ending: str = "5555") -> str:
    """A number nobody else in this test process has, that ends in the digits of a scenario."""
    return f"+2547{1000 + next(_lines) % 2000}{ending}"


@contextmanager
def running_simulator(*options: str) -> Iterator[Simulator]:
    port = free_port()
    arguments = [sys.executable, "-m", "haven", "mpesa-simulator", "--port", str(port), *options]
    process = subprocess.Popen(arguments, cwd=CHECKOUT, stdout=subprocess.DEVNULL)
    simulator = Simulator(f"http://127.0.0.1:{port}")
    try:
        wait_until(lambda: _is_up(simulator, process))
        yield simulator
    finally:
        process.terminate()
        process.wait(15)


def _is_up(simulator: Simulator, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "the simulator ended"
    try:
        return bool(simulator.get("health")["status"] == "ok")
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    """One simulator for all tests of this process; each test has phones of its own."""
    with running_simulator("--speed", str(SPEED), "--seed", "tests") as simulator:
        yield simulator


@pytest.fixture
def start_simulator() -> Iterator[Callable[..., Simulator]]:
    """Starts a simulator of the test's own, with options of the command line."""
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(running_simulator(*options))


@pytest.fixture(scope="session")
def post_office() -> Iterator[tuple[str, dict[str, Receiver]]]:
    """The HTTP server behind all receivers."""
    receivers: dict[str, Receiver] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver = receivers[self.path.split("/")[1]]
            receiver.heard.append(
                Heard(self.path, dict(self.headers), body, time.monotonic(), self.client_address[0])
            )
            time.sleep(receiver.delay_s)
            self.send_response(receiver.status)
            self.send_header("Content-Length", str(len(receiver.answer)))
            self.end_headers()
            self.wfile.write(receiver.answer)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", receivers
    server.shutdown()


@pytest.fixture
def receiver(post_office: tuple[str, dict[str, Receiver]]) -> Receiver:
    """An address for the callbacks of one test."""
    url, receivers = post_office
    token = uuid.uuid4().hex
    receivers[token] = Receiver(f"{url}/{token}")
    return receivers[token]


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """This test process's Valkey database, emptied of tokens."""
    with Redis.from_url(redis_url, socket_timeout=5) as redis:
        for key in redis.scan_iter("mpesa:*"):
            redis.delete(key)
        yield redis


def a_client(simulator: Simulator, redis: Any = None, timeout_s: float = 10.0, **options: Any) -> MpesaClient:
    return MpesaClient(
        simulator.url,
        options.pop("key", DEFAULT_CONSUMER_KEY),
        options.pop("secret", DEFAULT_CONSUMER_SECRET),
        options.pop("shortcode", SANDBOX_SHORTCODE),
        options.pop("passkey", SANDBOX_PASSKEY),
        timeout_s,
        redis,
        **options,
    )


@pytest.fixture
def client(simulator: Simulator, redis: Redis) -> Iterator[MpesaClient]:
    """A client of the simulator with the token in Valkey."""
    with a_client(simulator, redis) as client:
        yield client


def push(client: MpesaClient, phone: str, url: str, amount: int = 25_000) -> PushAccepted:
    return client.push(phone, Decimal(amount), "UNITG70", "Rent", url)
