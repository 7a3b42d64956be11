"""A tenant's statement: every event in order, with the ledger's own balance."""

import datetime as dt
from decimal import Decimal

import pytest
from sqlalchemy import text

from haven.billing import service as billing
from haven.db.session import tenant_session
from haven.errors import Invalid, NotFound
from haven.payments import service as payments
from tests.billing.books_of import at, line
from tests.billing.test_runs import Run
from tests.support.builders import a_draft, a_lease, a_payment, a_tenant, an_agency, an_invoice


class Account:
    """A tenant with two leases."""

    def __init__(self, engine):
        self.engine, self.agency = engine, an_agency(engine)
        self.tenant = a_tenant(engine, self.agency)
        self.lease, self.other = (
            a_lease(engine, self.agency, tenant_id=self.tenant, late_fee_kind="FLAT", late_fee_amount=50)
            for _ in range(2)
        )

    def do(self, act, *args, **options):
        with tenant_session(self.engine, self.agency) as session:
            return act(session, *args, **options)

    def invoice(self, now, amount="1000.00", lease=None, **options):
        draft = a_draft(self.engine, self.agency, lease or self.lease, amount, **options)
        self.do(billing.issue, draft, now=now)
        return draft

    def pay(self, now, amount, lease=None, **body):
        return a_payment(self.engine, self.agency, lease or self.lease, amount, paid_at=now, **body)

    def statement(self, first=dt.date(2000, 1, 1), last=dt.date(2099, 12, 31), **most):
        def read(session):
            day = billing.agency_day(session, dt.datetime.now(dt.UTC))
            return billing.tenant_statement(session, self.tenant, day, first, last, **most)

        return self.do(read)

    def owed_by_the_ledger(self):
        query = text(
            "SELECT coalesce(sum(e.debit - e.credit), 0) FROM ledger_entry e JOIN ledger_account a ON a.id = e.account_id"
            " JOIN lease l ON l.id = a.lease_id WHERE l.tenant_id = :tenant_id"
        )
        return self.do(lambda session: session.execute(query, {"tenant_id": self.tenant}).scalar_one())


def shown(statement):
    return [(one.kind, one.debit, one.credit, one.balance) for one in statement.lines]


def test_every_event_is_a_line_in_order_with_a_running_balance(engine):
    account = Account(engine)
    lines = [line("RENT", "1000.00"), line("DEPOSIT", "500.00")]
    first = account.invoice(at(2026, 9, 1), lines=lines, due=dt.date(2026, 9, 1))
    account.pay(at(2026, 9, 3), "400.00")
    billing.charge_late_fees(Run(engine, account.agency), at(2026, 9, 10))
    bounced = account.pay(at(2026, 9, 12), "1150.00", method="CHEQUE")
    account.do(payments.reverse, bounced, "bounced", now=at(2026, 9, 14))
    account.do(billing.credit, first, Decimal("200.00"), "no water", now=at(2026, 9, 15))
    wrong = account.invoice(at(2026, 9, 16), "70.00", account.other)
    account.do(billing.void, wrong, "wrong flat", now=at(2026, 9, 17))
    found = account.statement()
    amounts = [(kind, *(Decimal(one) for one in rest)) for kind, *rest in (
        ("INVOICE", "1500", "0", "1500"),
        ("PAYMENT", "0", "400", "1100"),
        ("LATE_FEE", "50", "0", "1150"),
        ("PAYMENT", "0", "1150", "0"),
        ("REVERSAL", "1150", "0", "1150"),
        ("CREDIT_NOTE", "0", "200", "950"),
        ("INVOICE", "70", "0", "1020"),
        ("VOID", "0", "70", "950"),
    )]  # fmt: skip
    assert shown(found) == amounts
    assert (found.opening_balance, found.closing_balance) == (0, Decimal(950))
    assert account.owed_by_the_ledger() == Decimal(950)
    assert account.do(billing.tenant_balance, account.tenant) == Decimal(950)


def test_credit_that_pays_an_invoice_is_no_line_of_its_own(engine):
    account = Account(engine)
    account.pay(at(2026, 9, 1), "1500.00")
    account.invoice(at(2026, 9, 2))
    assert shown(account.statement()) == [
        ("PAYMENT", 0, Decimal(1500), Decimal(-1500)),
        ("INVOICE", Decimal(1000), 0, Decimal(-500)),
    ]


def test_days_are_inclusive_where_the_agency_is_and_what_was_before_is_the_opening_balance(engine):
    account = Account(engine)
    account.invoice(at(2026, 8, 31, 20), "1.00")  # 23:00 in Nairobi, the last of August
    account.invoice(at(2026, 8, 31, 21), "10.00")  # 00:00, the first of September
    account.invoice(at(2026, 9, 30, 20), "100.00")
    account.invoice(at(2026, 9, 30, 21), "1000.00")
    found = account.statement(dt.date(2026, 9, 1), dt.date(2026, 9, 30))
    assert (found.opening_balance, found.closing_balance) == (Decimal(1), Decimal(111))
    assert [(one.debit, one.date) for one in found.lines] == [
        (Decimal(10), dt.date(2026, 9, 1)),
        (Decimal(100), dt.date(2026, 9, 30)),
    ]


def test_periods_one_after_the_other_meet(engine):
    account = Account(engine)
    for day in (5, 15, 25):
        account.invoice(at(2026, 9, day), f"{day}.00")
        account.pay(at(2026, 9, day + 1), "4.00")
    closing = Decimal(0)
    for first, last in ((1, 10), (11, 20), (21, 30)):
        found = account.statement(dt.date(2026, 9, first), dt.date(2026, 9, last))
        assert found.opening_balance == closing
        closing = found.closing_balance
    assert closing == account.owed_by_the_ledger() == Decimal(33)


def test_a_deposit_used_is_a_credit_and_one_refunded_leaves_the_balance(engine):
    account = Account(engine)
    account.invoice(at(2026, 9, 1), lines=[line("DEPOSIT", "500.00")])
    account.pay(at(2026, 9, 2), "500.00")
    account.invoice(at(2026, 9, 3), "200.00")
    account.do(
        lambda session: session.execute(text("UPDATE lease SET status = 'ENDED', end_date = '2026-09-30'"))
    )
    account.do(billing.apply_to_arrears, account.lease, now=at(2026, 9, 4))
    account.do(billing.refund, account.lease, {"method": "BANK"}, now=at(2026, 9, 5))
    assert shown(account.statement())[2:] == [
        ("INVOICE", Decimal(200), 0, Decimal(200)),
        ("DEPOSIT_USED", 0, Decimal(200), 0),
        ("DEPOSIT_REFUND", Decimal(300), Decimal(300), 0),
    ]


def test_more_lines_than_can_be_shown_are_refused_with_what_to_do(engine):
    account = Account(engine)
    for day in (1, 2, 3):
        account.invoice(at(2026, 9, day))
    with pytest.raises(Invalid, match="more than 2 lines: ask for fewer, or export"):
        account.statement(most=2)
    assert len(account.statement(dt.date(2026, 9, 1), dt.date(2026, 9, 2), most=2).lines) == 2


def test_another_tenants_events_are_not_shown(engine):
    account = Account(engine)
    an_invoice(engine, account.agency, a_lease(engine, account.agency))
    assert account.statement() == billing.TenantStatement(Decimal(0), [], Decimal(0))
    account.tenant = an_agency(engine)
    with pytest.raises(NotFound):
        account.statement()
