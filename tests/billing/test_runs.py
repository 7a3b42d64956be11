"""The month's rent."""

import datetime as dt
import threading
from decimal import Decimal

import pytest
from sqlalchemy import event, insert, select

from haven.billing import runs
from haven.billing import service as billing
from haven.billing.models import Invoice, InvoiceLine
from haven.db.base import new_id
from haven.db.session import tenant_session
from haven.errors import Invalid
from haven.leasing.models import Lease, Tenant
from haven.operations.models import Job, WebhookDelivery, WebhookEndpoint
from haven.portfolio.models import Unit
from tests.support.books import check_books
from tests.support.builders import a_lease, a_payment, a_property, an_agency

FUTURE = "2099-11"
"""A month that is not due yet, so that what is not paid is OPEN."""


class Cancelled(Exception):
    pass


class Run:
    """The job that a run is, without a queue."""

    def __init__(self, engine, agency_id, cancel_after=None):
        self.engine, self.agency_id, self.cancel_after = engine, agency_id, cancel_after
        self.seen = []

    def session(self):
        return tenant_session(self.engine, self.agency_id, "job")

    def progress(self, done, total, message=""):
        self.seen.append((done, total))

    def check_cancelled(self):
        if self.cancel_after is not None and len(self.seen) >= self.cancel_after:
            raise Cancelled


def invoices_of(engine, agency_id):
    with tenant_session(engine, agency_id) as session:
        return session.scalars(select(Invoice).order_by(Invoice.number)).all()


def lines_of(engine, agency_id, invoice_id):
    with tenant_session(engine, agency_id) as session:
        rows = session.execute(
            select(InvoiceLine.kind, InvoiceLine.description, InvoiceLine.amount)
            .where(InvoiceLine.invoice_id == invoice_id)
            .order_by(InvoiceLine.position)
        )
        return [tuple(row) for row in rows]


def many_leases(engine, agency_id, count):
    """Active leases by the thousand, three statements."""
    property_id = a_property(engine, agency_id)
    units = [new_id() for _ in range(count)]
    tenants = [new_id() for _ in range(count)]
    common = {"agency_id": agency_id}
    rent = {"rent_amount": Decimal("25000.00")}
    with tenant_session(engine, agency_id) as session:
        session.execute(
            insert(Unit),
            [
                common
                | rent
                | {"id": one, "property_id": property_id, "label": f"{i}", "payment_reference": f"U{i}"}
                for i, one in enumerate(units)
            ],
        )
        session.execute(
            insert(Tenant),
            [common | {"id": one, "full_name": f"Tenant {i}"} for i, one in enumerate(tenants)],
        )
        leases = [
            common
            | rent
            | {
                "id": new_id(),
                "unit_id": unit,
                "tenant_id": tenant,
                "start_date": dt.date(2026, 1, 1),
                "status": "ACTIVE",
            }
            for unit, tenant in zip(units, tenants, strict=True)
        ]
        session.execute(insert(Lease), leases)
    return [lease["id"] for lease in leases]


@pytest.mark.parametrize("status", ["ENDED", "TERMINATED"])
def test_the_last_days_of_a_lease_that_is_over_are_billed_too(engine, status):
    agency = an_agency(engine)
    a_lease(engine, agency, rent="30000.00", status=status, end=dt.date(2026, 11, 10))
    billing.run_period(Run(engine, agency), "2026-11")
    (billed,) = invoices_of(engine, agency)
    assert (billed.period_start, billed.period_end) == (dt.date(2026, 11, 1), dt.date(2026, 11, 10))
    assert billed.total == Decimal("10000.00")


def test_every_active_lease_is_billed_once_however_often_it_is_asked(engine):
    agency = an_agency(engine)
    for status in ("ACTIVE", "ACTIVE", "DRAFT"):
        a_lease(engine, agency, status=status)
    for status in ("ENDED", "TERMINATED"):
        a_lease(engine, agency, status=status, end=dt.date(2026, 2, 28))
    first = billing.run_period(Run(engine, agency), FUTURE)
    again = billing.run_period(Run(engine, agency), FUTURE)
    assert (first.invoices, first.total, again.invoices) == (2, Decimal("50000.00"), 0)
    billed = invoices_of(engine, agency)
    assert [(one.number, one.status, one.total) for one in billed] == [
        (1, "OPEN", Decimal("25000.00")),
        (2, "OPEN", Decimal("25000.00")),
    ]
    assert {(one.period_start, one.period_end, one.due_at) for one in billed} == {
        (dt.date(2099, 11, 1), dt.date(2099, 11, 30), dt.date(2099, 11, 1))
    }
    check_books(engine, agency)


def test_a_first_month_is_prorated_and_asks_for_the_deposit(engine):
    agency = an_agency(engine)
    a_lease(engine, agency, "30000.00", "60000.00", start=dt.date(2099, 11, 21), billing_day=5)
    billing.run_period(Run(engine, agency), FUTURE)
    billing.run_period(Run(engine, agency), "2099-12")
    first, second = invoices_of(engine, agency)
    assert lines_of(engine, agency, first.id) == [
        ("RENT", "Rent for November 2099, 21 to 30", Decimal("10000.00")),
        ("DEPOSIT", "Deposit", Decimal("60000.00")),
    ]
    assert (first.period_start, first.due_at) == (dt.date(2099, 11, 21), dt.date(2099, 11, 21))
    assert lines_of(engine, agency, second.id) == [("RENT", "Rent for December 2099", Decimal("30000.00"))]
    assert second.due_at == dt.date(2099, 12, 5)
    check_books(engine, agency)


