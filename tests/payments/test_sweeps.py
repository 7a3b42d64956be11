"""What a clock finds that was lost on the way; and the jobs it asks for."""

import datetime as dt

import pytest
from sqlalchemy import select, update

from haven.operations.jobs import submit
from haven.operations.models import Job
from haven.payments import service as payments
from haven.payments.models import MpesaAttempt, MpesaInbox
from haven.payments.sweeps import MAX_TRIES
from tests.payments.test_callbacks import paid_body, store
from tests.support.books import check_books
from tests.support.builders import a_phone, an_invoice
from workers.runner import run_job


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def soon() -> dt.datetime:
    return now() + dt.timedelta(minutes=10)


def swept(house, sweep, now):
    with house.session() as session:
        return sweep(session, now)


def jobs_of(house, kind):
    with house.session() as session:
        return session.scalars(select(Job).where(Job.kind == kind).order_by(Job.id)).all()


def test_a_push_is_asked_about_when_its_time_has_come(house):
    push = house.start(a_phone())
    with house.session() as session:
        session.execute(update(MpesaAttempt).values(state="ACCEPTED", checkout_request_id="ws_CO_1"))
    assert swept(house, payments.submit_due_queries, now()) == 0
    assert swept(house, payments.submit_due_queries, soon()) == 1
    swept(house, payments.submit_due_queries, soon())
    (job,) = jobs_of(house, "mpesa_query")
    assert job.arguments == {"attempt_id": str(push.attempt_id)}


def test_a_push_whose_sender_died_is_unknown_and_a_day_later_a_persons(house):
    push = house.start(a_phone())
    assert swept(house, payments.settle_silent_pushes, now()) == 0
    assert swept(house, payments.settle_silent_pushes, soon()) == 1
    assert house.attempt(push.attempt_id).state == "UNKNOWN"
    assert house.payment(push.payment_id).status == "PROCESSING"
    assert swept(house, payments.settle_silent_pushes, soon()) == 0
    assert swept(house, payments.settle_silent_pushes, now() + dt.timedelta(hours=25)) == 1
    assert house.payment(push.payment_id).status == "NEEDS_REVIEW"
    # Its callback may still come.
    inbox_id = store(house, push, paid_body())
    with house.session() as session:
        assert payments.apply_callback(session, inbox_id) == "Paid."
    check_books(house.engine, house.agency_id)


def test_a_callback_that_nobody_applied_is_found(house, runtime):
    push = house.start(a_phone())
    store(house, push, paid_body())
    assert swept(house, payments.submit_orphaned_callbacks, now()) == 0
    assert swept(house, payments.submit_orphaned_callbacks, now() + dt.timedelta(minutes=2)) == 1
    (job,) = jobs_of(house, "mpesa_apply")
    assert run_job(runtime, house.agency_id, job.id) == "SUCCEEDED"
    assert house.payment(push.payment_id).status == "COMPLETED"
    assert swept(house, payments.submit_orphaned_callbacks, now() + dt.timedelta(minutes=2)) == 0
    check_books(house.engine, house.agency_id)


def test_a_callback_that_cannot_be_applied_is_given_up_but_may_be_replayed(house):
    push = house.start(a_phone())
    inbox_id = store(house, push, paid_body())
    with house.session() as session:
        session.execute(update(MpesaInbox).values(tries=MAX_TRIES))
    swept(house, payments.submit_orphaned_callbacks, now() + dt.timedelta(minutes=2))
    assert house.inbox()[0].state == "FAILED"
    assert jobs_of(house, "mpesa_apply") == []
    with house.session() as session:
        assert payments.replay_callback(session, inbox_id) == "Paid."


def test_invoices_become_overdue(house):
    an_invoice(house.engine, house.agency_id, house.lease_id, due=now().date() + dt.timedelta(days=1))
    assert swept(house, payments.mark_overdue_invoices, now()) == 0
    assert swept(house, payments.mark_overdue_invoices, now() + dt.timedelta(days=3)) == 1


@pytest.mark.parametrize("period, status", [("2026-11", "SUCCEEDED"), ("2026-13", "SCHEDULED")])
def test_the_months_rent_is_a_job(house, runtime, period, status):
    with house.session() as session:
        job_id = submit(session, "rent_run", {"period": period})
    run_job(runtime, house.agency_id, job_id)
    (job,) = jobs_of(house, "rent_run")
    assert job.status == status
    if status == "SUCCEEDED":
        assert job.result == {"period": "2026-11", "invoices": 1, "total": "25000.00"}


def test_a_query_is_a_job(house, runtime):
    push = house.start(a_phone())
    with house.session() as session:
        session.execute(update(MpesaAttempt).values(state="ACCEPTED", checkout_request_id="ws_CO_nobodys"))
        job_id = submit(session, "mpesa_query", {"attempt_id": str(push.attempt_id)})
    assert run_job(runtime, house.agency_id, job_id) == "SUCCEEDED"
    (job,) = jobs_of(house, "mpesa_query")
    assert job.result == {"outcome": "PENDING"}
