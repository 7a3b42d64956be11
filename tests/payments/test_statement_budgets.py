"""How many statements the ways of money cost, whatever the lease has behind it.

One of them says what has become the owner's, wherever an invoice is paid or is paid no more.
"""

from decimal import Decimal

import pytest
from sqlalchemy import event

from haven.billing import service as billing
from haven.payments import service as payments
from tests.payments.paybill.money import a_notice, an_address, keep, reference_of
from tests.payments.test_callbacks import paid_body, store
from tests.support.builders import a_draft, a_payment, a_phone, an_invoice


@pytest.fixture
def count(house):
    """A function that says how many statements an act costs, with its transaction's setting of the tenant."""
    counted = []
    event.listen(house.engine, "before_cursor_execute", lambda *args: counted.append(args[2]))

    def count_of(act, *args, **options):
        counted.clear()
        with house.session() as session:
            act(session, *args, **options)
        return len(counted)

    return count_of


@pytest.fixture(params=[1, 12])
def long_lease(house, request):
    """A lease that has paid before, by M-Pesa too and more than it owed, with one or with many open invoices."""
    a_payment(house.engine, house.agency_id, house.lease_id, "25000.01")
    a_payment(house.engine, house.agency_id, house.lease_id, "1.00", method="MPESA", reference="UKO0ABCDEF")
    for _ in range(request.param):
        an_invoice(house.engine, house.agency_id, house.lease_id, "1000.00")
    return house


def test_a_payment_by_hand(long_lease, count):
    body = {"lease_id": long_lease.lease_id, "amount": Decimal("12000.00"), "method": "CASH"}
    assert count(payments.create, body) <= 11


def test_a_push_is_written_down(long_lease, count):
    amount = Decimal(1000)
    assert count(payments.start_push, phone=a_phone(), amount=amount, lease_id=long_lease.lease_id) <= 5


def test_a_callback_is_applied(long_lease, count):
    push = long_lease.start(a_phone(), "12000", invoice_id=None, lease_id=long_lease.lease_id)
    inbox_id = store(long_lease, push, paid_body(amount=12000))
    assert count(payments.apply_callback, inbox_id) <= 12


def test_a_payment_to_the_paybill_is_booked(long_lease, count):
    by_account = a_notice(account=reference_of(long_lease), amount="12000.00")
    inbox_id = keep(long_lease, an_address(long_lease), by_account)
    assert count(payments.apply_callback, inbox_id) <= 20


def test_a_payment_told_twice_costs_no_more(long_lease, count):
    push = long_lease.start(a_phone(), "12000", invoice_id=None, lease_id=long_lease.lease_id)
    twin = a_notice(account=push.reference, amount="12000.00", payer=push.phone[1:])
    token = an_address(long_lease)
    assert count(payments.apply_callback, keep(long_lease, token, twin)) <= 17
    assert count(payments.apply_callback, keep(long_lease, token, twin)) <= 6


def test_an_invoice_is_issued(long_lease, count):
    draft = a_draft(long_lease.engine, long_lease.agency_id, long_lease.lease_id)
    assert count(billing.issue, draft) <= 8


def test_a_payment_is_reversed(long_lease, count):
    payment = a_payment(long_lease.engine, long_lease.agency_id, long_lease.lease_id, "12000.00")
    assert count(payments.reverse, payment, "why") <= 9
