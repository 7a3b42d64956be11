"""Invoices from draft to void."""

import datetime as dt
import threading
from contextlib import suppress
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from haven.billing import service as billing
from haven.billing.models import Allocation, Invoice, InvoiceLine, LedgerTransaction
from haven.db.session import tenant_session
from haven.errors import Conflict, Invalid, NotFound, VersionMismatch
from haven.payments.models import Payment
from tests.support.books import check_books
from tests.support.builders import a_draft, a_lease, a_payment, an_agency, an_invoice

TODAY = dt.datetime.now(ZoneInfo("Africa/Nairobi")).date()


def invoice_of(engine, agency_id, invoice_id):
    with tenant_session(engine, agency_id) as session:
        return session.get_one(Invoice, (agency_id, invoice_id))


def payment_of(engine, agency_id, payment_id):
    with tenant_session(engine, agency_id) as session:
        return session.get_one(Payment, (agency_id, payment_id))


def line(kind, amount, description="For this"):
    return {"kind": kind, "description": description, "amount": Decimal(amount)}


def test_a_draft_has_the_sum_of_its_lines_and_no_number(engine):
    agency = an_agency(engine)
    lines = [line("RENT", "25000.00"), line("UTILITY", "1200.50"), line("CREDIT", "-200.50")]
    draft = invoice_of(engine, agency, a_draft(engine, agency, a_lease(engine, agency), lines=lines))
    assert (draft.status, draft.number, draft.total) == ("DRAFT", None, Decimal("26000.00"))


def test_a_draft_without_a_due_date_is_due_on_the_billing_day(engine):
    agency = an_agency(engine)
    lease = a_lease(engine, agency, billing_day=7)
    body = {
        "lease_id": lease,
        "period_start": dt.date(2026, 11, 1),
        "period_end": dt.date(2026, 11, 30),
        "lines": [line("RENT", "1.00")],
    }
    with tenant_session(engine, agency) as session:
        made = billing.create(session, body)
    assert invoice_of(engine, agency, made).due_at == dt.date(2026, 11, 7)


@pytest.mark.parametrize(
    "lines, pointer",
    [
        ([], "/lines"),
        ([line("RENT", "10.00"), line("CREDIT", "-10.01")], "/lines"),
        ([line("RENT", "-1.00")], "/lines/0/amount"),
        ([line("RENT", "1.00"), line("CREDIT", "1.00")], "/lines/1/amount"),
        ([line("RENT", "1.005")], "/lines/0/amount"),
        ([line("BRIBE", "1.00")], "/lines/0/kind"),
    ],
)
def test_lines_that_break_a_rule_are_refused(engine, lines, pointer):
    agency = an_agency(engine)
    lease = a_lease(engine, agency)
    body = {"lease_id": lease, "period_start": TODAY, "period_end": TODAY, "due_at": TODAY, "lines": lines}
    with tenant_session(engine, agency) as session, pytest.raises(Invalid) as refused:
        billing.create(session, body)
    assert refused.value.faults[0].pointer == pointer


def test_an_invoice_of_another_agencys_lease_is_refused(engine):
    agency, other = an_agency(engine), an_agency(engine)
    with pytest.raises(Invalid):
        a_draft(engine, agency, a_lease(engine, other))


def test_only_the_given_fields_of_a_draft_change(engine):
    agency = an_agency(engine)
    draft = a_draft(engine, agency, a_lease(engine, agency), due=dt.date(2026, 11, 5))
    with tenant_session(engine, agency) as session:
        billing.update(session, draft, {"lines": [line("RENT", "100.00"), line("OTHER", "5.00")]}, 1)
    changed = invoice_of(engine, agency, draft)
    assert (changed.total, changed.due_at, changed.version) == (Decimal("105.00"), dt.date(2026, 11, 5), 2)


def test_new_lines_of_the_same_total_are_another_version(engine):
    agency = an_agency(engine)
    draft = a_draft(engine, agency, a_lease(engine, agency), "100.00")
    with tenant_session(engine, agency) as session:
        billing.update(session, draft, {"lines": [line("UTILITY", "100.00")]}, 1)
    assert invoice_of(engine, agency, draft).version == 2


def test_a_change_of_an_older_version_is_refused(engine):
    agency = an_agency(engine)
    draft = a_draft(engine, agency, a_lease(engine, agency))
    with tenant_session(engine, agency) as session, pytest.raises(VersionMismatch):
        billing.update(session, draft, {"due_at": TODAY}, 7)


def test_an_issued_invoice_is_neither_changed_nor_deleted(engine):
    agency = an_agency(engine)
    issued = an_invoice(engine, agency, a_lease(engine, agency))
    with tenant_session(engine, agency) as session, pytest.raises(Conflict):
        billing.update(session, issued, {"due_at": TODAY}, None)
    with tenant_session(engine, agency) as session, pytest.raises(Conflict):
        billing.remove(session, issued, None)


