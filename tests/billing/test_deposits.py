"""Deposits: held once they are paid, and settled when the lease is over."""

import datetime as dt
import threading
from decimal import Decimal

import pytest
from sqlalchemy import select

from haven.billing import deposits
from haven.billing import service as billing
from haven.billing.models import Disbursement, InvoiceLine
from haven.db.session import tenant_session
from haven.errors import Conflict, Invalid, NotFound
from haven.leasing.models import Lease
from haven.payments import service as payments
from haven.payments.models import Payment
from tests.billing.books_of import at_once, invoice_of, ledger_of, line
from tests.support.books import check_books
from tests.support.builders import a_lease, a_payment, an_agency, an_invoice


class Over:
    """A lease that is over, whose deposit of 1,000.00 was asked for together with 300.00 of rent."""

    def __init__(self, engine, paid="1300.00", status="TERMINATED"):
        self.engine, self.agency = engine, an_agency(engine)
        self.lease = a_lease(engine, self.agency, status=status, end=dt.date(2026, 6, 30))
        lines = [line("RENT", "300.00"), line("DEPOSIT", "1000.00")]
        self.invoice = an_invoice(engine, self.agency, self.lease, lines=lines)
        self.payment = a_payment(engine, self.agency, self.lease, paid) if paid else None

    def do(self, act, *args, **options):
        with tenant_session(self.engine, self.agency) as session:
            return act(session, *args, **options)

    def apply(self, amount=None):
        return self.do(billing.apply_to_arrears, self.lease, None if amount is None else Decimal(amount))

    def retain(self, amount, reason="Broken window"):
        return self.do(billing.retain, self.lease, Decimal(amount), reason)

    def refund(self, amount=None, **body):
        given = {} if amount is None else {"amount": Decimal(amount)}
        return self.do(billing.refund, self.lease, {"method": "BANK", **given, **body})

    @property
    def deposit(self):
        return self.do(billing.deposit, self.lease)

    @property
    def held(self):
        in_list = select(billing.deposit_held_of_lease(Lease.agency_id, Lease.id)).where(
            Lease.id == self.lease
        )
        listed = self.do(lambda session: session.execute(in_list).scalar_one())
        assert listed == self.deposit.held, "the list and the deposit say the same"
        return listed


@pytest.mark.parametrize(
    "paid, held", [(None, "0"), ("300.00", "0"), ("300.01", "0.01"), ("800.00", "500"), ("1300.00", "1000")]
)
def test_a_deposit_is_held_once_it_is_paid_and_rent_is_paid_first(engine, paid, held):
    assert Over(engine, paid).held == Decimal(held)


def test_a_deposit_of_a_draft_or_of_a_void_invoice_is_not_held(engine):
    over = Over(engine)
    over.do(billing.void, over.invoice, "wrong")
    assert (over.deposit.charged, over.held) == (0, 0)


def test_a_credit_on_the_invoice_pays_no_deposit(engine):
    agency = an_agency(engine)
    lease = a_lease(engine, agency)
    an_invoice(engine, agency, lease, lines=[line("DEPOSIT", "100.00"), line("CREDIT", "-30.00")])
    a_payment(engine, agency, lease, "70.00")
    with tenant_session(engine, agency) as session:
        assert billing.deposit(session, lease).held == Decimal(70)


def test_it_pays_arrears_the_oldest_first_and_is_a_payment_that_can_be_reversed(engine):
    over = Over(engine)
    old = an_invoice(engine, over.agency, over.lease, "250.00", due=dt.date(2026, 5, 1))
    new = an_invoice(engine, over.agency, over.lease, "250.00", due=dt.date(2026, 6, 1))
    payment = over.apply("300.00")
    assert [invoice_of(engine, over.agency, one).balance for one in (old, new)] == [0, Decimal(200)]
    assert (over.held, over.deposit.used) == (Decimal(700), Decimal(300))
    assert ledger_of(engine, over.agency)["DEPOSITS_HELD"] == Decimal(-700)
    assert ledger_of(engine, over.agency)["CASH"] == Decimal(1300)
    check_books(engine, over.agency)
    over.do(payments.reverse, payment, "the tenant objects")
    assert over.held == Decimal(1000)
    assert invoice_of(engine, over.agency, old).balance == Decimal(250)
    check_books(engine, over.agency)


def test_as_much_as_is_held_and_owed_is_applied_where_no_amount_is_given(engine):
    over = Over(engine)
    an_invoice(engine, over.agency, over.lease, "400.00")
    over.apply()
    assert over.held == Decimal(600)
    with pytest.raises(Conflict, match="Nothing is owed"):
        over.apply()


def test_no_more_is_applied_than_is_owed_or_held(engine):
    over = Over(engine, "400.00")
    assert over.held == Decimal(100)
    with pytest.raises(Conflict, match=r"900\.00 is owed, not 901\.00"):
        over.apply("901.00")
    with pytest.raises(Conflict, match=r"100\.00 of the deposit is held, not 100\.01"):
        over.apply("100.01")


def test_what_goes_back_is_recorded_and_posted(engine):
    over = Over(engine)
    made = over.refund("400.00", reference="RTGS 7")
    assert over.held == Decimal(600)
    with tenant_session(engine, over.agency) as session:
        row = session.get_one(Disbursement, (over.agency, made))
    assert (row.kind, row.amount, row.method, row.reference) == (
        "DEPOSIT_REFUND",
        Decimal(400),
        "BANK",
        "RTGS 7",
    )
    assert ledger_of(engine, over.agency)["BANK"] == Decimal(-400)
    over.refund()
    assert over.held == 0
    assert "DEPOSITS_HELD" not in ledger_of(engine, over.agency)
    check_books(engine, over.agency)


