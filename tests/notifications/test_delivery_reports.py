"""The gateway says later what became of an SMS: once or twice, in any order, or of a message that is none of ours."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import func, select, update

from haven.db.base import PLATFORM, new_id
from haven.db.session import tenant_session
from haven.leasing.models import Tenant
from haven.notifications.delivery_reports import EARLY, PATH, hand_over, token
from haven.notifications.models import Notification, SmsHandover
from haven.operations.models import Job
from haven.runtime import Runtime
from tests.support.builders import a_tenant, an_agency
from workers.runner import run_job


@pytest.fixture
def sms(engine):
    """One that was handed over to the gateway: its agency, its tenant, its id and the gateway's."""
    agency_id = an_agency(engine)
    tenant_id = a_tenant(engine, agency_id, opt_outs=[])
    with tenant_session(engine, agency_id) as session:
        one = Notification(
            agency_id=agency_id, id=new_id(), about_id=new_id(), tenant_id=tenant_id, kind="RENT_DUE", channel="SMS",
            recipient="+254712345678", subject="", body="Kodi", status="SENT", provider_id=f"ATXid_{uuid.uuid4().hex}",
        )  # fmt: skip
        session.add(one)
        session.flush()
        hand_over(session, one, str(one.provider_id))
        return one


@pytest.fixture
def report(app, sms):
    def send(status, reason="", provider_id=None, at=None):
        form = {"id": provider_id or sms.provider_id, "status": status, "phoneNumber": sms.recipient}
        where = at or f"{PATH}/{token(app.extensions['haven'].settings.secret_key)}"
        return app.test_client().post(where, data=form | ({"failureReason": reason} if reason else {}))

    return send


def now(engine, sms):
    with tenant_session(engine, sms.agency_id) as session:
        return session.get_one(Notification, (sms.agency_id, sms.id))


def test_one_that_arrived_says_when(engine, sms, report):
    assert report("Buffered").status_code == 200
    assert now(engine, sms).delivered_at is None
    assert report("Success").status_code == 200
    first = now(engine, sms).delivered_at
    assert first is not None
    assert report("Success").status_code == 200
    assert report("Failed", "Late").status_code == 200
    assert (now(engine, sms).status, now(engine, sms).delivered_at) == ("SENT", first)


@pytest.mark.parametrize("status", ["Rejected", "Failed", "AbsentSubscriber", "Expired"])
def test_one_that_was_lost_has_failed_and_says_why(engine, sms, report, status):
    assert report(status, "DeliveryFailure").status_code == 200
    assert report(status, "DeliveryFailure").status_code == 200
    one = now(engine, sms)
    assert (one.status, one.delivered_at) == ("FAILED", None)
    assert one.last_error == f"The network did not deliver it ({status}: DeliveryFailure)."


def test_who_has_opted_out_at_the_network_is_sent_no_more(engine, sms, report):
    report("Failed", "UserInBlacklist")
    with tenant_session(engine, sms.agency_id) as session:
        assert session.get_one(Tenant, (sms.agency_id, sms.tenant_id)).opt_outs == ["SMS"]


def test_a_report_of_the_try_before_says_nothing_of_this_one(engine, sms, report):
    with tenant_session(engine, sms.agency_id) as session:
        one = session.get_one(Notification, (sms.agency_id, sms.id))
        one.provider_id = "ATXid_again"
    assert report("Failed").status_code == 200
    assert now(engine, sms).status == "SENT"


@pytest.mark.parametrize("given", ["ATXid_of_nobody", "\x00", "'; --", "x" * 5000, "🏠"])
def test_what_is_none_of_ours_is_heard_and_changes_nothing(engine, sms, report, given):
    assert report("Success", provider_id=given).status_code == 200
    assert now(engine, sms).delivered_at is None


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"{}", b"id", b"id=&status=", b"status=Success"])
def test_nonsense_is_heard(app, body):
    where = f"{PATH}/{token(app.extensions['haven'].settings.secret_key)}"
    assert app.test_client().post(where, data=body).status_code == 200


@pytest.mark.parametrize("wrong", ["0" * 64, "x", "é"])
def test_another_address_is_not_there(engine, sms, report, wrong):
    assert report("Success", at=f"{PATH}/{wrong}").status_code == 404
    assert now(engine, sms).delivered_at is None


def test_who_does_not_name_the_id_sees_no_handover_of_another_agency(engine, sms):
    with tenant_session(engine, an_agency(engine)) as session:
        assert session.query(SmsHandover).all() == []


# Before the gateway's id is written down


def waiting(engine):
    """The reports that wait, oldest first."""
    with tenant_session(engine, PLATFORM) as session:
        query = select(Job).where(Job.kind == EARLY, Job.status == "SCHEDULED").order_by(Job.id)
        return [
            job for job in session.scalars(query) if job.arguments["provider_id"].startswith("ATXid_early")
        ]


@pytest.fixture
def apply_waiting(engine, settings):
    """A function that runs the jobs of reports that wait, as the clock and a worker do when their time has come."""
    runtime = Runtime.start(settings, engine)

    def run():
        jobs = waiting(engine)
        with tenant_session(engine, PLATFORM) as session:
            session.execute(
                update(Job).where(Job.id.in_([job.id for job in jobs])).values(run_after=func.now())
            )
        return [run_job(runtime, PLATFORM, job.id) for job in jobs]

    return run


def take_up(engine, sms, provider_id):
    """Write the gateway's answer down, as its job does once it has it."""
    with tenant_session(engine, sms.agency_id) as session:
        one = session.get_one(Notification, (sms.agency_id, sms.id))
        one.provider_id = provider_id
        hand_over(session, one, provider_id)


@pytest.mark.parametrize("status, becomes", [("Success", "SENT"), ("Failed", "FAILED")])
def test_one_that_comes_before_its_message_is_written_down_is_kept(
    engine, sms, report, apply_waiting, status, becomes
):
    early = f"ATXid_early{uuid.uuid4().hex}"
    assert report(status, provider_id=early).status_code == 200
    assert report(status, provider_id=early).status_code == 200
    take_up(engine, sms, early)
    assert apply_waiting() == ["SUCCEEDED"], "told twice, it waits once"
    one = now(engine, sms)
    assert (one.status, one.delivered_at is not None) == (becomes, status == "Success")
    assert waiting(engine) == []


def test_one_on_its_way_is_not_kept(engine, report):
    assert report("Buffered", provider_id=f"ATXid_early{uuid.uuid4().hex}").status_code == 200
    assert waiting(engine) == []


def test_one_of_somebody_elses_message_is_forgotten_in_the_end(engine, sms, report, apply_waiting):
    assert report("Success", provider_id=f"ATXid_early{uuid.uuid4().hex}").status_code == 200
    assert apply_waiting() == ["SUCCEEDED"]
    assert waiting(engine) == []
    assert now(engine, sms).delivered_at is None
