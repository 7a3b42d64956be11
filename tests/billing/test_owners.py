"""What is collected for owners, the management fee, payouts and expenses."""

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from haven.billing import service as billing
from haven.billing.models import OwnerShare
from haven.db.session import tenant_session
from haven.errors import Conflict, NotFound
from haven.payments import service as payments
from haven.portfolio.models import Owner, Property
from tests.billing.books_of import at, at_once, ledger_of, line
from tests.support.books import check_books
from tests.support.builders import a_payment, an_agency, an_invoice, an_owner, an_owners_lease

ALL = (dt.date(2000, 1, 1), dt.date(2099, 12, 31))


class Landlord:
    """An owner at 8 per cent with one flat that is let."""

    def __init__(self, engine, fee="8.00"):
        self.engine, self.agency = engine, an_agency(engine)
        self.owner = an_owner(engine, self.agency, fee)
        self.lease = an_owners_lease(engine, self.agency, self.owner)

    def do(self, act, *args, **options):
        with tenant_session(self.engine, self.agency) as session:
            return act(session, *args, **options)

    def invoice(self, *lines, **options):
        return an_invoice(self.engine, self.agency, self.lease, lines=list(lines), **options)

    def paid(self, amount, **body):
        return a_payment(self.engine, self.agency, self.lease, amount, **body)

    def balance(self, first=ALL[0], last=ALL[1]):
        def read(session):
            day = billing.agency_day(session, dt.datetime.now(dt.UTC))
            return billing.owner_balance(session, self.owner, day, first, last)

        return self.do(read)

    def pay_out(self, amount, **body):
        return self.do(billing.pay_out, self.owner, {"amount": Decimal(amount), "method": "BANK", **body})

    def spend(self, amount, **body):
        body = {"amount": Decimal(amount), "method": "CASH", "description": "A tap", **body}
        return self.do(billing.spend, self.owner, body)


def test_rent_collected_is_the_owners_less_the_fee(engine):
    landlord = Landlord(engine)
    landlord.invoice(line("RENT", "20000.00"))
    assert landlord.balance().closing_balance == 0, "what is billed is not collected"
    landlord.paid("5000.00")
    found = landlord.balance()
    assert (found.collected, found.rent_collected, found.management_fee) == (
        Decimal(5000),
        Decimal(5000),
        Decimal(400),
    )
    assert found.closing_balance == Decimal(4600)
    assert ledger_of(engine, landlord.agency)["OWNER_PAYABLE"] == Decimal(-4600)
    assert ledger_of(engine, landlord.agency)["MANAGEMENT_FEE_INCOME"] == Decimal(-400)
    check_books(engine, landlord.agency)


def test_rent_is_collected_first_other_charges_next_and_a_deposit_is_nobodys_income(engine):
    landlord = Landlord(engine)
    landlord.invoice(line("DEPOSIT", "100.00"), line("UTILITY", "10.00"), line("RENT", "50.00"))
    collected = []
    for amount in ("40.00", "15.00", "20.00", "85.00"):
        landlord.paid(amount)
        found = landlord.balance()
        collected.append((found.rent_collected, found.collected, found.management_fee))
    assert collected == [
        (Decimal("40.00"), Decimal("40.00"), Decimal("3.20")),
        (Decimal("50.00"), Decimal("55.00"), Decimal("4.00")),
        (Decimal("50.00"), Decimal("60.00"), Decimal("4.00")),
        (Decimal("50.00"), Decimal("60.00"), Decimal("4.00")),
    ]
    check_books(engine, landlord.agency)


def test_a_reversal_takes_back_what_was_collected_whichever_payment_it_is(engine):
    landlord = Landlord(engine)
    landlord.invoice(line("RENT", "100.00"), line("DEPOSIT", "100.00"))
    first = landlord.paid("60.00")
    second = landlord.paid("100.00")
    landlord.do(payments.reverse, first, "bounced")
    assert landlord.balance().collected == Decimal(100)
    check_books(engine, landlord.agency)
    landlord.do(payments.reverse, second, "bounced too")
    found = landlord.balance()
    assert (found.collected, found.management_fee, found.closing_balance) == (0, 0, 0)
    check_books(engine, landlord.agency)


def test_credit_that_pays_an_invoice_is_collected_then(engine):
    landlord = Landlord(engine)
    landlord.paid("500.00")
    assert landlord.balance().collected == 0
    landlord.invoice(line("RENT", "300.00"))
    assert landlord.balance().collected == Decimal(300)


def test_a_void_and_a_credit_note_take_back_what_was_collected(engine):
    landlord = Landlord(engine)
    invoice = landlord.invoice(line("RENT", "300.00"))
    landlord.paid("300.00")
    landlord.do(billing.credit, invoice, Decimal("100.00"), "no water")
    assert landlord.balance().closing_balance == Decimal("184.00")
    void = landlord.invoice(line("RENT", "50.00"))
    assert landlord.balance().collected == Decimal(250)
    landlord.do(billing.void, void, "wrong")
    assert landlord.balance().collected == Decimal(200)
    check_books(engine, landlord.agency)


