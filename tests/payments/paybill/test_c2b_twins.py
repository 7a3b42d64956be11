"""A payment by push is told twice: in its callback and as a payment to the paybill. It is one payment, whatever comes first."""

import datetime as dt
import hashlib
import secrets
import threading
from typing import Any

import pytest
from sqlalchemy import select, update

from haven.billing import service as billing
from haven.operations.models import Alert
from haven.payments import service as payments
from haven.payments import statuses
from haven.payments.models import MpesaAttempt
from haven.payments.mpesa.answers import QueryAnswer
from haven.payments.paybill import witness
from tests.payments.paybill.money import (
    a_notice,
    a_receipt,
    an_address,
    hear,
    keep,
    masked,
    notes,
    paid,
    received,
    reference_of,
    waiting,
)
from tests.payments.test_callbacks import failed_body, paid_body
from tests.payments.test_callbacks import hear as hear_push
from tests.payments.test_callbacks import store as store_push
from tests.support.books import check_books
from tests.support.builders import a_phone

SHOWN = {
    "plain": lambda phone: phone[1:],
    "hashed": lambda phone: hashlib.sha256(phone[1:].encode()).hexdigest(),
    "masked": masked,
    "masked short": lambda phone: f"{phone[1:6]}****{phone[-3:]}",
}


@pytest.fixture
def token(house):
    return an_address(house)


@pytest.fixture
def push(house):
    return house.start(a_phone())


@pytest.fixture
def twin(house, token, push):
    """A function that makes the other telling of the push's payment, with another payer, account or time if wanted."""

    def make(receipt, payer=None, **fields):
        payer = SHOWN["masked"](push.phone) if payer is None else payer
        return a_notice(receipt, **{"account": push.reference, "payer": payer} | fields)

    return make


def is_one_payment(house, push, receipt):
    assert [(one.id, one.reference) for one in paid(house)] == [(push.payment_id, receipt)]
    assert waiting(house) == []
    assert received(house) == 25000
    check_books(house.engine, house.agency_id)
    return True


@pytest.mark.req("P3")
@pytest.mark.parametrize("shown", SHOWN)
def test_the_confirmation_first(house, token, push, twin, shown):
    receipt = a_receipt()
    assert hear(house, token, twin(receipt, SHOWN[shown](push.phone))).outcome == "Paid."
    assert hear_push(house, push, paid_body(receipt)).state == "IGNORED"
    assert is_one_payment(house, push, receipt)
    assert house.attempt(push.attempt_id).state == "PAID"
    assert [note.detail["matched_by"] for note in notes(house, push.payment_id)] == ["PUSH"]


@pytest.mark.parametrize("shown", SHOWN)
def test_the_callback_first(house, token, push, twin, shown):
    receipt = a_receipt()
    assert hear_push(house, push, paid_body(receipt)).outcome == "Paid."
    assert hear(house, token, twin(receipt, SHOWN[shown](push.phone))).state == "IGNORED"
    assert is_one_payment(house, push, receipt)


@pytest.mark.parametrize("payer", ["", "7", None])
def test_of_a_payer_nobody_knows_the_only_push_of_the_account_is_meant(house, token, push, twin, payer):
    receipt = a_receipt()
    hear(house, token, a_notice(receipt, account=push.reference, payer=payer))
    assert is_one_payment(house, push, receipt)


def test_to_a_till_no_account_is_written(house, token, push, twin):
    receipt = a_receipt()
    hear(house, token, twin(receipt, push.phone[1:], account="", TransactionType="Customer Merchant Payment"))
    assert is_one_payment(house, push, receipt)


@pytest.mark.parametrize("items", [{}, {"MpesaReceiptNumber": None}])
def test_known_by_a_query_it_only_lacks_its_receipt(house, token, push, twin, items):
    receipt = a_receipt()
    with house.session() as session:
        payments.apply_answer(session, push.attempt_id, QueryAnswer("PAID", "0", "processed"))
    assert "now its receipt is known" in hear(house, token, twin(receipt)).outcome
    assert hear_push(house, push, paid_body(**{"receipt": receipt} | items)).state == "IGNORED"
    assert is_one_payment(house, push, receipt)


def test_a_callback_without_a_receipt_gets_it_from_the_confirmation(house, token, push, twin):
    receipt = a_receipt()
    hear_push(house, push, paid_body(MpesaReceiptNumber=None))
    hear(house, token, twin(receipt))
    assert is_one_payment(house, push, receipt)


@pytest.mark.parametrize("code", [1037, 1032])
def test_money_that_came_after_all_undoes_the_failure(house, token, push, twin, code):
    receipt = a_receipt()
    hear_push(house, push, failed_body(code))
    assert hear(house, token, twin(receipt)).outcome.startswith("Paid after it was")
    assert is_one_payment(house, push, receipt)
    assert hear_push(house, push, failed_body(code)).state == "IGNORED"
    with house.session() as session:
        alerts = session.scalars(select(Alert.fingerprint)).all()
    # Who cancels a prompt and pays by hand raises no alarm.
    expected = [f"paid_after_failure/payment:{push.payment_id}"] if code == 1037 else []
    assert alerts == expected


