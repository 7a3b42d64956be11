"""From a lease to a receipt, through the API."""

from __future__ import annotations

import pytest

from tests.api.conftest import an_invoice, let_a_flat


def test_a_cash_payment_pays_the_oldest_invoice_and_has_a_receipt(admin):
    flat = let_a_flat(admin)
    invoice = an_invoice(admin, flat.lease["id"])
    assert invoice["number"] == "INV-000001"
    assert (invoice["status"], invoice["balance"]) == ("OPEN", "25000.00")
    assert admin.get(f"/tenants/{flat.tenant['id']}").get_json()["balance"] == "25000.00"

    payment = admin.made("/payments", lease_id=flat.lease["id"], amount="25000.00", method="CASH")

    assert payment["status"] == "COMPLETED"
    assert payment["allocations"] == [{"invoice_id": invoice["id"], "amount": "25000.00"}]
    paid = admin.get(f"/invoices/{invoice['id']}").get_json()
    assert (paid["status"], paid["paid"], paid["balance"]) == ("PAID", "25000.00", "0.00")
    receipt = admin.get(f"/payments/{payment['id']}/receipt").get_json()
    assert receipt["number"] == "RCT-000001"
    assert receipt["balance_after"] == "0.00"
    assert admin.get(f"/tenants/{flat.tenant['id']}").get_json()["balance"] == "0.00"


def test_what_is_paid_too_much_is_credit_that_pays_the_next_invoice(admin):
    flat = let_a_flat(admin)
    an_invoice(admin, flat.lease["id"])
    payment = admin.made(
        "/payments", lease_id=flat.lease["id"], amount="30000.00", method="BANK", reference="FT1"
    )
    assert payment["unallocated"] == "5000.00"

    december = {"period_start": "2026-12-01", "period_end": "2026-12-31", "due_at": "2027-01-01"}
    invoice = an_invoice(admin, flat.lease["id"], **december)

    assert (invoice["status"], invoice["balance"]) == ("PARTIALLY_PAID", "20000.00")
    assert admin.get(f"/payments/{payment['id']}").get_json()["unallocated"] == "0.00"


def test_a_reversed_payment_is_owed_again(admin):
    flat = let_a_flat(admin)
    invoice = an_invoice(admin, flat.lease["id"])
    payment = admin.made(
        "/payments", invoice_id=invoice["id"], amount="25000.00", method="CHEQUE", reference="000123"
    )

    answer = admin.post(f"/payments/{payment['id']}/reverse", {"reason": "The cheque bounced"})

    assert answer.get_json()["status"] == "REVERSED"
    assert admin.get(f"/invoices/{invoice['id']}").get_json()["balance"] == "25000.00"
    again = admin.post(f"/payments/{payment['id']}/reverse", {"reason": "Once more"})
    assert again.status_code == 409


def test_the_ledger_balances_after_all_of_it(admin):
    flat = let_a_flat(admin)
    invoice = an_invoice(admin, flat.lease["id"])
    admin.made("/payments", lease_id=flat.lease["id"], amount="9000.00", method="CASH")
    admin.post(f"/invoices/{invoice['id']}/void", {"reason": "Wrong month"})

    totals = admin.get("/ledger/trial-balance").get_json()

    assert totals["debit"] == totals["credit"] != "0.00"


@pytest.mark.req("B4")
def test_a_repeated_payment_with_the_same_key_is_one_payment(admin):
    flat = let_a_flat(admin)
    body = {"lease_id": flat.lease["id"], "amount": "100.00", "method": "CASH"}

    first = admin.post("/payments", body, Idempotency_Key="rent-november")
    second = admin.post("/payments", body, Idempotency_Key="rent-november")

    assert first.get_json() == second.get_json()
    assert second.headers["Idempotency-Replayed"] == "true"
    assert admin.get("/payments?include_total=true").get_json()["pagination"]["total"] == 1
    other = admin.post("/payments", body | {"amount": "200.00"}, Idempotency_Key="rent-november")
    assert other.status_code == 422


def test_a_push_that_cannot_be_sent_fails_the_payment_and_says_why(admin):
    flat = let_a_flat(admin)
    answer = admin.post(
        "/payments/mpesa/stk-push", {"lease_id": flat.lease["id"], "phone": "0712345678", "amount": "100.50"}
    )
    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["pointer"] == "/amount"