def test_a_last_month_is_prorated(engine):
    agency = an_agency(engine)
    a_lease(engine, agency, "31000.00", end=dt.date(2099, 12, 10))
    billing.run_period(Run(engine, agency), "2099-12")
    (billed,) = invoices_of(engine, agency)
    assert (billed.total, billed.period_end) == (Decimal("10000.00"), dt.date(2099, 12, 10))


@pytest.mark.parametrize(
    "start, end, count",
    [
        (dt.date(2099, 12, 1), None, 0),
        (dt.date(2099, 11, 30), None, 1),
        (dt.date(2026, 1, 1), dt.date(2099, 10, 31), 0),
        (dt.date(2026, 1, 1), dt.date(2099, 11, 1), 1),
    ],
)
def test_only_leases_that_cover_a_day_of_the_month_are_billed(engine, start, end, count):
    agency = an_agency(engine)
    a_lease(engine, agency, start=start, end=end)
    assert billing.run_period(Run(engine, agency), FUTURE).invoices == count


def test_a_month_that_is_past_is_overdue_at_once(engine):
    agency = an_agency(engine)
    a_lease(engine, agency)
    billing.run_period(Run(engine, agency), "2026-02")
    assert [one.status for one in invoices_of(engine, agency)] == ["OVERDUE"]


def test_credit_pays_the_rent_of_its_own_lease(engine):
    agency = an_agency(engine)
    rich, exact, poor = (a_lease(engine, agency) for _ in range(3))
    a_payment(engine, agency, rich, "60000.00")
    a_payment(engine, agency, exact, "25000.00")
    billing.run_period(Run(engine, agency), FUTURE)
    paid = {one.lease_id: (one.status, one.paid) for one in invoices_of(engine, agency)}
    assert paid == {
        rich: ("PAID", Decimal("25000.00")),
        exact: ("PAID", Decimal("25000.00")),
        poor: ("OPEN", Decimal("0.00")),
    }
    with tenant_session(engine, agency) as session:
        balances = [billing.lease_balance(session, one) for one in (rich, exact, poor)]
    assert balances == [Decimal("-35000.00"), 0, Decimal("25000.00")]
    check_books(engine, agency)


def test_a_voided_invoice_of_the_run_is_not_made_again(engine):
    agency = an_agency(engine)
    a_lease(engine, agency)
    billing.run_period(Run(engine, agency), FUTURE)
    with tenant_session(engine, agency) as session:
        billing.void(session, invoices_of(engine, agency)[0].id, "by hand this month")
    assert billing.run_period(Run(engine, agency), FUTURE).invoices == 0


def test_a_cancelled_run_goes_on_where_it_stopped(engine, monkeypatch):
    monkeypatch.setattr(runs, "BATCH", 3)
    agency = an_agency(engine)
    many_leases(engine, agency, 10)
    run = Run(engine, agency, cancel_after=2)
    with pytest.raises(Cancelled):
        billing.run_period(run, FUTURE)
    assert run.seen == [(3, 10), (6, 10)]
    assert billing.run_period(Run(engine, agency), FUTURE).invoices == 4
    assert [one.number for one in invoices_of(engine, agency)] == list(range(1, 11))
    check_books(engine, agency)


def test_runs_side_by_side_bill_each_lease_once(engine, monkeypatch):
    monkeypatch.setattr(runs, "BATCH", 4)
    agency = an_agency(engine)
    many_leases(engine, agency, 30)
    results, failures = [], []

    def run():
        try:
            results.append(billing.run_period(Run(engine, agency), FUTURE).invoices)
        except Exception as error:  # noqa: BLE001  the test is about whatever it is
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert sum(results) == 30
    assert [one.number for one in invoices_of(engine, agency)] == list(range(1, 31))
    check_books(engine, agency)


def test_a_batch_costs_the_same_statements_whatever_its_size(engine):
    def statements_for(count):
        agency = an_agency(engine)
        for lease in many_leases(engine, agency, count):
            a_payment(engine, agency, lease, "100.00")
        counted = []
        event.listen(engine, "before_cursor_execute", lambda *args: counted.append(args[2]))
        billing.run_period(Run(engine, agency), FUTURE)
        return len(counted)

    assert statements_for(2) == statements_for(40)


def test_a_run_tells_the_webhooks_that_listen(engine):
    agency = an_agency(engine)
    many_leases(engine, agency, 3)
    with tenant_session(engine, agency) as session:
        for events in (["invoice.issued"], ["payment.completed"]):
            session.add(
                WebhookEndpoint(agency_id=agency, url="https://x.test", events=events, secret=b"sealed")
            )
    billing.run_period(Run(engine, agency), FUTURE)
    with tenant_session(engine, agency) as session:
        told = session.scalars(select(WebhookDelivery.payload)).all()
    assert sorted(payload["number"] for payload in told) == ["INV-000001", "INV-000002", "INV-000003"]
    assert told[0]["total"] == "25000.00"


def test_a_run_is_asked_for_as_one_job(engine):
    agency = an_agency(engine)
    with tenant_session(engine, agency) as session:
        assert billing.request_run(session, FUTURE) == billing.request_run(session, FUTURE)
    with tenant_session(engine, agency) as session:
        job = session.scalars(select(Job)).one()
    assert (job.kind, job.arguments) == ("rent_run", {"period": FUTURE})


def test_a_run_of_no_month_is_refused(engine):
    with tenant_session(engine, an_agency(engine)) as session, pytest.raises(Invalid):
        billing.request_run(session, "2026-13")