def test_another_amount_in_the_callback_is_put_right_by_the_confirmation(house, token, push, twin):
    receipt = a_receipt()
    hear_push(house, push, paid_body(receipt, amount=25010))
    assert house.payment(push.payment_id).status == "NEEDS_REVIEW"
    hear(house, token, twin(receipt))
    assert is_one_payment(house, push, receipt)
    with house.session() as session:
        assert session.scalars(select(Alert.state)).all() == ["RESOLVED"]


def test_the_receipt_of_a_reversed_payment_is_learnt_and_nothing_booked(house, token, push, twin):
    with house.session() as session:
        payments.apply_answer(session, push.attempt_id, QueryAnswer("PAID", "0", "processed"))
        payments.reverse(session, push.payment_id, "why")
    receipt = a_receipt()
    hear(house, token, twin(receipt))
    assert (house.payment(push.payment_id).reference, received(house)) == (receipt, 0)
    check_books(house.engine, house.agency_id)


@pytest.mark.parametrize(
    "fields",
    [
        {"amount": "24999.00"},
        {"payer": "254733000111"},
        {"payer": "2547 ***** 000"},
        {"at": dt.datetime.now(dt.UTC) - dt.timedelta(hours=2)},
    ],
    ids=["amount", "payer", "mask", "time"],
)
def test_money_that_only_looks_alike_is_another_payment(house, token, twin, fields):
    push = house.start("+254712345126")
    receipt = a_receipt()
    hear(house, token, a_notice(receipt, **{"account": push.reference, "payer": "254712345126"} | fields))
    assert [one.reference for one in paid(house)] == [receipt]
    assert house.payment(push.payment_id).status == "PENDING"
    hear_push(house, push, paid_body())
    assert len(paid(house)) == 2
    check_books(house.engine, house.agency_id)


def test_a_push_that_rang_no_phone_is_nobodys_twin(house, token, push, twin):
    with house.session() as session:
        session.execute(update(MpesaAttempt).values(state="REJECTED"))
    hear(house, token, twin(a_receipt()))
    assert [one.id == push.payment_id for one in paid(house)] == [False]


def test_of_two_pushes_of_one_payer_the_one_before_the_money_is_meant(house, token, twin):
    phone, now = a_phone(), dt.datetime.now(dt.UTC)
    pushes = []
    for ago in (8, 5):
        push = house.start(
            phone, "10", invoice_id=None, lease_id=house.lease_id, now=now - dt.timedelta(minutes=ago)
        )
        with house.session() as session:
            payments.apply_answer(session, push.attempt_id, QueryAnswer("PAID", "0", "processed"))
        pushes.append(push)
    receipts = [a_receipt(), a_receipt()]
    for receipt, seconds_ago in zip(receipts, (450, 270), strict=True):
        at = now - dt.timedelta(seconds=seconds_ago)
        hear(house, token, a_notice(receipt, "10", pushes[0].reference, masked(phone), at))
    assert [house.payment(push.payment_id).reference for push in pushes] == receipts


def test_two_phones_that_one_mask_fits_are_not_told_apart(house, token):
    """The account says whose lease it is; which of the two requests is settled, their own callbacks say."""
    pushes = [
        house.start(phone, "10", invoice_id=None, lease_id=house.lease_id)
        for phone in ("+254711000126", "+254722000126")
    ]
    receipt = a_receipt()
    hear(house, token, a_notice(receipt, "10", pushes[0].reference, "2547 ***** 126"))
    assert [one.reference for one in paid(house)] == [receipt]
    assert {house.payment(push.payment_id).status for push in pushes} == {"PENDING"}


@pytest.mark.parametrize(
    "order", ["hand twin callback", "hand callback twin", "callback hand twin", "callback twin hand"]
)
def test_who_pays_by_hand_and_answers_the_prompt_as_well_has_paid_twice(house, token, push, twin, order):
    by_hand, by_push = a_receipt(), a_receipt()
    tell = {
        "hand": lambda: hear(house, token, twin(by_hand)),
        "twin": lambda: hear(house, token, twin(by_push)),
        "callback": lambda: hear_push(house, push, paid_body(by_push)),
    }
    for one in order.split():
        tell[one]()
    assert {one.reference for one in paid(house)} == {by_hand, by_push}
    assert received(house) == 50000
    assert {row.state for row in house.inbox()} <= {"APPLIED", "IGNORED"}
    assert all(notes(house, one.id) or one.id == push.payment_id for one in paid(house))
    check_books(house.engine, house.agency_id)