def test_the_balance_is_opening_collected_fee_expenses_payouts_closing_of_the_days_asked_for(engine):
    landlord = Landlord(engine, "10.00")
    landlord.invoice(line("RENT", "3000.00"))
    landlord.paid("1000.00", paid_at=at(2026, 9, 30, 20))  # 23:00 on the 30th in Nairobi
    landlord.paid("500.00", paid_at=at(2026, 9, 30, 21))  # 00:00 on the 1st
    landlord.spend("100.00", paid_at=at(2026, 10, 2))
    landlord.pay_out("700.00", paid_at=at(2026, 10, 31, 20))
    landlord.pay_out("50.00", paid_at=at(2026, 10, 31, 21))
    october = landlord.balance(dt.date(2026, 10, 1), dt.date(2026, 10, 31))
    assert october == billing.OwnerBalance(
        opening_balance=Decimal("900.00"),
        collected=Decimal("500.00"),
        rent_collected=Decimal("500.00"),
        management_fee=Decimal("50.00"),
        expenses=Decimal("100.00"),
        payouts=Decimal("700.00"),
        closing_balance=Decimal("550.00"),
    )
    assert landlord.balance().closing_balance == Decimal(500)
    check_books(engine, landlord.agency)


def test_no_more_is_paid_out_than_is_the_owners_also_at_once(engine):
    landlord = Landlord(engine, "0.00")
    landlord.invoice(line("RENT", "1000.00"))
    landlord.paid("1000.00")
    with pytest.raises(Conflict, match=r"1000\.00 is the owner's, not 1000\.01"):
        landlord.pay_out("1000.01")
    outcomes = at_once(*[lambda: landlord.pay_out("400.00")] * 5)
    assert sum(isinstance(one, Conflict) for one in outcomes) == 3
    assert landlord.balance().closing_balance == Decimal(200)
    check_books(engine, landlord.agency)


def test_an_expense_may_be_more_than_is_the_owners(engine):
    landlord = Landlord(engine)
    landlord.spend("250.00")
    assert landlord.balance().closing_balance == Decimal(-250)
    with pytest.raises(Conflict):
        landlord.pay_out("0.01")


def test_what_was_paid_out_by_mistake_is_reversed(engine):
    landlord = Landlord(engine, "0.00")
    landlord.invoice(line("RENT", "100.00"))
    landlord.paid("100.00")
    for made in (landlord.pay_out("60.00"), landlord.spend("10.00")):
        landlord.do(billing.reverse_disbursement, made, "typed twice")
    found = landlord.balance()
    assert (found.payouts, found.expenses, found.closing_balance) == (0, 0, Decimal(100))
    check_books(engine, landlord.agency)


def test_owner_and_fee_of_an_invoice_stay_those_of_its_first_shilling(engine):
    landlord = Landlord(engine, "10.00")
    other = an_owner(engine, landlord.agency, "50.00")
    landlord.invoice(line("RENT", "100.00"))
    landlord.paid("50.00")

    def sell(session):
        session.scalars(select(Property)).one().owner_id = other
        session.get_one(Owner, (landlord.agency, landlord.owner)).management_fee_percent = Decimal(20)

    landlord.do(sell)
    landlord.paid("50.00")
    assert landlord.balance().closing_balance == Decimal(90)
    with tenant_session(engine, landlord.agency) as session:
        share = session.scalars(select(OwnerShare)).one()
    assert (share.owner_id, share.rent, share.fee) == (landlord.owner, Decimal(100), Decimal(10))


def test_a_property_without_an_owner_passes_nothing_on(engine):
    landlord = Landlord(engine)
    landlord.do(lambda session: setattr(session.scalars(select(Property)).one(), "owner_id", None))
    landlord.invoice(line("RENT", "100.00"))
    landlord.paid("100.00")
    assert landlord.balance().collected == 0
    assert "OWNER_PAYABLE" not in ledger_of(engine, landlord.agency)


def test_a_deposit_that_pays_rent_is_collected_then(engine):
    landlord = Landlord(engine, "0.00")
    landlord.invoice(line("DEPOSIT", "100.00"))
    landlord.paid("100.00")
    landlord.invoice(line("RENT", "70.00"))
    from haven.leasing import service as leasing

    landlord.do(leasing.terminate_lease, landlord.lease, dt.date(2026, 6, 30), "left", None)
    assert landlord.balance().collected == 0
    landlord.do(billing.apply_to_arrears, landlord.lease)
    assert landlord.balance().collected == Decimal(70)
    landlord.do(billing.retain, landlord.lease, Decimal("30.00"), "Broken door")
    assert landlord.balance().closing_balance == Decimal(100)
    check_books(engine, landlord.agency)


def test_an_owner_of_another_agency_is_not_found(engine):
    landlord, stranger = Landlord(engine), Landlord(engine)
    for act in (billing.pay_out, billing.spend):
        with pytest.raises(NotFound):
            landlord.do(act, stranger.owner, {"amount": Decimal(1), "method": "CASH"})


@settings(max_examples=20)
@given(st.lists(st.decimals(min_value="0.01", max_value=90, places=2), min_size=1, max_size=6))
def test_the_fee_does_not_depend_on_the_parts_in_which_rent_comes(engine, parts):
    landlord = Landlord(engine, "7.77")
    landlord.invoice(line("RENT", str(sum(parts))))
    for part in parts:
        landlord.paid(str(part))
    expected = (sum(parts) * Decimal("7.77") / 100).quantize(Decimal("0.01"), rounding="ROUND_HALF_UP")
    assert landlord.balance().management_fee == expected