def test_a_refund_that_was_wrong_is_reversed(engine):
    over = Over(engine)
    made = over.refund()
    over.do(billing.reverse_disbursement, made, "the transfer came back")
    assert over.held == Decimal(1000)
    check_books(engine, over.agency)
    with pytest.raises(Conflict, match="already reversed"):
        over.do(billing.reverse_disbursement, made, "again")


def test_what_is_retained_is_charged_for_a_reason_and_paid_from_the_deposit(engine):
    over = Over(engine)
    invoice = over.retain("350.00", "Broken window")
    charged = invoice_of(engine, over.agency, invoice)
    assert (charged.status, charged.total) == ("PAID", Decimal(350))
    with tenant_session(engine, over.agency) as session:
        text_of = session.scalars(select(InvoiceLine.description).where(InvoiceLine.invoice_id == invoice))
        assert text_of.all() == ["Kept from the deposit: Broken window"]
    assert over.held == Decimal(650)
    assert ledger_of(engine, over.agency)["OTHER_INCOME"] == Decimal(-350)
    check_books(engine, over.agency)


def test_what_is_retained_comes_from_the_deposit_and_not_from_the_tenants_credit(engine):
    over = Over(engine, "1500.00")
    over.retain("350.00")
    assert over.held == Decimal(650)
    with tenant_session(engine, over.agency) as session:
        assert billing.lease_balance(session, over.lease) == Decimal(-200)


@pytest.mark.parametrize("status", ["ACTIVE", "DRAFT"])
def test_a_deposit_is_settled_when_the_lease_is_over(engine, status):
    over = Over(engine, None)
    over.do(lambda session: setattr(session.get_one(Lease, (over.agency, over.lease)), "status", status))
    for act in (over.apply, over.refund, lambda: over.retain("1.00")):
        with pytest.raises(Conflict, match="once it has been terminated"):
            act()


def test_never_more_goes_than_is_held_whoever_asks_at_the_same_time(engine):
    over = Over(engine)
    an_invoice(engine, over.agency, over.lease, "900.00")
    acts = [lambda: over.refund("400.00"), lambda: over.retain("400.00"), lambda: over.apply("400.00")]
    outcomes = at_once(*acts, *acts)
    assert sum(isinstance(one, Conflict) for one in outcomes) == 4
    assert over.held == Decimal(200)
    check_books(engine, over.agency)


def test_without_the_lock_of_the_lease_more_would_go(engine, monkeypatch):
    """The control of the test above: what keeps it right is the lock, and not luck."""
    over = Over(engine)
    lease = over.do(billing.lock_lease, over.lease, dt.datetime.now(dt.UTC))
    monkeypatch.setattr(deposits, "lock_lease", lambda *_: lease)
    both, held = threading.Barrier(2, timeout=60), deposits._held

    def held_as_both_see_it(session, lease):
        amount = held(session, lease)
        both.wait()
        return amount

    monkeypatch.setattr(deposits, "_held", held_as_both_see_it)
    outcomes = at_once(*[lambda: over.refund("600.00")] * 2)
    assert not [one for one in outcomes if isinstance(one, Exception)]
    assert over.deposit.owed == Decimal(-200)


def test_a_payment_reversed_after_the_refund_leaves_nothing_held_and_the_deposit_owed(engine):
    over = Over(engine)
    over.refund()
    over.do(payments.reverse, over.payment, "the cheque bounced")
    assert over.held == 0
    with tenant_session(engine, over.agency) as session:
        assert billing.lease_balance(session, over.lease) == Decimal(1300)
    with pytest.raises(Conflict, match="No deposit is held"):
        over.refund("1.00")
    check_books(engine, over.agency)


def test_an_invoice_whose_deposit_has_gone_is_neither_voided_nor_credited(engine):
    over = Over(engine)
    over.refund("600.00")
    with pytest.raises(Conflict, match="has been used or refunded"):
        over.do(billing.void, over.invoice, "wrong")
    with pytest.raises(Conflict, match="has been used or refunded"):
        over.do(billing.credit, over.invoice, Decimal("400.01"), "half", "DEPOSIT")
    over.do(billing.credit, over.invoice, Decimal("400.00"), "half", "DEPOSIT")
    assert (over.held, over.deposit.charged) == (0, Decimal(600))
    check_books(engine, over.agency)


def test_what_breaks_a_rule_is_refused(engine):
    over = Over(engine)
    for wrong in ({"amount": Decimal(-1)}, {"method": "BARTER"}, {"amount": Decimal("1.001")}):
        with pytest.raises(Invalid):
            over.do(billing.refund, over.lease, {"method": "CASH", **wrong})
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    with pytest.raises(Invalid, match="future"):
        over.refund(paid_at=later)
    with pytest.raises(Invalid):
        over.retain("1.00", "  ")
    with pytest.raises(NotFound):
        Over.do(over, billing.refund, over.agency, {"method": "CASH"})


def test_nobody_records_a_payment_by_deposit_by_hand(engine):
    over = Over(engine)
    with pytest.raises(Invalid):
        a_payment(engine, over.agency, over.lease, "1.00", method="DEPOSIT")
    with tenant_session(engine, over.agency) as session:
        assert session.scalars(select(Payment.method)).all() == ["CASH"]
