"""Who is told what of a payment: written with the payment itself, once."""

from __future__ import annotations

from decimal import Decimal

import pytest
from sqlalchemy import text, update
from sqlalchemy.orm import Session

from haven.db.session import Tenant, set_tenant, tenant_session
from haven.identity.models import User
from haven.notifications import service
from haven.operations.models import Job
from haven.payments import service as payments
from haven.payments.models import Payment
from haven.payments.statuses import event
from tests.notifications.conftest import reach, told
from tests.payments.test_callbacks import failed_body, hear, paid_body
from tests.support.builders import a_lease, a_payment, a_phone


@pytest.fixture
def admin(house, caller_of):
    return caller_of(agency_id=house.agency_id)


@pytest.fixture
def reachable(engine, house):
    reach(engine, house, email="Wanjiku@Example.test", phone="+254712345678", full_name="Wanjiku Kamau")
    return house


def shown(house):
    return sorted((one.kind, one.channel, one.recipient) for one in told(house))


def test_the_tenant_and_the_administrators_are_told_of_money_that_came(reachable, admin):
    push = reachable.start(a_phone())
    hear(reachable, push, paid_body())
    assert shown(reachable) == sorted(
        [
            ("PAYMENT_COMPLETED", "EMAIL", "wanjiku@example.test"),
            ("PAYMENT_COMPLETED", "SMS", "+254712345678"),
            ("PAYMENT_COMPLETED", "EMAIL", admin.email),
        ]
    )
    by_recipient = {one.recipient: one for one in told(reachable)}
    mail = by_recipient["wanjiku@example.test"]
    assert mail.subject.startswith("Payment received: KES 25,000.00 for A")
    assert mail.subject.endswith(", Jacaranda Court")
    assert "Dear Wanjiku Kamau," in mail.body
    assert "Receipt: RCT-000001" in mail.body
    assert "Reference: UKO1ABCDEF" in mail.body
    assert mail.body.endswith("Upeo Estates\n")
    assert by_recipient["+254712345678"].body.startswith("Upeo Estates: KES 25,000.00 received for A")
    assert by_recipient[admin.email].subject.startswith("Wanjiku Kamau paid KES 25,000.00 for A")
    assert {(one.status, one.language) for one in told(reachable)} == {("QUEUED", "en")}
    assert not [one for one in told(reachable) if "{" in one.subject + one.body]


def test_a_failed_payment_says_why_and_a_late_one_is_told_too(reachable, admin):
    push = reachable.start(a_phone())
    hear(reachable, push, failed_body(2001))
    failed = [one for one in told(reachable) if one.kind == "PAYMENT_FAILED"]
    assert len(failed) == 3
    assert all("The PIN was wrong." in one.body for one in failed)
    hear(reachable, push, paid_body())
    assert [one.kind for one in told(reachable)][3:] == ["PAYMENT_COMPLETED"] * 3


def test_what_needs_a_person_tells_the_tenant_to_wait_and_the_agency_to_act(reachable, admin):
    push = reachable.start(a_phone())
    hear(reachable, push, paid_body(amount=999))
    by_recipient = {one.recipient: one for one in told(reachable)}
    assert {one.kind for one in by_recipient.values()} == {"PAYMENT_NEEDS_REVIEW"}
    assert "do not pay again" in by_recipient["wanjiku@example.test"].body
    assert "do not pay again" in by_recipient["+254712345678"].body
    assert "999" in by_recipient[admin.email].body
    assert str(push.payment_id) in by_recipient[admin.email].body


def test_whatever_comes_twice_is_told_once(reachable, admin):
    push = reachable.start(a_phone())
    for body in (failed_body(1037), failed_body(1037), paid_body(), paid_body()):
        hear(reachable, push, body)
    assert len(told(reachable)) == 6
    with reachable.session() as session:
        assert session.query(Job).filter_by(kind="notification_send").count() == 2


def test_money_recorded_by_hand_is_told_of(reachable, admin):
    a_payment(reachable.engine, reachable.agency_id, reachable.lease_id, "500.00")
    assert len(told(reachable)) == 3
    assert "Paid by: CASH" in told(reachable)[0].body


def test_whom_was_told_what_can_be_read(reachable, admin, caller_of):
    payment_id = a_payment(reachable.engine, reachable.agency_id, reachable.lease_id, "500.00")
    shown = admin.get(f"/payments/{payment_id}/notifications").get_json()["notifications"]
    assert {(one["channel"], one["recipient"], one["status"]) for one in shown} == {
        ("EMAIL", "wanjiku@example.test", "QUEUED"),
        ("SMS", "+254712345678", "QUEUED"),
        ("EMAIL", admin.email, "QUEUED"),
    }
    assert caller_of().get(f"/payments/{payment_id}/notifications").status_code == 404


def test_nobody_to_tell_is_no_row_and_no_job(engine, house):
    reach(engine, house, email=None, phone=None)
    a_payment(house.engine, house.agency_id, house.lease_id)
    assert told(house) == []
    with house.session() as session:
        assert session.query(Job).filter_by(kind="notification_send").count() == 0


def test_only_active_administrators_of_the_agency_are_told(engine, house, admin, caller_of):
    reach(engine, house, email=None, phone=None)
    caller_of("VIEWER", house.agency_id)
    caller_of()  # of another agency
    gone = caller_of(agency_id=house.agency_id)
    with tenant_session(engine, house.agency_id) as session:
        session.execute(update(User).where(User.id == gone.user_id).values(status="DISABLED"))
    a_payment(house.engine, house.agency_id, house.lease_id)
    assert [one.recipient for one in told(house)] == [admin.email]


def test_telling_reads_a_few_rows_by_their_keys_however_many_leases_there_are(reachable, admin):
    """As a join it read every lease for every tenant, as long as the tables had not been analysed."""
    for _ in range(40):
        lease_id = a_lease(reachable.engine, reachable.agency_id)
    payment_id = a_payment(reachable.engine, reachable.agency_id, lease_id)
    explain = text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {service.QUEUE}")
    with reachable.session() as session:
        payment = session.get_one(Payment, (reachable.agency_id, payment_id))
        values = service.values_of(session, "PAYMENT_FAILED", payment_id, event(payment))
        plan = session.execute(explain, values).scalar_one()[0]["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 150, plan


def test_a_payment_that_is_rolled_back_tells_nobody(reachable):
    with Session(reachable.engine) as session:
        set_tenant(session, Tenant(reachable.agency_id))
        payments.create(session, {"lease_id": reachable.lease_id, "amount": Decimal(500), "method": "CASH"})
        session.rollback()
    assert told(reachable) == []
