"""Asking M-Pesa what became of a push."""

import dataclasses
import datetime as dt
from itertools import pairwise

import pytest
from redis import Redis
from sqlalchemy import select, update

from haven.operations.jobs import JobContext
from haven.payments import service as payments
from haven.payments.models import MpesaAttempt, MpesaEvidence
from haven.payments.mpesa.answers import QueryAnswer
from haven.payments.queries import next_query
from tests.payments.conftest import wait_until
from tests.support.books import check_books
from tests.support.builders import a_phone

BEGAN = dt.datetime(2026, 11, 24, 8, 0, tzinfo=dt.UTC)
PAID = QueryAnswer("PAID", "0", "The service request is processed successsfully.")
CANCELLED = QueryAnswer("FAILED", "1032", "Request cancelled by user")
WAITING = QueryAnswer("PENDING", "4999", "The transaction is still under processing")


def answered(house, push, answer, now=None):
    with house.session() as session:
        payments.apply_answer(session, push.attempt_id, answer, now)
    return house.payment(push.payment_id)


def a_job(runtime, house):
    return JobContext(runtime, house.agency_id, house.agency_id, "job:mpesa_query")


@pytest.fixture
def push(house):
    push = house.start(a_phone())
    with house.session() as session:
        session.execute(update(MpesaAttempt).values(state="ACCEPTED", checkout_request_id="ws_CO_1"))
    return push


def test_the_schedule():
    asked, now = [], BEGAN
    while now < BEGAN + payments.GIVE_UP_AFTER:
        now = next_query(BEGAN, now)
        asked.append((now - BEGAN).total_seconds())
    assert asked[:8] == [45, 90, 180, 360, 900, 1800, 5400, 9000]
    assert asked[-1] == 86400
    assert all(later > earlier for earlier, later in pairwise(asked))


def test_paid_by_a_query_is_paid_with_its_receipt_unknown(house, push):
    payment = answered(house, push, PAID)
    assert (payment.status, payment.reference, payment.receipt_number) == ("COMPLETED", None, 1)
    assert house.invoice().status == "PAID"
    check_books(house.engine, house.agency_id)


def test_failed_by_a_query_is_failed(house, push):
    payment = answered(house, push, CANCELLED)
    assert (payment.status, payment.failure_code) == ("CANCELLED", "1032")
    assert house.attempt(push.attempt_id).state == "FAILED"


def test_a_query_never_undoes_a_payment(house, push):
    answered(house, push, PAID)
    assert answered(house, push, CANCELLED).status == "COMPLETED"
    assert answered(house, push, PAID).allocated == 25000
    check_books(house.engine, house.agency_id)


@pytest.mark.parametrize("code", ["7777", "500.001.1001", "9999"])
def test_failed_with_a_code_that_is_not_final_waits(house, push, code):
    assert answered(house, push, QueryAnswer("FAILED", code, "?")).status == "PENDING"


def test_no_answer_is_asked_for_again_later(house, push):
    began = house.attempt(push.attempt_id).created_at
    answered(house, push, WAITING, began + dt.timedelta(seconds=46))
    attempt = house.attempt(push.attempt_id)
    assert (attempt.next_query_at, attempt.queries) == (began + dt.timedelta(seconds=90), 1)


def test_a_wait_that_mpesa_asks_for_is_kept(house, push):
    began = house.attempt(push.attempt_id).created_at
    answer = QueryAnswer("PENDING", "HTTP 429", "slow down", retry_after_s=300)
    answered(house, push, answer, began + dt.timedelta(seconds=46))
    assert house.attempt(push.attempt_id).next_query_at == began + dt.timedelta(seconds=346)


def test_what_is_open_after_a_day_goes_to_a_person_and_may_still_be_paid(house, push):
    payment = answered(
        house, push, WAITING, house.attempt(push.attempt_id).created_at + dt.timedelta(hours=24)
    )
    assert (payment.status, payment.failure_code) == ("NEEDS_REVIEW", "NO_ANSWER")
    assert house.attempt(push.attempt_id).next_query_at is None
    house.start(push.phone, "10")


def test_each_answer_is_evidence(house, push):
    answered(house, push, WAITING)
    answered(house, push, PAID)
    with house.session() as session:
        rows = session.execute(
            select(MpesaEvidence.kind, MpesaEvidence.result_code).order_by(MpesaEvidence.id)
        )
        assert [tuple(row) for row in rows] == [("QUERY", "4999"), ("QUERY", "0")]


def test_a_lost_callback_is_found_by_asking(house, runtime):
    push = house.start(a_phone("8801"))
    payments.send_push(runtime, push)
    free = Redis.from_url(runtime.settings.redis_url)

    def is_paid():
        for key in free.scan_iter("mpesa:query:*"):
            free.delete(key)
        return payments.ask(a_job(runtime, house), push.attempt_id) == "PAID"

    wait_until(is_paid)
    assert house.payment(push.payment_id).status == "COMPLETED"
    assert payments.ask(a_job(runtime, house), push.attempt_id) == "SETTLED"
    free.close()
    check_books(house.engine, house.agency_id)


def test_queries_keep_the_pace_and_are_put_off(house, runtime, push):
    other = house.start(a_phone(), "10", invoice_id=None, lease_id=house.lease_id)
    with house.session() as session:
        session.execute(
            update(MpesaAttempt)
            .where(MpesaAttempt.id == other.attempt_id)
            .values(state="ACCEPTED", checkout_request_id="ws_CO_2")
        )
    assert payments.ask(a_job(runtime, house), push.attempt_id) == "PENDING"
    assert payments.ask(a_job(runtime, house), other.attempt_id) == "PUT_OFF"
    wait = house.attempt(other.attempt_id).next_query_at - dt.datetime.now(dt.UTC)
    assert dt.timedelta(seconds=5) < wait <= dt.timedelta(seconds=12)


def test_without_redis_a_query_is_put_off(house, runtime, push):
    away = dataclasses.replace(runtime, redis=Redis(port=9, socket_connect_timeout=0.1))
    assert payments.ask(a_job(away, house), push.attempt_id) == "PUT_OFF"
    assert house.payment(push.payment_id).status == "PENDING"


def test_nothing_is_asked_about_a_push_without_an_id(house, runtime):
    assert payments.ask(a_job(runtime, house), house.start(a_phone()).attempt_id) == "SETTLED"
