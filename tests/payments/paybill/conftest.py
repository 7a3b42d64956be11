"""An agency with a paybill of its own: Haven over real HTTP on one side, the simulator on the other."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import pytest
from werkzeug.serving import make_server

from haven.crypto import Vault
from haven.embedded_servers import free_port
from haven.operations.jobs import job_session
from haven.payments import service as payments
from haven.payments.mpesa.simulator.options import SANDBOX_PASSKEY
from haven.runtime import Runtime
from tests.payments.conftest import CHECKOUT, House, Simulator, wait_until
from tests.payments.paybill.money import set_up

_shortcodes = itertools.count(610_000)


@dataclass
class Paybill:
    """An agency with a paybill of its own at a simulator, and a process of Haven that knows both."""

    house: House
    runtime: Runtime
    simulator: Simulator
    shortcode: str

    def session(self) -> Any:
        return job_session(self.runtime, self.house.agency_id, "test")

    def register(self, nominated_number: str | None = None) -> dict[str, Any]:
        with self.session() as session:
            registration = payments.start_registration(session, self.runtime.settings, nominated_number)
        return payments.send_registration(self.runtime, registration)

    def pay(self, phone: str, amount: int, account: str) -> str:
        """A payer pays by hand; the receipt."""
        body = {"phone": phone, "amount": amount, "account": account, "shortcode": self.shortcode}
        receipt: str = httpx.post(f"{self.simulator.url}/simulator/payments", json=body).json()["receipt"]
        return receipt

    def moved(self) -> list[dict[str, Any]]:
        url = f"{self.simulator.url}/simulator/moved?shortcode={self.shortcode}"
        rows: list[dict[str, Any]] = httpx.get(url).json()["payments"]
        return rows

    def calls(self) -> list[dict[str, Any]]:
        state = httpx.get(f"{self.simulator.url}/simulator/state?limit=10000").json()
        return [one for one in state["callbacks"] if self.shortcode in one["body"]]


@pytest.fixture(scope="session")
def haven_url(app) -> Iterator[str]:
    """The application, served over HTTP."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@contextmanager
def running_simulator(*options: str) -> Iterator[Simulator]:
    port = free_port()
    command = ["mpesa-simulator", "--port", str(port), "--speed", "50", "--seed", "paybill", *options]
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
def start_simulator() -> Iterator[Callable[..., Simulator]]:
    """Starts a simulator with options of the command line; one for the same options."""
    started: dict[tuple[str, ...], Simulator] = {}
    with ExitStack() as stack:

        def start(*options: str) -> Simulator:
            if options not in started:
                started[options] = stack.enter_context(running_simulator(*options))
            return started[options]

        yield start


@pytest.fixture
def at(runtime: Runtime, house: House, haven_url: str, start_simulator) -> Callable[..., Paybill]:
    """Gives the agency a paybill at a simulator with these options."""

    def make(*options: str, shortcode: str | None = None, of: House = house) -> Paybill:
        simulator = start_simulator(*options)
        shortcode = shortcode or str(next(_shortcodes))
        keys = {"consumer_key": f"k{shortcode}", "consumer_secret": "s", "passkey": SANDBOX_PASSKEY}
        made = httpx.post(f"{simulator.url}/simulator/merchants", json=keys | {"shortcode": shortcode})
        assert made.status_code == 201
        settings = dataclasses.replace(
            runtime.settings, mpesa_base_url=simulator.url, public_url=haven_url, mpesa_timeout=10.0
        )
        sealed = Vault(settings.secret_key).encrypt(orjson.dumps(keys))
        set_up(of, mpesa_shortcode=shortcode, mpesa_credentials=sealed)
        return Paybill(of, dataclasses.replace(runtime, settings=settings), simulator, shortcode)

    return make


@pytest.fixture
def paybill(at) -> Paybill:
    return at()
