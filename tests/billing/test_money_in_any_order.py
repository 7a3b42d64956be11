"""Whatever is done in whatever order, the books are right: a state machine on a real database."""

import datetime as dt
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import Engine, select

from haven.billing import service as billing
from haven.db.session import tenant_session
from haven.errors import Conflict
from haven.leasing.models import Lease
from haven.payments import service as payments
from tests.billing.test_runs import Run
from tests.support.books import check_books
from tests.support.builders import a_draft, a_payment, an_agency, an_owner, an_owners_lease

amounts = st.decimals(min_value=Decimal("0.01"), max_value=1000, places=2).map(str)
KINDS = ("RENT", "RENT DEPOSIT", "DEPOSIT UTILITY RENT", "OTHER")
days = st.integers(-3, 3).map(lambda shift: dt.datetime.now(dt.UTC).date() + dt.timedelta(days=shift))


class Money(RuleBasedStateMachine):
    """An agency with two leases of an owner's flats, one of them over; ``engine`` is given by a subclass."""

    engine: Engine
    invoices = Bundle("invoices")
    paid = Bundle("paid")
    left = Bundle("left")

    def __init__(self):
        super().__init__()
        self.agency = an_agency(self.engine)
        self.owner = an_owner(self.engine, self.agency, "7.50")
        fee = {"late_fee_kind": "PERCENT", "late_fee_amount": Decimal("10.00"), "grace_days": 0}
        self.leases = [
            an_owners_lease(self.engine, self.agency, self.owner, "700.00", "100.00", **fee, **more)
            for more in ({}, {"status": "TERMINATED", "end": dt.date.max})
        ]

    def do(self, act, *args):
        with suppress(Conflict), tenant_session(self.engine, self.agency) as session:
            return act(session, *args)
        return None

    @rule(target=invoices, lease=st.integers(0, 1), amount=amounts, due=days, kind=st.sampled_from(KINDS))
    def draft(self, lease, amount, due, kind):
        lines = [{"kind": one, "description": "For this", "amount": Decimal(amount)} for one in kind.split()]
        return a_draft(self.engine, self.agency, self.leases[lease], due=due, lines=lines)

    @rule(invoice=invoices)
    def issue(self, invoice):
        self.do(billing.issue, invoice)

    @rule(invoice=invoices)
    def void(self, invoice):
        self.do(billing.void, invoice, "by chance")

    @rule(target=paid, lease=st.integers(0, 1), amount=amounts, method=st.sampled_from(["CASH", "BANK"]))
    def pay(self, lease, amount, method):
        return a_payment(self.engine, self.agency, self.leases[lease], amount, method=method)

    @rule(invoice=invoices, amount=amounts)
    def pay_an_invoice(self, invoice, amount):
        body = {"invoice_id": invoice, "amount": Decimal(amount), "method": "CHEQUE"}
        self.do(payments.create, body)

    @rule(payment=paid)
    def reverse(self, payment):
        self.do(payments.reverse, payment, "by chance")

    @rule(month=st.sampled_from(["2026-09", "2026-12", "2099-01"]))
    def run_the_month(self, month):
        billing.run_period(Run(self.engine, self.agency), month)

    @rule()
    def mark_overdue(self):
        self.do(billing.mark_overdue)

    @rule(invoice=invoices, amount=amounts, kind=st.sampled_from([None, "RENT", "DEPOSIT"]))
    def credit(self, invoice, amount, kind):
        self.do(billing.credit, invoice, Decimal(amount), "by chance", kind)

    @rule()
    def charge_late_fees(self):
        billing.charge_late_fees(Run(self.engine, self.agency))

    @rule(amount=st.none() | amounts.map(Decimal))
    def apply_the_deposit(self, amount):
        self.do(billing.apply_to_arrears, self.leases[1], amount)

    @rule(amount=amounts)
    def retain_the_deposit(self, amount):
        self.do(billing.retain, self.leases[1], Decimal(amount), "by chance")

    @rule(target=left, amount=st.none() | amounts.map(Decimal))
    def refund_the_deposit(self, amount):
        body = {"method": "CASH"} | ({} if amount is None else {"amount": amount})
        return self.do(billing.refund, self.leases[1], body)

    @rule(target=left, amount=amounts, act=st.sampled_from([billing.pay_out, billing.spend]))
    def pay_the_owner(self, amount, act):
        return self.do(
            act, self.owner, {"amount": Decimal(amount), "method": "BANK", "description": "By chance"}
        )

    @rule(disbursement=left)
    def take_back_what_has_left(self, disbursement):
        if disbursement is not None:
            self.do(billing.reverse_disbursement, disbursement, "by chance")

    @invariant()
    def the_books_are_right(self):
        check_books(self.engine, self.agency)
        with tenant_session(self.engine, self.agency) as session:
            now = dt.datetime.now(dt.UTC)
            assert billing.verify(session, now) == []
            for lease_id in self.leases:
                deposit = billing.deposit(session, lease_id)
                assert 0 <= deposit.held <= deposit.owed
            self.statements_are_right(session, billing.agency_day(session, now))

    def statements_are_right(self, session, day):
        ever = (dt.date(2000, 1, 1), dt.date(2999, 12, 31))
        found = billing.owner_balance(session, self.owner, day, *ever)
        parts = found.collected - found.management_fee - found.expenses - found.payouts
        assert found.closing_balance == parts
        tenants = session.scalars(select(Lease.tenant_id).where(Lease.id.in_(self.leases))).all()
        for tenant_id in tenants:
            statement = billing.tenant_statement(session, tenant_id, day, *ever)
            assert statement.closing_balance == billing.tenant_balance(session, tenant_id)


def run_money(engine, examples, steps):
    run_state_machine_as_test(
        type("MoneyHere", (Money,), {"engine": engine}),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_books_are_right_after_any_steps(engine):
    run_money(engine, examples=15, steps=15)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_books_are_right_after_very_many_steps(engine):
    run_money(engine, examples=60, steps=50)
