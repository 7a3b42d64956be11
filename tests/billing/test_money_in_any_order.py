"""Whatever is done in whatever order, the books are right: a state machine on a real database."""

import datetime as dt
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import Engine

from haven.billing import service as billing
from haven.db.session import tenant_session
from haven.errors import Conflict
from haven.payments import service as payments
from tests.billing.test_runs import Run
from tests.support.books import check_books
from tests.support.builders import a_draft, a_lease, a_payment, an_agency

amounts = st.decimals(min_value=Decimal("0.01"), max_value=1000, places=2).map(str)
days = st.integers(-3, 3).map(lambda shift: dt.datetime.now(dt.UTC).date() + dt.timedelta(days=shift))


class Money(RuleBasedStateMachine):
    """An agency with two leases; ``engine`` is given by a subclass."""

    engine: Engine
    invoices = Bundle("invoices")
    paid = Bundle("paid")

    def __init__(self):
        super().__init__()
        self.agency = an_agency(self.engine)
        self.leases = [a_lease(self.engine, self.agency, "700.00", "100.00") for _ in range(2)]

    def do(self, act, *args):
        with suppress(Conflict), tenant_session(self.engine, self.agency) as session:
            act(session, *args)

    @rule(target=invoices, lease=st.integers(0, 1), amount=amounts, due=days)
    def draft(self, lease, amount, due):
        return a_draft(self.engine, self.agency, self.leases[lease], amount, due)

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

    @invariant()
    def the_books_are_right(self):
        check_books(self.engine, self.agency)


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
def test_the_books_are_right_after_very_many_steps(engine):
    run_money(engine, examples=150, steps=50)
