"""Late fees: once for an invoice, when its grace days are over."""

import datetime as dt
from decimal import Decimal

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import IntegrityError

from haven.billing import late_fees
from haven.billing import service as billing
from haven.billing.models import Invoice, InvoiceLine
from haven.db.session import tenant_session
from haven.operations.models import Job, WebhookDelivery, WebhookEndpoint
from tests.billing.books_of import at, at_once, invoice_of, ledger_of, line
from tests.billing.test_runs import Cancelled, Run
from tests.support.books import check_books
from tests.support.builders import a_draft, a_lease, a_payment, an_agency, an_invoice

DUE = dt.date(2026, 9, 1)
LATE = at(2026, 9, 6)
"""The first day after a grace of four days."""


def a_late_lease(engine, agency, kind="FLAT", amount="500.00", **columns):
    return a_lease(engine, agency, late_fee_kind=kind, late_fee_amount=Decimal(amount), **columns)


def charge(engine, agency, now=LATE):
    return billing.charge_late_fees(Run(engine, agency), now)


def fees_of(engine, agency):
    with tenant_session(engine, agency) as session:
        return session.scalars(
            select(Invoice).where(Invoice.late_fee_of.is_not(None)).order_by(Invoice.number)
        ).all()


def test_a_fee_is_an_invoice_of_its_own_issued_numbered_and_posted(engine):
    agency = an_agency(engine)
    late = an_invoice(engine, agency, a_late_lease(engine, agency), "25000.00", due=DUE)
    assert charge(engine, agency) == billing.LateFees(1, Decimal("500.00"))
    (fee,) = fees_of(engine, agency)
    assert (fee.late_fee_of, fee.number, fee.total, fee.status) == (late, 2, Decimal("500.00"), "OPEN")
    assert (fee.due_at, fee.period_start, fee.issued_at) == (LATE.date(), dt.date(2026, 11, 1), LATE)
    with tenant_session(engine, agency) as session:
        lines = session.execute(
            select(InvoiceLine.kind, InvoiceLine.description).where(InvoiceLine.invoice_id == fee.id)
        ).all()
    assert [tuple(one) for one in lines] == [("LATE_FEE", "Late fee on INV-000001")]
    assert ledger_of(engine, agency)["LATE_FEE_INCOME"] == Decimal("-500.00")


@pytest.mark.parametrize(
    "kind, amount, balance, fee",
    [
        ("FLAT", "500.00", "0.01", "500.00"),
        ("PERCENT", "5.00", "25000.00", "1250.00"),
        ("PERCENT", "5.00", "0.30", "0.02"),
        ("PERCENT", "2.50", "1234.20", "30.86"),
        ("PERCENT", "100.00", "77.77", "77.77"),
    ],
)
def test_a_fee_is_flat_or_per_cent_of_the_balance_then_half_up(engine, kind, amount, balance, fee):
    agency = an_agency(engine)
    lease = a_late_lease(engine, agency, kind, amount)
    an_invoice(engine, agency, lease, str(Decimal(balance) + 1000), due=DUE)
    a_payment(engine, agency, lease, "1000.00")
    assert charge(engine, agency).total == Decimal(fee)


def test_a_fee_of_less_than_half_a_cent_is_none(engine):
    agency = an_agency(engine)
    an_invoice(engine, agency, a_late_lease(engine, agency, "PERCENT", "1.00"), "0.49", due=DUE)
    assert charge(engine, agency).invoices == 0


@pytest.mark.parametrize(
    "now, invoices", [(at(2026, 9, 5, 20), 0), (at(2026, 9, 5, 21), 1), (at(2026, 9, 6), 1)]
)
def test_the_grace_days_end_where_the_agency_is(engine, now, invoices):
    agency = an_agency(engine)  # Nairobi, where the day begins at 21:00 UTC
    an_invoice(engine, agency, a_late_lease(engine, agency, grace_days=4), due=DUE)
    assert charge(engine, agency, now).invoices == invoices


def test_it_is_charged_once_however_often_and_by_how_many_at_once(engine):
    agency = an_agency(engine)
    for _ in range(6):
        an_invoice(engine, agency, a_late_lease(engine, agency), due=DUE)
    outcomes = at_once(*[lambda: charge(engine, agency).invoices] * 4)
    assert sum(one for one in outcomes if isinstance(one, int)) == 6
    assert len(outcomes) == 4
    assert charge(engine, agency).invoices == 0
    assert len(fees_of(engine, agency)) == 6
    with tenant_session(engine, agency) as session:
        billing.mark_overdue(session)
    check_books(engine, agency)


def test_the_database_itself_allows_one_fee_for_an_invoice(engine):
    agency = an_agency(engine)
    an_invoice(engine, agency, a_late_lease(engine, agency), due=DUE)
    charge(engine, agency)
    again = "INSERT INTO invoice (agency_id, id, lease_id, tenant_id, number, period_start, period_end, due_at, status,"
    again += " late_fee_of) SELECT agency_id, uuidv7(), lease_id, tenant_id, 99, period_start, period_end, due_at, 'PAID',"
    again += " late_fee_of FROM invoice WHERE late_fee_of IS NOT NULL"
    with pytest.raises(IntegrityError, match="late_fee_of"), tenant_session(engine, agency) as session:
        session.execute(text(again))


