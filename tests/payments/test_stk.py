"""Asking a phone for rent, against the running simulator."""

import dataclasses
import datetime as dt
import threading
from decimal import Decimal

import orjson
import pytest
from sqlalchemy import select, update

from haven.billing import service as billing
from haven.crypto import Vault
from haven.db.session import tenant_session
from haven.errors import Conflict, Invalid
from haven.identity.models import Agency
from haven.payments import service as payments
from haven.payments.models import MpesaAttempt, Payment
from haven.payments.mpesa.simulator.commands import DEFAULT_CONSUMER_KEY, DEFAULT_CONSUMER_SECRET
from haven.payments.mpesa.simulator.options import SANDBOX_PASSKEY, SANDBOX_SHORTCODE
from haven.payments.stk import token_hash
from tests.payments.conftest import wait_until
from tests.support.books import check_books
from tests.support.builders import a_draft, a_lease, a_phone, a_unit


def test_from_the_push_to_the_receipt(house, runtime, simulator):
    push = house.start(a_phone("1111"))
    assert (push.description, push.amount) == ("INV-000001", 25000)
    assert house.payment(push.payment_id).status == "PENDING"
    assert payments.send_push(runtime, push) == "ACCEPTED"
    payment = house.wait_for(push, "COMPLETED")
    assert payment.reference
    assert payment.receipt_number == 1
    assert house.invoice().status == "PAID"
    attempt = house.attempt(push.attempt_id)
    assert (attempt.state, attempt.result_code, attempt.next_query_at) == ("PAID", "0", None)
    assert len(simulator.pushes_of(push.phone)) == 1
    check_books(house.engine, house.agency_id)


@pytest.mark.parametrize(
    "ending, status, code",
    [
        ("1032", "CANCELLED", "1032"),
        ("1031", "CANCELLED", "1031"),
        ("2001", "FAILED", "2001"),
        ("1037", "FAILED", "1037"),
        ("0001", "FAILED", "1"),
        ("3003", "FAILED", "SFC_IC0003"),
    ],
)
def test_a_push_that_is_not_paid_says_why(house, runtime, ending, status, code):
    push = house.start(a_phone(ending))
    payments.send_push(runtime, push)
    payment = house.wait_for(push, "FAILED", "CANCELLED")
    assert (payment.status, payment.failure_code) == (status, code)
    assert payment.failure_reason
    assert house.invoice().paid == 0
    # The phone is free again, for the same amount too: no money has moved.
    house.start(push.phone)


@pytest.mark.parametrize(
    "ending, code", [("1001", "500.001.1001"), ("4000", "400.002.02"), ("5005", "500.001.1001")]
)
def test_a_push_that_is_refused_fails_the_payment_and_frees_the_phone(
    house, runtime, simulator, ending, code
):
    push = house.start(a_phone(ending))
    assert payments.send_push(runtime, push) == "REJECTED"
    payment = house.payment(push.payment_id)
    assert (payment.status, payment.failure_code) == ("FAILED", code)
    assert house.attempt(push.attempt_id).state == "REJECTED"
    house.start(push.phone)


@pytest.mark.parametrize("ending", ["5016", "5017", "5018", "5019"])
def test_a_push_whose_answer_is_lost_is_settled_by_the_callback_and_rings_once(
    house, runtime, simulator, ending
):
    push = house.start(a_phone(ending))
    assert payments.send_push(runtime, push) == "UNKNOWN"
    assert house.wait_for(push, "COMPLETED").reference
    assert len(simulator.pushes_of(push.phone)) == 1
    check_books(house.engine, house.agency_id)


def test_an_open_unknown_push_keeps_the_phone_and_is_not_sent_again(house, runtime, simulator):
    nowhere = dataclasses.replace(
        runtime, settings=dataclasses.replace(runtime.settings, public_url="http://127.0.0.1:9")
    )
    push = house.start(a_phone("5016"))
    assert payments.send_push(nowhere, push) == "UNKNOWN"
    assert house.payment(push.payment_id).status == "PROCESSING"
    with pytest.raises(Conflict) as refused:
        house.start(push.phone, "10")
    assert refused.value.retry_after_s == 60
    assert payments.send_push(runtime, push) == "UNKNOWN"
    assert len(simulator.pushes_of(push.phone)) == 1