def test_a_deleted_draft_takes_its_lines_along(engine):
    agency = an_agency(engine)
    draft = a_draft(engine, agency, a_lease(engine, agency))
    with tenant_session(engine, agency) as session:
        billing.remove(session, draft, 1)
    with tenant_session(engine, agency) as session:
        assert session.scalars(select(InvoiceLine)).all() == []


def test_issuing_numbers_and_posts(engine):
    agency = an_agency(engine)
    lease = a_lease(engine, agency)
    lines = [
        line("RENT", "100.00"),
        line("DEPOSIT", "200.00"),
        line("OTHER", "7.00"),
        line("CREDIT", "-5.00"),
    ]
    first = an_invoice(engine, agency, lease, lines=lines)
    second = an_invoice(engine, agency, lease, "50.00")
    assert [invoice_of(engine, agency, one).number for one in (first, second)] == [1, 2]
    with tenant_session(engine, agency) as session:
        totals = {total.code: total.balance for total in billing.trial_balance(session)}
    assert totals == {
        "TENANT_RECEIVABLE": Decimal("352.00"),
        "RENT_INCOME": Decimal("-150.00"),
        "DEPOSITS_HELD": Decimal("-200.00"),
        "OTHER_INCOME": Decimal("-2.00"),
    }
    check_books(engine, agency)


@pytest.mark.parametrize("due, status", [(TODAY - dt.timedelta(days=2), "OVERDUE"), (TODAY, "OPEN")])
def test_an_issued_invoice_is_open_or_overdue(engine, due, status):
    agency = an_agency(engine)
    issued = an_invoice(engine, agency, a_lease(engine, agency), due=due)
    assert invoice_of(engine, agency, issued).status == status


def test_an_invoice_of_nought_is_paid_at_once_and_posts_nothing(engine):
    agency = an_agency(engine)
    lines = [line("RENT", "100.00"), line("CREDIT", "-100.00")]
    issued = an_invoice(engine, agency, a_lease(engine, agency), lines=lines)
    assert invoice_of(engine, agency, issued).status == "PAID"
    with tenant_session(engine, agency) as session:
        assert session.scalars(select(LedgerTransaction)).all() == []


def test_an_invoice_is_issued_once(engine):
    agency = an_agency(engine)
    issued = an_invoice(engine, agency, a_lease(engine, agency))
    with tenant_session(engine, agency) as session, pytest.raises(Conflict):
        billing.issue(session, issued)


def test_an_invoice_of_a_draft_lease_is_not_issued(engine):
    agency = an_agency(engine)
    draft = a_draft(engine, agency, a_lease(engine, agency, status="DRAFT"))
    with tenant_session(engine, agency) as session, pytest.raises(Conflict):
        billing.issue(session, draft)


def test_an_invoice_of_another_agency_is_not_found(engine):
    agency, other = an_agency(engine), an_agency(engine)
    draft = a_draft(engine, agency, a_lease(engine, agency))
    for act in (billing.issue, lambda session, one: billing.void(session, one, "why")):
        with tenant_session(engine, other) as session, pytest.raises(NotFound):
            act(session, draft)


def test_credit_pays_the_invoice_that_is_issued_oldest_payment_first(engine):
    agency = an_agency(engine)
    lease = a_lease(engine, agency)
    long_ago = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)
    newer = a_payment(engine, agency, lease, "300.00")
    older = a_payment(engine, agency, lease, "200.00", paid_at=long_ago)
    issued = an_invoice(engine, agency, lease, "250.00")
    assert invoice_of(engine, agency, issued).status == "PAID"
    assert payment_of(engine, agency, older).unallocated == 0
    assert payment_of(engine, agency, newer).unallocated == Decimal("250.00")
    check_books(engine, agency)


def test_voiding_makes_the_money_credit_again_and_the_next_invoice_takes_it(engine):
    agency = an_agency(engine)
    lease = a_lease(engine, agency)
    wrong = an_invoice(engine, agency, lease, "500.00")
    paid = [a_payment(engine, agency, lease, amount) for amount in ("200.00", "150.00")]
    with tenant_session(engine, agency) as session:
        billing.void(session, wrong, "the rent was wrong")
    voided = invoice_of(engine, agency, wrong)
    assert (voided.status, voided.paid, voided.number) == ("VOID", 0, 1)
    assert [payment_of(engine, agency, one).unallocated for one in paid] == [Decimal(200), Decimal(150)]
    check_books(engine, agency)
    right = an_invoice(engine, agency, lease, "400.00")
    assert invoice_of(engine, agency, right).balance == Decimal("50.00")
    check_books(engine, agency)


