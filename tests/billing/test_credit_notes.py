"""Credit notes: what they take off, whose money becomes free, and what they never do."""

import datetime as dt
from decimal import Decimal

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from haven.billing import service as billing
from haven.billing.models import Allocation, CreditNote, CreditNoteLine
from haven.db.session import tenant_session
from haven.errors import Conflict, Invalid, NotFound, VersionMismatch
from haven.payments import service as payments
from haven.payments.models import Payment
from tests.billing.books_of import at_once, invoice_of, ledger_of, line
from tests.support.books import check_books
from tests.support.builders import a_draft, a_lease, a_payment, an_agency, an_invoice


def credit(engine, agency, invoice, amount, kind=None, **options):
    with tenant_session(engine, agency) as session:
        return billing.credit(session, invoice, Decimal(amount), "no water", kind, **options)


def unallocated(engine, agency, payment):
    with tenant_session(engine, agency) as session:
        return session.get_one(Payment, (agency, payment)).unallocated


def test_what_is_owed_falls_and_the_ledger_has_the_opposite_of_the_income(engine):
    agency = an_agency(engine)
    lease = a_lease(engine, agency)
    invoice = an_invoice(engine, agency, lease, "25000.00")
    note = credit(engine, agency, invoice, "4000.00")
    found = invoice_of(engine, agency, invoice)
    assert (found.total, found.credited, found.balance) == (Decimal(25000), Decimal(4000), Decimal(21000))
    with tenant_session(engine, agency) as session:
        made = session.get_one(CreditNote, (agency, note))
    assert (made.number, made.amount, made.lease_id, made.reason) == (1, Decimal(4000), lease, "no water")
    assert ledger_of(engine, agency) == {
        "RENT_INCOME": Decimal("-21000.00"),
        "TENANT_RECEIVABLE": Decimal("21000.00"),
    }
    check_books(engine, agency)


def test_money_paid_beyond_what_is_left_is_credit_the_last_payment_first(engine):
    agency = an_agency(engine)
    lease = a_lease(engine, agency)
    invoice = an_invoice(engine, agency, lease, "1000.00")
    first, second, third = (a_payment(engine, agency, lease, amount) for amount in ("500", "300", "200"))
    credit(engine, agency, invoice, "350.00")
    found = invoice_of(engine, agency, invoice)
    assert (found.status, found.paid, found.balance) == ("PAID", Decimal(650), Decimal(0))
    free = [unallocated(engine, agency, one) for one in (first, second, third)]
    assert free == [0, Decimal(150), Decimal(200)]
    with tenant_session(engine, agency) as session:
        amounts = session.scalars(select(Allocation.amount).order_by(Allocation.amount)).all()
    assert amounts == [Decimal(150), Decimal(500)]
    check_books(engine, agency)


def test_part_of_a_credit_is_owed_less_and_the_rest_is_paid_back(engine):
    agency = an_agency(engine)
    lease = a_lease(engine, agency)
    invoice = an_invoice(engine, agency, lease, "1000.00")
    payment = a_payment(engine, agency, lease, "700.00")
    credit(engine, agency, invoice, "400.00")
    assert invoice_of(engine, agency, invoice).balance == 0
    assert unallocated(engine, agency, payment) == Decimal(100)
    check_books(engine, agency)


def test_money_that_becomes_free_pays_what_else_is_owed(engine):
    agency = an_agency(engine)
    lease = a_lease(engine, agency)
    paid = an_invoice(engine, agency, lease, "1000.00", due=dt.date(2099, 1, 1))
    open_ = an_invoice(engine, agency, lease, "300.00", due=dt.date(2099, 2, 1))
    payment = a_payment(engine, agency, lease, "1000.00")
    credit(engine, agency, paid, "400.00")
    assert invoice_of(engine, agency, open_).status == "PAID"
    assert unallocated(engine, agency, payment) == Decimal(100)
    check_books(engine, agency)


def test_no_more_is_credited_than_the_invoice_comes_to(engine):
    agency = an_agency(engine)
    invoice = an_invoice(engine, agency, a_lease(engine, agency), "100.00")
    credit(engine, agency, invoice, "60.00")
    with pytest.raises(Conflict, match=r"40\.00 left to credit, not 40\.01") as refused:
        credit(engine, agency, invoice, "40.01")
    assert refused.value.faults[0].pointer == "/amount"
    credit(engine, agency, invoice, "40.00")
    assert invoice_of(engine, agency, invoice).status == "PAID"
    with pytest.raises(Conflict):
        credit(engine, agency, invoice, "0.01")


def test_credits_at_once_take_no_more_than_there_is_and_have_numbers_without_a_gap(engine):
    agency = an_agency(engine)
    lease = a_lease(engine, agency)
    invoice = an_invoice(engine, agency, lease, "100.00")
    a_payment(engine, agency, lease, "80.00")
    outcomes = at_once(*[lambda: credit(engine, agency, invoice, "30.00")] * 5)
    refused = [one for one in outcomes if isinstance(one, Conflict)]
    assert (len(refused), len(outcomes)) == (2, 5)
    assert invoice_of(engine, agency, invoice).credited == Decimal(90)
    check_books(engine, agency)


