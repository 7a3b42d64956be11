"""Reading a payment: status, receipt, evidence."""

import datetime as dt
from decimal import Decimal

import pytest
from sqlalchemy import event

from haven.errors import Conflict, NotFound
from haven.payments import service as payments
from tests.payments.test_callbacks import failed_body, hear, paid_body
from tests.support.builders import a_payment, a_phone, an_agency, an_invoice


def read(house, reading, payment_id):
    with house.session() as session:
        return reading(session, payment_id)


def test_a_receipt_says_what_was_paid_and_what_is_owed_after(house):
    later = an_invoice(house.engine, house.agency_id, house.lease_id, "5000.00", due=dt.date(2099, 5, 1))
    push = house.start(a_phone(), "27000")
    hear(house, push, paid_body(amount=27000))
    receipt = read(house, payments.receipt, push.payment_id)
    assert receipt["number"] == "RCT-000001"
    assert (receipt["agency"], receipt["tenant"]) == ("Upeo Estates", "Wanjiku Kamau")
    assert (receipt["property"], receipt["amount"]) == ("Jacaranda Court", Decimal("27000.00"))
    assert (receipt["reference"], receipt["method"]) == ("UKO1ABCDEF", "MPESA")
    assert "*" in receipt["phone"]
    assert [(one["number"], one["invoice_id"], one["amount"]) for one in receipt["allocations"]] == [
        ("INV-000001", house.invoice_id, Decimal("25000.00")),
        ("INV-000002", later, Decimal("2000.00")),
    ]
    assert receipt["balance_after"] == Decimal("3000.00")


def test_the_balance_on_a_receipt_stays_what_it_was(house):
    first = a_payment(house.engine, house.agency_id, house.lease_id, "10000.00")
    second = a_payment(house.engine, house.agency_id, house.lease_id, "20000.00")
    an_invoice(house.engine, house.agency_id, house.lease_id, "700.00")
    balances = [read(house, payments.receipt, one)["balance_after"] for one in (first, second)]
    assert balances == [Decimal("15000.00"), Decimal("-5000.00")]


def test_there_is_no_receipt_before_the_money(house):
    push = house.start(a_phone())
    with pytest.raises(Conflict):
        read(house, payments.receipt, push.payment_id)


def test_a_receipt_of_a_reversed_payment_says_so(house):
    payment = a_payment(house.engine, house.agency_id, house.lease_id, "10.00")
    with house.session() as session:
        payments.reverse(session, payment, "why")
    receipt = read(house, payments.receipt, payment)
    assert (receipt["status"], receipt["allocations"]) == ("REVERSED", [])


def test_the_status_tells_the_payer_what_to_do(house):
    push = house.start(a_phone())
    waiting = read(house, payments.status, push.payment_id)
    assert (waiting["status"], waiting["is_final"], waiting["may_retry"]) == ("PENDING", False, False)
    hear(house, push, failed_body(17))
    failed = read(house, payments.status, push.payment_id)
    assert (failed["status"], failed["is_final"], failed["may_retry"], failed["retry_after_s"]) == (
        "FAILED",
        True,
        True,
        120,
    )
    assert "two minutes" in failed["failure_reason"]


def test_the_evidence_is_all_that_was_said_and_shows_no_phone(house):
    push = house.start(a_phone())
    hear(house, push, failed_body(1037))
    hear(house, push, paid_body())
    hear(house, push, paid_body())
    evidence = read(house, payments.evidence, push.payment_id)
    assert evidence["status"] == "COMPLETED"
    assert [entry["detail"]["state"] for entry in evidence["entries"]] == ["APPLIED", "APPLIED", "IGNORED"]
    assert evidence["attempts"][0]["state"] == "PAID"
    assert push.phone.removeprefix("+") not in repr(evidence)


def test_mpesa_recorded_by_hand_leaves_evidence(house):
    payment = a_payment(
        house.engine, house.agency_id, house.lease_id, "10.00", method="MPESA", reference="UKO7ABCDEF"
    )
    (entry,) = read(house, payments.evidence, payment)["entries"]
    assert (entry["source"], entry["detail"]["receipt"]) == ("MANUAL", "UKO7ABCDEF")


@pytest.mark.parametrize("reading", [payments.status, payments.receipt, payments.evidence])
def test_another_agencys_payment_is_not_there(house, reading):
    payment = a_payment(house.engine, house.agency_id, house.lease_id, "10.00")
    house.agency_id = an_agency(house.engine)
    with pytest.raises(NotFound):
        read(house, reading, payment)


@pytest.mark.parametrize(
    "reading, most", [(payments.status, 1), (payments.receipt, 2), (payments.evidence, 4)]
)
def test_reading_costs_few_statements(house, reading, most):
    payment = a_payment(house.engine, house.agency_id, house.lease_id, "10.00")
    counted = []
    with house.session() as session:
        event.listen(session.connection(), "before_cursor_execute", lambda *args: counted.append(args[2]))
        reading(session, payment)
    assert len(counted) <= most