def test_neither_a_fee_nor_what_is_paid_void_a_draft_or_free_of_fees_costs_one(engine):
    agency = an_agency(engine)
    lease = a_late_lease(engine, agency)
    an_invoice(engine, agency, lease, "100.00", due=DUE)
    a_payment(engine, agency, lease, "100.00")
    void = an_invoice(engine, agency, lease, due=DUE)
    with tenant_session(engine, agency) as session:
        billing.void(session, void, "not due")
    a_draft(engine, agency, lease, due=DUE)
    an_invoice(engine, agency, a_lease(engine, agency), due=DUE)
    assert charge(engine, agency).invoices == 0
    an_invoice(engine, agency, lease, due=DUE)
    assert charge(engine, agency).invoices == 1
    assert charge(engine, agency, at(2026, 9, 20)).invoices == 0


@pytest.mark.parametrize("now, invoices", [(at(2026, 10, 6), 1), (at(2026, 10, 7), 0)])
def test_a_fee_that_was_due_a_month_ago_is_charged_and_an_older_one_is_not(engine, now, invoices):
    agency = an_agency(engine)
    an_invoice(engine, agency, a_late_lease(engine, agency), due=DUE)
    assert charge(engine, agency, now).invoices == invoices


def test_credit_pays_before_a_fee_is_charged(engine):
    agency = an_agency(engine)
    lease = a_late_lease(engine, agency)
    wrong = an_invoice(engine, agency, lease, "300.00", due=DUE)
    a_payment(engine, agency, lease, "300.00")
    owed = an_invoice(engine, agency, lease, "300.00", due=DUE)
    with tenant_session(engine, agency) as session:
        billing.void(session, wrong, "charged twice")
    assert charge(engine, agency).invoices == 0
    assert invoice_of(engine, agency, owed).status == "PAID"
    check_books(engine, agency)


def test_a_fee_that_was_voided_is_not_charged_again(engine):
    agency = an_agency(engine)
    an_invoice(engine, agency, a_late_lease(engine, agency), due=DUE)
    charge(engine, agency)
    with tenant_session(engine, agency) as session:
        billing.void(session, fees_of(engine, agency)[0].id, "he was in hospital")
    assert charge(engine, agency).invoices == 0


def test_a_voided_invoice_takes_its_fee_along(engine):
    agency = an_agency(engine)
    lease = a_late_lease(engine, agency)
    late = an_invoice(engine, agency, lease, "25000.00", due=DUE)
    charge(engine, agency)
    a_payment(engine, agency, lease, "25200.00")
    with tenant_session(engine, agency) as session:
        billing.void(session, late, "the flat had no roof")
    (fee,) = fees_of(engine, agency)
    assert (fee.status, fee.void_reason) == ("VOID", "INV-000001 is void: the flat had no roof")
    with tenant_session(engine, agency) as session:
        assert billing.lease_balance(session, lease) == Decimal("-25200.00")
    check_books(engine, agency)


def test_many_fees_cost_the_same_statements_as_few(engine):
    def statements_for(count):
        agency = an_agency(engine)
        for _ in range(count):
            an_invoice(engine, agency, a_late_lease(engine, agency), due=DUE)
        counted = []
        event.listen(engine, "before_cursor_execute", lambda *args: counted.append(args[2]))
        charge(engine, agency)
        return len(counted)

    assert statements_for(2) == statements_for(25)


def test_a_cancelled_job_goes_on_where_it_stopped(engine, monkeypatch):
    monkeypatch.setattr(late_fees, "BATCH", 2)
    agency = an_agency(engine)
    for _ in range(5):
        an_invoice(engine, agency, a_late_lease(engine, agency), due=DUE)
    run = Run(engine, agency, cancel_after=1)
    with pytest.raises(Cancelled):
        billing.charge_late_fees(run, LATE)
    assert len(fees_of(engine, agency)) == 2
    assert charge(engine, agency).invoices == 3


def test_the_clock_asks_for_one_job_and_only_where_there_is_a_fee_to_charge(engine):
    agency = an_agency(engine)
    an_invoice(engine, agency, a_late_lease(engine, agency), due=DUE)
    with tenant_session(engine, agency) as session:
        assert billing.request_late_fees(session, at(2026, 9, 2)) == 0
        assert billing.request_late_fees(session, LATE) == 1
        assert billing.request_late_fees(session, LATE) == 1
        assert [job.kind for job in session.scalars(select(Job))] == ["late_fees"]
    charge(engine, agency)
    with tenant_session(engine, agency) as session:
        assert billing.request_late_fees(session, LATE) == 0


def test_webhooks_are_told_of_fees(engine):
    agency = an_agency(engine)
    with tenant_session(engine, agency) as session:
        session.add(
            WebhookEndpoint(agency_id=agency, url="https://x.test", events=["invoice.issued"], secret=b"s")
        )
    an_invoice(engine, agency, a_late_lease(engine, agency), lines=[line("RENT", "9.00")], due=DUE)
    charge(engine, agency)
    with tenant_session(engine, agency) as session:
        told = session.scalars(select(WebhookDelivery.payload)).all()
    assert sorted((one["number"], one["total"]) for one in told) == [
        ("INV-000001", "9.00"),
        ("INV-000002", "500.00"),
    ]
