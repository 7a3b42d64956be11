"""Every published STK callback, disturbed, through the endpoint: what becomes of the payment and of its money."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.books import check_books
from tests.support.builders import a_phone
from tests.support.mutation import Members
from tests.unit.payments.mutated import Callback, Truth, disturbed, published

_numbers = itertools.count(1)


def of_its_own(tree: Members, truth: Truth) -> tuple[Members, Truth]:
    """The callback with an id and a receipt that no other has, and a whole number of shillings."""
    callback, number = Callback(copy.deepcopy(tree), truth), next(_numbers)
    callback.inner.put("CheckoutRequestID", f"ws_CO_{number:020}")
    for one in callback.named("MpesaReceiptNumber"):
        one.put("Value", f"UKO{number:07}A")
        callback.truth = replace(truth, receipt=f"UKO{number:07}A")
    return callback.tree, callback.truth


def expected_of(truth: Truth) -> tuple[set[str], str | None]:
    """The statuses that the payment may have, and its receipt."""
    if truth.outcome == "paid":
        return ({"COMPLETED"}, truth.receipt) if truth.amount is not None else ({"NEEDS_REVIEW"}, None)
    return ({"FAILED", "CANCELLED"}, None) if truth.outcome == "failed" else ({"PENDING"}, None)


def hear_disturbed_callbacks(client, house, examples):
    @settings(max_examples=examples, suppress_health_check=list(HealthCheck), database=None)
    @given(st.data())
    def hear(data):
        tree, truth = of_its_own(*data.draw(st.sampled_from(published())))
        body, truth = data.draw(disturbed(tree, truth))
        push = house.start(a_phone(), "1", invoice_id=None, lease_id=house.lease_id)

        answers = [
            client.post(f"/api/v1/hooks/stk/{push.token}", data=body, content_type="application/json")
            for _ in range(2)
        ]

        assert [answer.status_code for answer in answers] == [200, 200]
        payment = house.payment(push.payment_id)
        statuses, receipt = expected_of(truth)
        assert payment.status in statuses
        assert payment.reference == receipt
        assert payment.allocated + payment.unallocated == (payment.status == "COMPLETED") * Decimal(1)

    hear()
    check_books(house.engine, house.agency_id)


@pytest.mark.req("P2")
@pytest.mark.timeout(300)
def test_disturbed_callbacks_move_what_they_say_and_no_more(client, house):
    hear_disturbed_callbacks(client, house, examples=120)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_very_many_disturbed_callbacks_move_what_they_say_and_no_more(client, house):
    hear_disturbed_callbacks(client, house, examples=3000)