def test_the_database_itself_refuses_more_than_the_invoice(engine):
    agency = an_agency(engine)
    an_invoice(engine, agency, a_lease(engine, agency), "100.00")
    with pytest.raises(IntegrityError, match="invoice_paid_check"), tenant_session(engine, agency) as session:
        session.execute(text("UPDATE invoice SET credited = 100.01"))


@pytest.mark.parametrize("change", ["UPDATE credit_note SET amount = 1", "DELETE FROM credit_note_line"])
def test_a_credit_note_never_changes(engine, change):
    agency = an_agency(engine)
    credit(engine, agency, an_invoice(engine, agency, a_lease(engine, agency)), "1.00")
    with pytest.raises(DBAPIError, match="append-only"), tenant_session(engine, agency) as session:
        session.execute(text(change))


def test_without_a_kind_rent_is_credited_first_and_a_deposit_last(engine):
    agency = an_agency(engine)
    lines = [line("DEPOSIT", "50.00"), line("UTILITY", "20.00"), line("RENT", "100.00")]
    invoice = an_invoice(engine, agency, a_lease(engine, agency), lines=lines)
    credit(engine, agency, invoice, "110.00")
    credit(engine, agency, invoice, "30.00")
    with tenant_session(engine, agency) as session:
        parts = session.execute(
            select(CreditNoteLine.kind, CreditNoteLine.amount).order_by(
                CreditNoteLine.credit_note_id, CreditNoteLine.kind.desc()
            )
        ).all()
    assert [tuple(one) for one in parts] == [
        ("UTILITY", Decimal(10)),
        ("RENT", Decimal(100)),
        ("UTILITY", Decimal(10)),
        ("DEPOSIT", Decimal(20)),
    ]
    check_books(engine, agency)


def test_a_kind_is_credited_up_to_what_was_charged_of_it(engine):
    agency = an_agency(engine)
    lines = [line("RENT", "100.00"), line("OTHER", "5.00")]
    invoice = an_invoice(engine, agency, a_lease(engine, agency), lines=lines)
    with pytest.raises(Conflict, match=r"5\.00 of OTHER left"):
        credit(engine, agency, invoice, "6.00", "OTHER")
    credit(engine, agency, invoice, "5.00", "OTHER")
    assert ledger_of(engine, agency)["RENT_INCOME"] == Decimal(-100)
    assert "OTHER_INCOME" not in ledger_of(engine, agency)


def test_an_invoice_with_a_credit_note_is_not_voided_but_credited(engine):
    agency = an_agency(engine)
    lease = a_lease(engine, agency)
    invoice = an_invoice(engine, agency, lease, "100.00")
    a_payment(engine, agency, lease, "100.00")
    credit(engine, agency, invoice, "10.00")
    with tenant_session(engine, agency) as session, pytest.raises(Conflict, match="credit the rest"):
        billing.void(session, invoice, "wrong")
    credit(engine, agency, invoice, "90.00")
    with tenant_session(engine, agency) as session:
        assert billing.lease_balance(session, lease) == Decimal(-100)
    assert "RENT_INCOME" not in ledger_of(engine, agency)
    check_books(engine, agency)


def test_a_payment_whose_money_was_freed_can_still_be_reversed(engine):
    agency = an_agency(engine)
    lease = a_lease(engine, agency)
    invoice = an_invoice(engine, agency, lease, "100.00")
    payment = a_payment(engine, agency, lease, "100.00")
    credit(engine, agency, invoice, "30.00")
    with tenant_session(engine, agency) as session:
        payments.reverse(session, payment, "the cheque bounced")
    assert invoice_of(engine, agency, invoice).balance == Decimal(70)
    check_books(engine, agency)


def test_drafts_void_ones_and_those_of_others_are_not_credited(engine):
    agency = an_agency(engine)
    lease = a_lease(engine, agency)
    draft, void = a_draft(engine, agency, lease), an_invoice(engine, agency, lease)
    with tenant_session(engine, agency) as session:
        billing.void(session, void, "wrong")
    for invoice in (draft, void):
        with pytest.raises(Conflict):
            credit(engine, agency, invoice, "1.00")
    with pytest.raises(NotFound):
        credit(engine, an_agency(engine), void, "1.00")


def test_a_credit_without_a_reason_or_of_no_money_is_refused(engine):
    agency = an_agency(engine)
    invoice = an_invoice(engine, agency, a_lease(engine, agency))
    with tenant_session(engine, agency) as session, pytest.raises(Invalid):
        billing.credit(session, invoice, Decimal(1), "  ")
    for amount in ("0.00", "-1.00", "1.001"):
        with pytest.raises(Invalid):
            credit(engine, agency, invoice, amount)


def test_a_credit_on_another_version_is_refused(engine):
    agency = an_agency(engine)
    invoice = an_invoice(engine, agency, a_lease(engine, agency))
    with pytest.raises(VersionMismatch):
        credit(engine, agency, invoice, "1.00", version=99)
