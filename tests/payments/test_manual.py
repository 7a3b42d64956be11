"""Payments that a person records or undoes."""

import datetime as dt
import threading
from decimal import Decimal

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from haven.billing import service as billing
from haven.billing.models import Allocation, LedgerTransaction
from haven.errors import Conflict, Invalid, NotFound, VersionMismatch
from haven.payments import service as payments
from haven.payments.models import Payment, UnmatchedReceipt
from tests.support.books import check_books
from tests.support.builders import a_draft, a_lease, a_payment, a_phone, an_agency, an_invoice

NOW = dt.datetime.now(dt.UTC)


def paid(house, amount, **body):
    return house.payment(a_payment(house.engine, house.agency_id, house.lease_id, amount, **body))


def test_cash_is_completed_at_once_and_pays(house):
    payment = paid(house, "25000.00")
    assert (payment.status, payment.receipt_number, payment.unallocated) == ("COMPLETED", 1, 0)
    assert house.invoice().status == "PAID"
    check_books(house.engine, house.agency_id)


def test_a_part_payment_leaves_the_rest_owed(house):
    paid(house, "10000.00")
    assert (house.invoice().status, house.invoice().balance) == ("PARTIALLY_PAID", Decimal("15000.00"))


def test_the_oldest_invoice_is_paid_first_and_the_rest_is_credit(house):
    engine, agency, lease = house.engine, house.agency_id, house.lease_id
    newest = an_invoice(engine, agency, lease, "300.00", due=dt.date(2099, 3, 1))
    older = an_invoice(engine, agency, lease, "100.00", due=dt.date(2098, 1, 1))
    payment = paid(house, "25200.00")
    assert [house.invoice(one).status for one in (older, house.invoice_id, newest)] == [
        "PAID",
        "PAID",
        "PARTIALLY_PAID",
    ]
    assert payment.unallocated == 0
    assert paid(house, "500.00").unallocated == Decimal("300.00")
    check_books(engine, agency)


def test_the_named_invoice_is_paid_before_an_older_one(house):
    later = an_invoice(house.engine, house.agency_id, house.lease_id, "100.00", due=dt.date(2099, 9, 9))
    payment = paid(house, "150.00", invoice_id=later)
    assert house.invoice(later).status == "PAID"
    assert house.invoice().paid == Decimal("50.00")
    with house.session() as session:
        shares = session.execute(select(Allocation.amount).where(Allocation.payment_id == payment.id))
        assert sorted(shares.scalars()) == [Decimal("50.00"), Decimal("100.00")]


def test_an_invoice_names_its_lease(house):
    body = {"invoice_id": house.invoice_id, "amount": Decimal("1.00"), "method": "BANK", "reference": "TX 1"}
    with house.session() as session:
        payment_id = payments.create(session, body)
    assert house.payment(payment_id).lease_id == house.lease_id


@pytest.mark.parametrize(
    "method, account", [("CASH", "CASH"), ("BANK", "BANK"), ("CARD", "BANK"), ("CHEQUE", "BANK")]
)
def test_money_goes_to_the_account_of_its_method(house, method, account):
    paid(house, "100.00", method=method)
    with house.session() as session:
        totals = {total.code: total.balance for total in billing.trial_balance(session)}
    assert totals[account] == Decimal("100.00")


def test_a_payment_may_be_recorded_late_but_not_early(house):
    assert paid(house, "1.00", paid_at=NOW - dt.timedelta(days=40)).paid_at == NOW - dt.timedelta(days=40)
    with pytest.raises(Invalid) as refused:
        paid(house, "1.00", paid_at=NOW + dt.timedelta(hours=1))
    assert refused.value.faults[0].pointer == "/paid_at"


@pytest.mark.parametrize(
    "body, field",
    [
        ({"amount": Decimal(0)}, "amount"),
        ({"amount": Decimal("1.001")}, "amount"),
        ({"amount": Decimal("NaN")}, "amount"),
        ({"method": "SHELLS"}, "method"),
        ({"paid_at": dt.datetime(2026, 1, 1)}, "paid_at"),  # noqa: DTZ001
        ({"method": "MPESA"}, "reference"),
        ({"method": "MPESA", "reference": "no receipt"}, "reference"),
        ({"lease_id": None}, "lease_id"),
    ],
)
def test_what_breaks_a_rule_is_refused(house, body, field):
    body = {"lease_id": house.lease_id, "amount": Decimal("1.00"), "method": "CASH"} | body
    with house.session() as session, pytest.raises(Invalid) as refused:
        payments.create(session, body)
    assert refused.value.faults[0].pointer == f"/{field}"


def test_a_receipt_is_one_payment_and_leaves_no_gap(house):
    assert paid(house, "10.00", method="MPESA", reference=" sgl4a1b2c3 ").reference == "SGL4A1B2C3"
    with pytest.raises(IntegrityError, match="payment_receipt_key"):
        paid(house, "10.00", method="MPESA", reference="SGL4A1B2C3")
    assert paid(house, "10.00").receipt_number == 2
    check_books(house.engine, house.agency_id)


def test_a_receipt_that_waits_unmatched_is_not_recorded_again(house):
    with house.session() as session:
        session.add(
            UnmatchedReceipt(
                agency_id=house.agency_id,
                receipt="SGL9Z9Z9Z9",
                amount=Decimal("10.00"),
                received_at=NOW,
                account_typed="?",
            )
        )
    with pytest.raises(Conflict):
        paid(house, "10.00", method="MPESA", reference="SGL9Z9Z9Z9")