def test_money_of_a_voided_invoice_may_pay_again_an_invoice_that_it_paid_in_part(engine):
    agency = an_agency(engine)
    lease = a_lease(engine, agency)
    first = an_invoice(engine, agency, lease, "100.00", due=dt.date(2099, 1, 2))
    second = an_invoice(engine, agency, lease, "100.00", due=dt.date(2099, 1, 1))
    a_payment(engine, agency, lease, "130.00")
    with tenant_session(engine, agency) as session:
        billing.void(session, second, "not due")
    an_invoice(engine, agency, lease, "10.00", due=dt.date(2099, 2, 1))
    assert invoice_of(engine, agency, first).status == "PAID"
    with tenant_session(engine, agency) as session:
        amounts = session.scalars(select(Allocation.amount).where(Allocation.invoice_id == first)).all()
    assert amounts == [Decimal("100.00")]
    check_books(engine, agency)


def test_a_draft_or_a_void_invoice_is_not_voided(engine):
    agency = an_agency(engine)
    lease = a_lease(engine, agency)
    draft, issued = a_draft(engine, agency, lease), an_invoice(engine, agency, lease)
    with tenant_session(engine, agency) as session, pytest.raises(Conflict):
        billing.void(session, draft, "why")
    with tenant_session(engine, agency) as session:
        billing.void(session, issued, "why")
    with tenant_session(engine, agency) as session, pytest.raises(Conflict):
        billing.void(session, issued, "why")


def test_a_void_without_a_reason_is_refused(engine):
    agency = an_agency(engine)
    issued = an_invoice(engine, agency, a_lease(engine, agency))
    with tenant_session(engine, agency) as session, pytest.raises(Invalid):
        billing.void(session, issued, "  ")


def test_the_sweep_marks_what_is_late_and_nothing_else(engine):
    agency = an_agency(engine)
    lease = a_lease(engine, agency)
    late = [an_invoice(engine, agency, lease, "100.00", due=dt.date(2099, 1, day)) for day in (1, 2)]
    due_today = an_invoice(engine, agency, lease, due=dt.date(2099, 1, 3))
    a_payment(engine, agency, lease, "150.00")
    with tenant_session(engine, agency) as session:
        assert billing.mark_overdue(session, dt.date(2099, 1, 3)) == 1
        assert billing.mark_overdue(session, dt.date(2099, 1, 3)) == 0
    assert [invoice_of(engine, agency, one).status for one in (*late, due_today)] == [
        "PAID",
        "OVERDUE",
        "OPEN",
    ]


def test_the_day_is_the_agencys_not_the_servers(engine):
    agency = an_agency(engine, timezone="Pacific/Kiritimati")
    issued = an_invoice(engine, agency, a_lease(engine, agency), due=dt.date(2098, 12, 31))
    with tenant_session(engine, agency) as session:
        # 11:00 UTC is already the next day on Kiritimati (UTC+14).
        assert billing.mark_overdue(session, now=dt.datetime(2098, 12, 31, 9, 59, tzinfo=dt.UTC)) == 0
        assert billing.mark_overdue(session, now=dt.datetime(2098, 12, 31, 11, tzinfo=dt.UTC)) == 1
    assert invoice_of(engine, agency, issued).status == "OVERDUE"


def test_invoices_issued_at_once_have_numbers_without_a_gap(engine):
    agency = an_agency(engine)
    drafts = [a_draft(engine, agency, a_lease(engine, agency)) for _ in range(8)]
    failing = {drafts[2], drafts[5]}

    def issue(draft):
        with suppress(ZeroDivisionError), tenant_session(engine, agency) as session:
            billing.issue(session, draft)
            # Those that fail do so with their number in hand.
            assert 1 / (draft not in failing)

    threads = [threading.Thread(target=issue, args=(draft,)) for draft in drafts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with tenant_session(engine, agency) as session:
        numbers = session.scalars(
            select(Invoice.number).where(Invoice.number.is_not(None)).order_by(Invoice.number)
        ).all()
    assert numbers == [1, 2, 3, 4, 5, 6]
    check_books(engine, agency)


def test_one_draft_issued_twice_at_once_is_issued_once(engine):
    agency = an_agency(engine)
    draft = a_draft(engine, agency, a_lease(engine, agency))
    outcomes = []

    def issue():
        try:
            with tenant_session(engine, agency) as session:
                billing.issue(session, draft)
            outcomes.append("issued")
        except Conflict:
            outcomes.append("refused")

    threads = [threading.Thread(target=issue) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["issued", "refused", "refused", "refused"]
    check_books(engine, agency)
