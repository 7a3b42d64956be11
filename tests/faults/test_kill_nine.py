"""What is killed in the middle loses nothing and doubles nothing."""

from __future__ import annotations

import os
import signal
import threading
import time

import httpx
import psutil
import pytest

from tests.live.api import Live

pytestmark = pytest.mark.xdist_group("kill_nine")


@pytest.fixture(scope="module")
def live(start_stack):
    return Live(start_stack(own_servers=True, RATE_LIMIT_MAX_REQUESTS="1000000"))


def _is_ready(live: Live, for_s: float = 45) -> None:
    deadline = time.monotonic() + for_s
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{live.stack.url}/ready", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise AssertionError("Haven did not become ready again")


def test_a_web_process_killed_while_it_waits_for_mpesa_loses_no_payment(live):
    lease = live.a_lease()
    live.an_invoice(lease["id"])
    body = {"lease_id": lease["id"], "phone": live.a_phone("5015"), "amount": "1000"}
    answers: list[object] = []

    def ask() -> None:
        try:
            answers.append(live.post("/payments/mpesa/stk-push", body, Idempotency_Key="killed"))
        except httpx.HTTPError as error:
            answers.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(2)  # the simulator answers this push after 15 s
    for worker in psutil.Process(live.stack.pids["web"]).children():
        os.kill(worker.pid, signal.SIGKILL)
    asking.join(timeout=60)
    assert isinstance(answers[0], httpx.HTTPError)
    _is_ready(live)

    again = live.post("/payments/mpesa/stk-push", body, Idempotency_Key="killed")

    assert again.status_code == 202
    assert again.headers["Idempotency-Replayed"] == "true"
    payment = live.wait(again.json()["id"], "COMPLETED", for_s=90)
    assert payment["allocations"][0]["amount"] == "1000.00"
    found = live.get(f"/payments?lease_id={lease['id']}&include_total=true")
    assert found["pagination"]["total"] == 1
    live.books_balance()


def test_a_worker_killed_in_a_rent_run_is_taken_over_and_bills_nobody_twice(live):
    leases = [live.a_lease()["id"] for _ in range(3)]
    asked = live.post("/invoices/run", {"period": "2026-12"})
    assert asked.status_code == 202
    for child in psutil.Process(live.stack.pids["worker"]).children(recursive=True):
        os.kill(child.pid, signal.SIGKILL)

    job = live.wait_until(
        asked.headers["Location"].removeprefix("/api/v1"), lambda row: row["status"] == "SUCCEEDED", for_s=110
    )

    assert job["attempts"] <= job["max_attempts"]
    for lease_id in leases:
        billed = live.get(f"/invoices?lease_id={lease_id}&period_start=2026-12-01")["data"]
        assert len(billed) == 1
    live.books_balance()


def test_a_killed_valkey_signs_nobody_out_and_loses_no_job(live):
    before = live.get("/auth/me")
    os.kill(live.stack.pids["valkey"], signal.SIGKILL)
    assert live.get("/auth/me") == before
    lease = live.a_lease()
    invoice = live.an_invoice(lease["id"])
    paid = live.made("/payments", lease_id=lease["id"], amount="1000.00", method="CASH")
    assert paid["allocations"] == [{"invoice_id": invoice["id"], "amount": "1000.00"}]
    asked = live.post("/invoices/run", {"period": "2027-01"})
    assert asked.status_code == 202

    live.wait_until(
        asked.headers["Location"].removeprefix("/api/v1"), lambda row: row["status"] == "SUCCEEDED", for_s=110
    )
    live.books_balance()