def test_a_push_is_sent_once_whoever_calls(house, runtime, simulator):
    push = house.start(a_phone("1037"))
    threads = [threading.Thread(target=payments.send_push, args=(runtime, push)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(simulator.pushes_of(push.phone)) == 1


def test_a_callback_before_our_own_answer_is_not_undone_by_it(house, runtime):
    push = house.start(a_phone("8803"))
    assert payments.send_push(runtime, push) == "ACCEPTED"
    assert house.wait_for(push, "COMPLETED").reference
    assert house.attempt(push.attempt_id).state == "PAID"


def test_a_callback_that_comes_twice_pays_once(house, runtime):
    push = house.start(a_phone("8802"))
    payments.send_push(runtime, push)
    wait_until(lambda: len([row for row in house.inbox() if row.state != "RECEIVED"]) == 2)
    # Both come at once, and either may be the first to get the lock.
    assert sorted(row.state for row in house.inbox()) == ["APPLIED", "IGNORED"]
    assert house.payment(push.payment_id).status == "COMPLETED"
    check_books(house.engine, house.agency_id)


def test_a_callback_of_an_unknown_request_is_kept_and_pays_nothing(house, runtime):
    push = house.start(a_phone("8805"))
    payments.send_push(runtime, push)
    wait_until(lambda: [row.state for row in house.inbox()] == ["REJECTED"])
    assert house.payment(push.payment_id).status == "PROCESSING"


def test_another_amount_than_was_asked_for_needs_a_person(house, runtime):
    push = house.start(a_phone("8806"))
    payments.send_push(runtime, push)
    payment = house.wait_for(push, "NEEDS_REVIEW")
    assert payment.failure_code == "AMOUNT_DIFFERS"
    assert "25010" in payment.failure_reason
    assert house.invoice().paid == 0


@pytest.mark.parametrize("ending", ["8815", "8816"])
def test_paid_and_failed_in_any_order_is_paid(house, runtime, ending):
    push = house.start(a_phone(ending))
    payments.send_push(runtime, push)
    wait_until(lambda: len([row for row in house.inbox() if row.state != "RECEIVED"]) == 2)
    assert house.payment(push.payment_id).status == "COMPLETED"
    check_books(house.engine, house.agency_id)


def test_a_payment_without_a_receipt_is_still_a_payment(house, runtime):
    push = house.start(a_phone("8814"))
    payments.send_push(runtime, push)
    assert house.wait_for(push, "COMPLETED").reference is None


@pytest.mark.parametrize(
    "phone, amount, field",
    [
        ("12345", "100", "phone"),
        ("+44 20 7946 0000", "100", "phone"),
        ("0712345678", "100.50", "amount"),
        ("0712345678", "0", "amount"),
        ("0712345678", "250001", "amount"),
        ("0712345678", "NaN", "amount"),
    ],
)
def test_what_mpesa_cannot_do_is_refused_before_it_is_asked(house, phone, amount, field):
    with pytest.raises(Invalid) as refused:
        house.start(phone, amount)
    assert refused.value.faults[0].pointer == f"/{field}"


def test_a_lease_or_an_invoice_is_named(house):
    for options in ({"invoice_id": None}, {"lease_id": house.lease_id}):
        with pytest.raises(Invalid):
            house.start(a_phone(), **options)
    with pytest.raises(Invalid):
        house.start(a_phone(), invoice_id=house.lease_id)


def test_a_draft_invoice_cannot_be_asked_for(house):
    draft = a_draft(house.engine, house.agency_id, house.lease_id)
    with pytest.raises(Conflict):
        house.start(a_phone(), invoice_id=draft)


def test_a_paid_invoice_cannot_be_asked_for_but_its_lease_can_pay_ahead(house):
    with house.session() as session:
        payments.create(
            session, {"invoice_id": house.invoice_id, "amount": Decimal("25000.00"), "method": "CASH"}
        )
    with pytest.raises(Conflict):
        house.start(a_phone())
    assert house.start(a_phone(), invoice_id=None, lease_id=house.lease_id).description == "Rent"


def test_an_ended_lease_can_pay_what_it_owes_and_no_more(house):
    ended = a_lease(house.engine, house.agency_id, status="ENDED")
    with pytest.raises(Conflict):
        house.start(a_phone(), invoice_id=None, lease_id=ended)


def test_a_payment_reference_is_what_the_prompt_shows(house):
    unit = a_unit(house.engine, house.agency_id, payment_reference="g-70 b")
    lease = a_lease(house.engine, house.agency_id, unit_id=unit)
    assert house.start(a_phone(), invoice_id=None, lease_id=lease).reference == "G70B"


def test_one_request_of_a_phone_at_a_time(house):
    phone = a_phone()
    house.start(phone, "10")
    with pytest.raises(Conflict) as refused:
        house.start(phone, "20")
    assert refused.value.retry_after_s == 60


def test_of_two_requests_at_once_one_is_refused(house):
    phone = a_phone()
    outcomes, gate = [], threading.Barrier(4)

    def start(amount):
        gate.wait()
        try:
            house.start(phone, amount)
            outcomes.append("started")
        except Conflict:
            outcomes.append("refused")

    threads = [threading.Thread(target=start, args=(str(amount),)) for amount in (10, 20, 30, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused", "refused", "refused", "started"]
    with house.session() as session:
        assert len(session.scalars(select(MpesaAttempt)).all()) == 1
        assert len(session.scalars(select(Payment)).all()) == 1


def test_the_same_amount_within_two_minutes_is_refused_and_told_when(house):
    phone = a_phone()
    push = house.start(phone, "10")
    with house.session() as session:
        session.execute(update(MpesaAttempt).values(state="PAID"))
    began = house.attempt(push.attempt_id).created_at
    with house.session() as session, pytest.raises(Conflict) as refused:
        payments.start_push(
            session,
            phone=phone,
            amount=Decimal(10),
            lease_id=house.lease_id,
            now=began + dt.timedelta(seconds=50),
        )
    assert refused.value.retry_after_s == 70
    house.start(phone, "11")


def test_the_token_names_the_agency_is_hex_and_is_kept_as_a_hash(house):
    push = house.start(a_phone())
    assert push.token.startswith(house.agency_id.hex)
    assert len(push.token) == 96
    assert push.token == push.token.lower()
    assert int(push.token, 16)
    assert bytes(house.attempt(push.attempt_id).token_hash) == token_hash(push.token)
    assert push.token not in repr(push)
    assert push.callback_url("https://haven.test/") == f"https://haven.test/api/v1/hooks/stk/{push.token}"


def test_without_credentials_the_payment_fails_and_says_so(house, settings, engine, runtime):
    bare = dataclasses.replace(runtime, settings=dataclasses.replace(runtime.settings, mpesa_passkey=""))
    push = house.start(a_phone())
    assert payments.send_push(bare, push) == "REJECTED"
    assert house.payment(push.payment_id).failure_code == "NOT_SET_UP"


def test_credentials_sealed_with_another_key_fail_the_payment_and_ring_nothing(house, runtime, simulator):
    with house.session() as session:
        session.execute(update(Agency).values(mpesa_credentials=Vault("another key").encrypt(b"{}")))
    push = house.start(a_phone())
    assert payments.send_push(runtime, push) == "REJECTED"
    assert house.payment(push.payment_id).failure_code == "NOT_SET_UP"
    assert simulator.pushes_of(push.phone) == []


def test_mpesa_out_of_reach_fails_the_payment(house, runtime):
    away = dataclasses.replace(
        runtime, settings=dataclasses.replace(runtime.settings, mpesa_base_url="http://127.0.0.1:9")
    )
    push = house.start(a_phone())
    assert payments.send_push(away, push) == "REJECTED"
    payment = house.payment(push.payment_id)
    assert payment.status == "FAILED"
    assert "could not be reached" in payment.failure_reason


def test_the_agencys_own_credentials_go_first(house, runtime):
    bare = dataclasses.replace(runtime, settings=dataclasses.replace(runtime.settings, mpesa_passkey=""))
    stored = {
        "consumer_key": DEFAULT_CONSUMER_KEY,
        "consumer_secret": DEFAULT_CONSUMER_SECRET,
        "passkey": SANDBOX_PASSKEY,
    }
    sealed = Vault(runtime.settings.secret_key).encrypt(orjson.dumps(stored))
    with tenant_session(house.engine, house.agency_id, "test") as session:
        session.execute(update(Agency).values(mpesa_credentials=sealed, mpesa_shortcode=SANDBOX_SHORTCODE))
    push = house.start(a_phone("1111"))
    assert payments.send_push(bare, push) == "ACCEPTED"


def test_all_three_steps_in_one(house, runtime):
    with house.session() as session:
        payment_id = payments.request_payment(
            runtime, session, phone=a_phone("1111"), amount=Decimal(25000), invoice_id=house.invoice_id
        )
    wait_until(lambda: house.payment(payment_id).status == "COMPLETED")
    with house.session() as session:
        assert billing.lease_balance(session, house.lease_id) == 0