def test_money_in_suspense_is_the_pushs_once_its_callback_has_the_receipt(house, token):
    receipt = a_receipt()
    push = house.start(a_phone(), "700", invoice_id=None, lease_id=house.lease_id)
    hear(house, token, a_notice(receipt, "700.00", account="NOWHERE", payer="254733111222"))
    assert [one.receipt for one in waiting(house)] == [receipt]
    assert hear_push(house, push, paid_body(receipt, amount=700)).outcome == "Paid."
    assert ([one.reference for one in paid(house)], waiting(house), received(house)) == ([receipt], [], 700)
    check_books(house.engine, house.agency_id)


def test_money_in_suspense_is_of_a_payment_that_lacked_its_receipt(house, token):
    receipt = a_receipt()
    push = house.start(a_phone(), "700", invoice_id=None, lease_id=house.lease_id)
    with house.session() as session:
        payments.apply_answer(session, push.attempt_id, QueryAnswer("PAID", "0", "processed"))
    hear(house, token, a_notice(receipt, "700.00", account="NOWHERE", payer="254733111222"))
    assert received(house) == 1400, "until it is known that the two are one"
    hear_push(house, push, paid_body(receipt, amount=700))
    assert ([one.reference for one in paid(house)], waiting(house), received(house)) == ([receipt], [], 700)
    check_books(house.engine, house.agency_id)


# At once


def at_once(house, *inbox_ids):
    """Apply them in threads of their own; what came of each."""
    outcomes: list[Any] = []
    gate = threading.Barrier(len(inbox_ids), timeout=30)

    def apply(inbox_id):
        gate.wait()
        try:
            with house.session() as session:
                outcomes.append(payments.apply_callback(session, inbox_id))
        except Exception as error:  # noqa: BLE001  the test is about whatever it is
            outcomes.append(error)

    threads = [threading.Thread(target=apply, args=(one,)) for one in inbox_ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


@pytest.mark.req("P3")
@pytest.mark.parametrize("turn", range(4))
def test_both_tellings_at_once_are_one_payment(house, token, push, twin, turn):
    receipt = a_receipt()
    tellings = [store_push(house, push, paid_body(receipt)) for _ in range(3)]
    tellings += [keep(house, token, twin(receipt)) for _ in range(3)]
    outcomes = at_once(house, *tellings)
    assert not [one for one in outcomes if isinstance(one, Exception)]
    assert is_one_payment(house, push, receipt)


@pytest.mark.parametrize("turn", range(4))
def test_a_callback_and_a_confirmation_that_finds_no_lease_at_once_are_one_payment(house, token, turn):
    receipt = a_receipt()
    push = house.start(a_phone(), "700", invoice_id=None, lease_id=house.lease_id)
    stray = a_notice(receipt, "700.00", account="NOWHERE", payer="254733111222")
    tellings = [store_push(house, push, paid_body(receipt, amount=700)), keep(house, token, stray)]
    assert not [one for one in at_once(house, *tellings) if isinstance(one, Exception)]
    assert ([one.reference for one in paid(house)], waiting(house), received(house)) == ([receipt], [], 700)
    check_books(house.engine, house.agency_id)


def test_without_the_lock_of_the_receipt_money_is_booked_twice(house, token, monkeypatch):
    """The negative control of the test above: both look, find nothing, and book."""
    receipt = a_receipt()
    push = house.start(a_phone(), "700", invoice_id=None, lease_id=house.lease_id)
    stray = a_notice(receipt, "700.00", account="NOWHERE", payer="254733111222")
    tellings = [store_push(house, push, paid_body(receipt, amount=700)), keep(house, token, stray)]
    have_looked = threading.Barrier(2, timeout=30)
    hold = witness._hold
    complete = billing.complete_payment
    monkeypatch.setattr(statuses, "receipt_lock", lambda *_: secrets.randbits(62))
    monkeypatch.setattr(witness, "lock_receipt", lambda *_: None)

    def look(*args, **options):
        done = complete(*args, **options)
        have_looked.wait()
        return done

    def hold_after_the_look(*args):
        have_looked.wait()
        return hold(*args)

    monkeypatch.setattr(billing, "complete_payment", look)
    monkeypatch.setattr(witness, "_hold", hold_after_the_look)
    at_once(house, *tellings)
    assert received(house) == 1400


@pytest.mark.parametrize("turn", range(3))
def test_a_query_a_confirmation_and_a_callback_at_once_are_one_payment(house, token, push, twin, turn):
    receipt = a_receipt()
    tellings = [store_push(house, push, paid_body(receipt)), keep(house, token, twin(receipt))]
    asked = threading.Thread(target=lambda: _answer(house, push))
    asked.start()
    outcomes = at_once(house, *tellings)
    asked.join()
    assert not [one for one in outcomes if isinstance(one, Exception)]
    assert is_one_payment(house, push, receipt)


def _answer(house, push):
    with house.session() as session:
        payments.apply_answer(session, push.attempt_id, QueryAnswer("PAID", "0", "processed"))


def test_the_account_of_a_push_is_the_reference_of_its_unit(house, push):
    assert push.reference == reference_of(house)
