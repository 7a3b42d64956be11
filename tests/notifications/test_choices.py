"""What tenants want to hear, in which language; reminders of rent; and who was told what, over the API."""

from __future__ import annotations

import datetime as dt

import pytest

from extensions.database.counting import count_statements
from haven.db.session import tenant_session
from haven.identity.models import Agency
from haven.notifications.reminders import tell_of_invoices
from haven.operations.models import Job
from tests.notifications.conftest import reach, told
from tests.support.builders import a_payment, an_invoice

NOON = dt.datetime(2026, 11, 25, 9, 0, tzinfo=dt.UTC)
"""In Nairobi."""
TODAY = dt.date(2026, 11, 25)


@pytest.fixture
def reachable(engine, house):
    reach(engine, house, email="wanjiku@example.test", phone="+254712345678")
    return house


def set_up(house, **columns):
    with tenant_session(house.engine, house.agency_id, "test", is_platform=True) as session:
        agency = session.get_one(Agency, house.agency_id)
        for name, value in columns.items():
            setattr(agency, name, value)


def clock(house, now=NOON):
    with house.session() as session:
        return tell_of_invoices(session, now)


def shown(house):
    return sorted((one.kind, one.occasion, one.channel) for one in told(house))


def test_a_tenant_is_written_to_in_his_language_and_else_in_the_agencys(reachable):
    a_payment(reachable.engine, reachable.agency_id, reachable.lease_id)
    set_up(reachable, language="sw")
    a_payment(reachable.engine, reachable.agency_id, reachable.lease_id)
    reach(reachable.engine, reachable, language="en")
    a_payment(reachable.engine, reachable.agency_id, reachable.lease_id)
    mails = [one for one in told(reachable) if one.channel == "EMAIL"]
    assert [one.language for one in mails] == ["en", "sw", "en"]
    assert [one.subject.split(":")[0] for one in mails] == [
        "Payment received",
        "Malipo yamepokelewa",
        "Payment received",
    ]


@pytest.mark.parametrize(
    "opt_outs, channels",
    [
        ([], {"EMAIL", "SMS"}),
        (["SMS"], {"EMAIL"}),
        (["SMS:PAYMENT_COMPLETED"], {"EMAIL"}),
        (["EMAIL:PAYMENT_COMPLETED", "SMS:RENT_DUE"], {"SMS"}),
        (["EMAIL", "SMS"], set()),
    ],
)
def test_what_a_tenant_does_not_want_is_not_sent(reachable, opt_outs, channels):
    reach(reachable.engine, reachable, opt_outs=opt_outs)
    a_payment(reachable.engine, reachable.agency_id, reachable.lease_id)
    assert {one.channel for one in told(reachable)} == channels


def test_reminders_come_on_their_days_once(reachable):
    set_up(reachable, reminders_before_due=[3, 0], reminders_after_due=[7])
    for days in (3, 2, 0, -7, -8):
        an_invoice(
            reachable.engine, reachable.agency_id, reachable.lease_id, due=TODAY + dt.timedelta(days=days)
        )
    assert clock(reachable) == 6
    assert clock(reachable) == 0
    assert shown(reachable) == sorted(
        (kind, occasion, channel)
        for kind, occasion in (
            ("RENT_DUE", "3 days before"),
            ("RENT_DUE", "0 days before"),
            ("RENT_OVERDUE", "7 days after"),
        )
        for channel in ("EMAIL", "SMS")
    )
    with reachable.session() as session:
        assert session.query(Job).filter_by(kind="notification_send").count() == 3


def test_twenty_five_reminders_cost_no_more_statements_than_their_two_jobs_do(reachable):
    set_up(reachable, reminders_before_due=[0])
    for _ in range(25):
        an_invoice(reachable.engine, reachable.agency_id, reachable.lease_id, due=TODAY)
    with count_statements(reachable.engine) as counted:
        assert clock(reachable) == 50
    assert counted.count <= 10, counted.statements
    with reachable.session() as session:
        jobs = session.query(Job).filter_by(kind="notification_send").order_by(Job.id).all()
        assert [len(job.arguments["about_ids"]) for job in jobs] == [20, 5]
        assert {job.arguments["occasion"] for job in jobs} == {"0 days before"}


def test_nobody_is_reminded_at_night_or_of_what_is_paid_or_where_the_agency_does_not_want_it(reachable):
    invoice_id = an_invoice(reachable.engine, reachable.agency_id, reachable.lease_id, due=TODAY)
    assert clock(reachable) == 0
    set_up(reachable, reminders_before_due=[0])
    assert clock(reachable, NOON.replace(hour=22)) == 0
    a_payment(reachable.engine, reachable.agency_id, reachable.lease_id, invoice_id=invoice_id)
    assert clock(reachable) == 0


def test_who_cannot_be_reached_is_not_looked_at_again_and_again(reachable):
    set_up(reachable, reminders_before_due=[0])
    reach(reachable.engine, reachable, opt_outs=["EMAIL", "SMS:RENT_DUE"])
    an_invoice(reachable.engine, reachable.agency_id, reachable.lease_id, due=TODAY)
    assert clock(reachable) == 0
    assert told(reachable) == []


def test_an_invoice_is_told_of_where_the_agency_wants_it(reachable):
    now = dt.datetime.now(dt.UTC).replace(hour=9)
    assert clock(reachable, now) == 0
    set_up(reachable, notify_invoices=True)
    assert clock(reachable, now) == 2
    assert clock(reachable, now) == 0
    assert {one.kind for one in told(reachable)} == {"INVOICE_ISSUED"}


def test_over_the_api(reachable, caller_of):
    admin = caller_of(agency_id=reachable.agency_id)
    tenant = admin.get("/tenants").get_json()["data"][0]
    changed = admin.patch(f"/tenants/{tenant['id']}", {"language": "sw", "opt_outs": ["SMS"]})
    assert changed.status_code == 200
    assert (changed.get_json()["language"], changed.get_json()["opt_outs"]) == ("sw", ["SMS"])
    for wrong in ({"language": "fr"}, {"opt_outs": ["PIGEON"]}):
        assert admin.patch(f"/tenants/{tenant['id']}", wrong).status_code == 422
    agency = admin.patch(f"/agencies/{reachable.agency_id}", {"reminders_before_due": [3], "language": "sw"})
    assert (agency.status_code, agency.get_json()["reminders_before_due"]) == (200, [3])
    for days in ([3, 3], [-1], [61], [1, 2, 3, 4, 5, 6]):
        assert (
            admin.patch(f"/agencies/{reachable.agency_id}", {"reminders_after_due": days}).status_code == 422
        )

    a_payment(reachable.engine, reachable.agency_id, reachable.lease_id)
    listed = admin.get(f"/notifications?tenant_id={tenant['id']}&kind=PAYMENT_COMPLETED").get_json()["data"]
    assert [(one["channel"], one["recipient"], one["language"]) for one in listed] == [
        ("EMAIL", "wanjiku@example.test", "sw")
    ]
    one = listed[0]
    assert admin.get(f"/notifications/{one['id']}").get_json() == one
    assert admin.post(f"/notifications/{one['id']}/resend").status_code == 409
    with reachable.session() as session:
        from haven.notifications.models import Notification

        session.query(Notification).update({"status": "FAILED", "last_error": "no", "tries": 12})
    resent = admin.post(f"/notifications/{one['id']}/resend")
    assert (resent.status_code, resent.get_json()["status"], resent.get_json()["tries"]) == (202, "QUEUED", 0)
    viewer = caller_of("VIEWER", reachable.agency_id)
    assert viewer.post(f"/notifications/{one['id']}/resend").status_code == 403
