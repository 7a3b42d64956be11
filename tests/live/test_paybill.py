"""What is typed into the simulator's "Pay by paybill" comes to Haven: the stack has introduced the two."""

from __future__ import annotations

import pytest

from tests.live.api import Live


@pytest.fixture(scope="module")
def live(live_stack):
    return Live(live_stack)


def test_money_paid_to_the_paybill_by_the_units_reference_pays_its_invoice(live: Live):
    lease = live.a_lease()
    invoice = live.an_invoice(lease["id"])
    account = live.get(f"/units/{lease['unit_id']}")["payment_reference"]
    payment = {"phone": live.a_phone("4321"), "amount": 1000, "account": account.lower()}

    answer = live.mpesa.post("/simulator/payments", json=payment)

    assert answer.is_success, answer.text
    paid = live.wait_until(f"/invoices/{invoice['id']}", lambda row: row["status"] == "PAID")
    assert paid["balance"] == "0.00"
    live.books_balance()
