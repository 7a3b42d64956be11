"""Rent by M-Pesa over HTTP: the straight way and the common failures, on real processes."""

from __future__ import annotations

import pytest

from haven.stack_folder import StackFolder
from haven.stack_paybill import tell_simulator
from tests.live.api import Live


@pytest.fixture
def live(live_stack):
    return Live(live_stack)


def test_a_paid_push_pays_the_invoice_and_has_a_receipt(live):
    lease = live.a_lease()
    invoice = live.an_invoice(lease["id"])

    asked = live.push(lease["id"], "0042")
    assert asked.status_code == 202
    assert asked.headers["Location"].endswith(asked.json()["id"])
    payment = live.wait(asked.json()["id"], "COMPLETED")

    assert payment["allocations"] == [{"invoice_id": invoice["id"], "amount": "1000.00"}]
    assert live.get(f"/invoices/{invoice['id']}")["status"] == "PAID"
    assert live.get(f"/payments/{payment['id']}/receipt")["reference"] == payment["reference"]
    live.books_balance()


@pytest.mark.parametrize(
    "ending, status, code",
    [("1032", "CANCELLED", "1032"), ("2001", "FAILED", "2001"), ("0001", "FAILED", "1")],
)
def test_a_refused_push_says_why_and_takes_no_money(live, ending, status, code):
    lease = live.a_lease()
    asked = live.push(lease["id"], ending)

    payment = live.wait(asked.json()["id"], "FAILED", "CANCELLED")

    assert (payment["status"], payment["failure_code"]) == (status, code)
    assert payment["failure_reason"]
    assert payment["allocations"] == []


def test_a_callback_that_comes_twice_is_one_payment(live):
    lease = live.a_lease()
    live.an_invoice(lease["id"])
    asked = live.push(lease["id"], "8802")
    payment = live.wait(asked.json()["id"], "COMPLETED")

    live.wait_until(
        f"/payments/{payment['id']}/evidence",
        lambda seen: sum(entry["source"] == "CALLBACK_STK" for entry in seen["entries"]) == 2,
    )

    after = live.get(f"/payments/{payment['id']}")
    assert after["unallocated"] == "0.00"
    assert len(after["allocations"]) == 1
    live.books_balance()


def test_a_callback_before_the_answer_to_the_push_counts(live):
    lease = live.a_lease()
    live.an_invoice(lease["id"])
    asked = live.push(lease["id"], "8803")
    assert live.wait(asked.json()["id"], "COMPLETED")["allocations"]


@pytest.fixture
def without_paybill(live):
    """M-Pesa tells of no payment but by its callback: its confirmations go to an address that is not there."""
    folder = StackFolder(live.stack.folder)
    where = (live.stack.described["mpesa_url"], live.stack.url, folder.secrets())
    tell_simulator(*where, "0" * 96)
    yield
    tell_simulator(*where, folder.read("paybill.json")["token"])


def test_a_callback_that_never_comes_is_found_by_asking(live, without_paybill):
    lease = live.a_lease()
    live.an_invoice(lease["id"])
    asked = live.push(lease["id"], "8801")
    payment = live.wait(asked.json()["id"], "COMPLETED", for_s=90)
    assert payment["reference"] is None
    assert live.get(f"/payments/{payment['id']}/receipt")["amount"] == "1000.00"


def test_a_callback_with_an_unknown_id_changes_nothing_and_is_kept(live):
    lease = live.a_lease()
    asked = live.push(lease["id"], "8805")
    seen = live.wait_until(
        f"/payments/{asked.json()['id']}/evidence",
        lambda found: any(
            entry["source"] == "CALLBACK_STK" and entry["detail"]["state"] != "RECEIVED"
            for entry in found["entries"]
        ),
    )
    callback = next(entry for entry in seen["entries"] if entry["source"] == "CALLBACK_STK")
    assert callback["detail"]["state"] == "REJECTED"


def test_a_busy_line_fails_at_once_and_rings_nothing(live):
    lease = live.a_lease()
    asked = live.push(lease["id"], "1001")
    assert asked.status_code == 202
    assert live.wait(asked.json()["id"], "FAILED")["failure_reason"]


def test_an_answer_lost_on_the_way_is_never_a_second_push(live):
    lease = live.a_lease()
    live.an_invoice(lease["id"])
    phone = live.a_phone("5016")
    body = {"lease_id": lease["id"], "phone": phone, "amount": "1000"}
    asked = live.post("/payments/mpesa/stk-push", body)
    again = live.post("/payments/mpesa/stk-push", body)
    assert again.status_code == 409

    live.wait(asked.json()["id"], "COMPLETED")

    pushes = live.mpesa.get("/simulator/state?limit=500").json()["pushes"]
    assert sum(phone.removeprefix("+") in str(push) for push in pushes) == 1
