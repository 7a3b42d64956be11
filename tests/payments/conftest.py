"""M-Pesa's simulator as a process, Haven's answers to its callbacks over real HTTP, and money to move."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from config import Settings
from haven.billing.models import Invoice
from haven.db.session import tenant_session
from haven.embedded_servers import free_port
from haven.payments import service as payments
from haven.payments.models import MpesaAttempt, MpesaInbox, Payment
from haven.payments.mpesa.simulator.commands import DEFAULT_CONSUMER_KEY, DEFAULT_CONSUMER_SECRET
from haven.payments.mpesa.simulator.options import SANDBOX_PASSKEY, SANDBOX_SHORTCODE
from haven.runtime import Runtime
from tests.support.builders import a_lease, an_agency, an_invoice

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE_S = 20


def wait_until(is_so: Callable[[], Any]) -> None:
    ends_at = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < ends_at, "it did not come about"
        time.sleep(0.02)


@dataclass
class Simulator:
    """A running simulator."""

    url: str

    def pushes_of(self, phone: str) -> list[dict[str, Any]]:
        state = httpx.get(f"{self.url}/simulator/state?limit=10000", timeout=10).json()
        return [push for push in state["pushes"] if push["phone"] == phone.removeprefix("+")]

    def is_up(self) -> bool:
        try:
            return httpx.get(f"{self.url}/simulator/health", timeout=10).is_success
        except httpx.HTTPError:
            return False


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    """One for all tests of this process, fifty times as fast as M-Pesa; each test has phones of its own."""
    port = free_port()
    command = ["mpesa-simulator", "--port", str(port), "--speed", "50", "--seed", "payments"]
    process = subprocess.Popen(
        [sys.executable, "-m", "haven", *command], cwd=CHECKOUT, stdout=subprocess.DEVNULL
    )
    simulator = Simulator(f"http://127.0.0.1:{port}")
    try:
        wait_until(simulator.is_up)
        yield simulator
    finally:
        process.terminate()
        process.wait(15)


@pytest.fixture(scope="session")
def hooks(engine: Engine) -> Iterator[str]:
    """An HTTP server that takes callbacks as Haven does: store, commit, answer, apply. Its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            token = self.path.rpartition("/")[2]
            with Session(engine, expire_on_commit=False) as session:
                address, headers = self.client_address[0], dict(self.headers)
                kept = payments.store_callback(
                    session, token=token, body=body, headers=headers, address=address
                )
                session.commit()
                if kept is not None:
                    payments.apply_callback(session, kept)
                    session.commit()
            answer = b'{"ResultCode": 0, "ResultDesc": "Accepted"}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def runtime(settings: Settings, engine: Engine, simulator: Simulator, hooks: str) -> Iterator[Runtime]:
    """A process of Haven that calls the simulator and is called back; nothing has been asked of it lately."""
    with_mpesa = dataclasses.replace(
        settings,
        mpesa_base_url=simulator.url,
        mpesa_consumer_key=DEFAULT_CONSUMER_KEY,
        mpesa_consumer_secret=DEFAULT_CONSUMER_SECRET,
        mpesa_shortcode=SANDBOX_SHORTCODE,
        mpesa_passkey=SANDBOX_PASSKEY,
        mpesa_timeout=5.0,
        public_url=hooks,
    )
    runtime = Runtime.start(with_mpesa, engine)
    for pattern in ("mpesa:query:*", "breaker:*"):
        for key in runtime.redis.scan_iter(pattern):
            runtime.redis.delete(key)
    yield runtime
    runtime.redis.close()


@dataclass
class House:
    """An agency with one active lease and one open invoice of 25,000 shillings."""

    engine: Engine
    agency_id: uuid.UUID
    lease_id: uuid.UUID
    invoice_id: uuid.UUID
    pushes: list[payments.Push] = field(default_factory=list)

    def session(self) -> Any:
        return tenant_session(self.engine, self.agency_id, "test")

    def start(self, phone: str, amount: str = "25000", **options: Any) -> payments.Push:
        """Write a push down, as a route does before it rings."""
        options = {"invoice_id": self.invoice_id} | options
        with self.session() as session:
            push = payments.start_push(session, phone=phone, amount=Decimal(amount), **options)
        self.pushes.append(push)
        return push

    def payment(self, payment_id: uuid.UUID) -> Payment:
        with self.session() as session:
            return session.get_one(Payment, (self.agency_id, payment_id))

    def attempt(self, attempt_id: uuid.UUID) -> MpesaAttempt:
        with self.session() as session:
            return session.get_one(MpesaAttempt, (self.agency_id, attempt_id))

    def invoice(self, invoice_id: uuid.UUID | None = None) -> Invoice:
        with self.session() as session:
            return session.get_one(Invoice, (self.agency_id, invoice_id or self.invoice_id))

    def inbox(self) -> list[MpesaInbox]:
        with self.session() as session:
            return session.scalars(select(MpesaInbox).order_by(MpesaInbox.id)).all()

    def wait_for(self, push: payments.Push, *statuses: str) -> Payment:
        """The push's payment, once it has one of the statuses."""
        wait_until(lambda: self.payment(push.payment_id).status in statuses)
        return self.payment(push.payment_id)


@pytest.fixture
def house(engine: Engine) -> House:
    """An agency, a lease, an invoice."""
    agency_id = an_agency(engine)
    lease_id = a_lease(engine, agency_id)
    return House(engine, agency_id, lease_id, an_invoice(engine, agency_id, lease_id))