def test_a_draft_or_void_invoice_cannot_be_paid(house):
    draft = a_draft(house.engine, house.agency_id, house.lease_id)
    with pytest.raises(Conflict):
        paid(house, "1.00", invoice_id=draft)
    with house.session() as session:
        billing.void(session, house.invoice_id, "wrong")
    with pytest.raises(Conflict):
        paid(house, "1.00", invoice_id=house.invoice_id)


def test_an_invoice_of_another_lease_cannot_be_named(house):
    other = a_lease(house.engine, house.agency_id)
    with pytest.raises(Invalid):
        a_payment(house.engine, house.agency_id, other, "1.00", invoice_id=house.invoice_id)


def test_another_agencys_lease_is_not_there(house):
    stranger = an_agency(house.engine)
    with pytest.raises(Invalid):
        a_payment(house.engine, stranger, house.lease_id, "1.00")


def test_a_reversal_undoes_all_of_it_and_the_number_stays(house):
    payment = paid(house, "30000.00")
    with house.session() as session:
        payments.reverse(session, payment.id, "the note was false", payment.version)
    undone = house.payment(payment.id)
    assert (undone.status, undone.allocated, undone.unallocated, undone.receipt_number) == (
        "REVERSED",
        0,
        0,
        1,
    )
    assert (house.invoice().status, house.invoice().paid) == ("OPEN", 0)
    with house.session() as session:
        assert billing.lease_balance(session, house.lease_id) == Decimal("25000.00")
        mirrors = session.execute(
            select(LedgerTransaction.kind).where(LedgerTransaction.reverses_id.is_not(None))
        )
        assert mirrors.scalars().all() == ["REVERSAL"]
    check_books(house.engine, house.agency_id)


def test_a_reversal_of_a_payment_of_many_invoices_reopens_each(house):
    for amount in ("10.00", "20.00"):
        an_invoice(house.engine, house.agency_id, house.lease_id, amount)
    payment = paid(house, "25030.00")
    with house.session() as session:
        payments.reverse(session, payment.id, "why")
    check_books(house.engine, house.agency_id)
    with house.session() as session:
        assert billing.lease_balance(session, house.lease_id) == Decimal("25030.00")


def test_a_payment_is_reversed_once(house):
    payment = paid(house, "1.00")
    with house.session() as session:
        payments.reverse(session, payment.id, "why")
    with house.session() as session, pytest.raises(Conflict):
        payments.reverse(session, payment.id, "why")


def test_a_reversal_needs_a_reason_a_version_and_a_payment(house):
    payment = paid(house, "1.00")
    with house.session() as session, pytest.raises(Invalid):
        payments.reverse(session, payment.id, " ")
    with house.session() as session, pytest.raises(VersionMismatch):
        payments.reverse(session, payment.id, "why", payment.version + 1)
    with house.session() as session, pytest.raises(NotFound):
        payments.reverse(session, house.lease_id, "why")


def test_a_payment_that_is_not_completed_is_not_reversed(house):
    push = house.start(a_phone())
    with house.session() as session, pytest.raises(Conflict):
        payments.reverse(session, push.payment_id, "why")


@pytest.mark.parametrize("status", ["PENDING", "FAILED", "CANCELLED", "NEEDS_REVIEW"])
def test_the_database_itself_keeps_paid_paid(house, status):
    payment = paid(house, "1.00")
    with pytest.raises(IntegrityError, match="cannot become"), house.session() as session:
        session.execute(text("UPDATE payment SET status = :status"), {"status": status})
    assert house.payment(payment.id).status == "COMPLETED"


def test_what_is_recorded_of_a_completed_payment_does_not_change(house):
    payment = paid(house, "1.00")
    with house.session() as session, pytest.raises(Conflict):
        payments.update(session, payment.id, {"reference": "another"}, None)


def test_a_payment_that_waits_may_be_given_another_invoice(house):
    other = an_invoice(house.engine, house.agency_id, house.lease_id, "5.00")
    push = house.start(a_phone())
    with house.session() as session:
        payments.update(session, push.payment_id, {"invoice_id": other}, 1)
    changed = house.payment(push.payment_id)
    assert (changed.invoice_id, changed.version) == (other, 2)
    with house.session() as session, pytest.raises(Invalid):
        payments.update(session, push.payment_id, {"amount": Decimal(1)}, None)
    with house.session() as session, pytest.raises(Conflict):
        payments.update(session, push.payment_id, {"reference": "SGL4A1B2C3"}, None)


def test_payments_at_once_never_pay_an_invoice_twice(house):
    def pay():
        a_payment(house.engine, house.agency_id, house.lease_id, "10000.00")

    threads = [threading.Thread(target=pay) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert house.invoice().paid == Decimal("25000.00")
    with house.session() as session:
        assert billing.lease_balance(session, house.lease_id) == Decimal("-25000.00")
        assert sorted(session.scalars(select(Payment.receipt_number))) == [1, 2, 3, 4, 5]
    check_books(house.engine, house.agency_id)


def test_a_reversal_and_a_payment_at_once_leave_the_books_right(house):
    first = paid(house, "25000.00")

    def reverse():
        with house.session() as session:
            payments.reverse(session, first.id, "why")

    threads = [threading.Thread(target=reverse)]
    threads += [threading.Thread(target=lambda: paid(house, "9000.00")) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_books(house.engine, house.agency_id)
