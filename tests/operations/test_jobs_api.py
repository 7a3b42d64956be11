"""The jobs of an agency over the API: one's own and all, the queues' numbers, pausing, emptying, running failures again."""

from __future__ import annotations

import dataclasses
import uuid

import pytest
import structlog
from sqlalchemy import select

from haven.db.session import tenant_session
from haven.operations import jobs
from haven.operations.models import Job, WebhookDelivery
from haven.runtime import Runtime
from tests.api.conftest import caller_of, let_a_flat
from tests.support.builders import an_agency
from workers.runner import run_job

__all__ = ["caller_of"]


def _ask(engine, by, kind="verify_books"):
    with tenant_session(engine, by.agency_id, f"key:{uuid.uuid4()}") as session:
        return str(jobs.submit(session, kind, {}))


def _ids(answer):
    return {row["id"] for row in answer.get_json()["data"]}


def test_everybody_lists_the_jobs_he_asked_for_and_an_administrator_all(engine, caller_of):
    admin = caller_of()
    manager = caller_of("MANAGER", admin.agency_id)
    own = manager.made("/invoices/run", period="2026-11")["id"]
    other = _ask(engine, admin)
    assert _ids(manager.get("/jobs/history")) == {own}
    assert _ids(admin.get("/jobs/history")) == {own, other}
    # Nor by its id: what it made may be a file that its caller alone may have.
    (mine,) = manager.get("/jobs/history").get_json()["data"]
    assert manager.get(f"/jobs/{mine['queue']}/{own}").status_code == 200
    for method, path in (("GET", ""), ("GET", "/events"), ("DELETE", ""), ("POST", "/retry")):
        assert manager(method, f"/jobs/maintenance/{other}{path}").status_code == 404
    assert admin.get(f"/jobs/maintenance/{other}").status_code == 200


def test_the_numbers_of_the_queues(engine, settings, caller_of):
    admin = caller_of()
    run_job(Runtime.start(settings, engine), admin.agency_id, uuid.UUID(_ask(engine, admin)))
    _ask(engine, admin)
    answer = admin.get("/jobs/stats").get_json()
    (row,) = (one for one in answer["queues"] if one["queue"] == "maintenance")
    assert (row["waiting"], row["succeeded"], row["failed"], row["is_paused"]) == (1, 1, 0, False)
    assert row["oldest_wait_s"] >= 0
    assert caller_of("VIEWER", admin.agency_id).get("/jobs/stats").status_code == 403


def test_an_operator_pauses_a_queue_and_an_administrator_does_not(engine, settings, caller_of):
    operator, admin = caller_of("PLATFORM_ADMIN"), caller_of()
    runtime = Runtime.start(settings, engine)
    job_id = _ask(engine, admin)
    assert admin.post("/jobs/queues/maintenance/pause").status_code == 403
    assert operator.post("/jobs/queues/nothing/pause").status_code == 404
    assert operator.post("/jobs/queues/maintenance/pause").get_json()["is_paused"] is True
    try:
        assert run_job(runtime, admin.agency_id, uuid.UUID(job_id)) == "SKIPPED"
        assert admin.get("/jobs/stats").get_json()["queues"][-1]["is_paused"] is True
    finally:
        assert operator.post("/jobs/queues/maintenance/resume").get_json()["is_paused"] is False
    assert run_job(runtime, admin.agency_id, uuid.UUID(job_id)) == "SUCCEEDED"


def test_emptying_cancels_what_waits_of_ones_own_agency_and_failures_run_again(engine, caller_of):
    admin, other = caller_of(), caller_of()
    mine, theirs = _ask(engine, admin), _ask(engine, other)
    assert admin.post("/jobs/queues/maintenance/empty").get_json() == {"queue": "maintenance", "jobs": 1}
    assert admin.get(f"/jobs/maintenance/{mine}").get_json()["status"] == "CANCELLED"
    assert other.get(f"/jobs/maintenance/{theirs}").get_json()["status"] == "QUEUED"
    with tenant_session(engine, admin.agency_id) as session:
        session.get_one(Job, (admin.agency_id, uuid.UUID(mine))).status = "FAILED"
    assert admin.post("/jobs/queues/maintenance/requeue").get_json()["jobs"] == 1
    assert admin.get(f"/jobs/maintenance/{mine}").get_json()["status"] == "QUEUED"


def test_operators_see_what_the_clock_did(engine, caller_of):
    from haven.operations import maintenance

    maintenance.begin_due(engine, {"t_shown": 60})
    maintenance.finish(engine, "t_shown", 3, [])
    rows = caller_of("PLATFORM_ADMIN").get("/monitoring/maintenance").get_json()["tasks"]
    (row,) = (one for one in rows if one["name"] == "t_shown")
    assert (row["status"], row["rows"], row["error"]) == ("OK", 3, None)
    assert caller_of().get("/monitoring/maintenance").status_code == 403


def test_a_webhook_hears_when_a_job_that_somebody_asked_for_has_ended(engine, settings, caller_of):
    admin = caller_of()
    admin.made("/webhooks", url="https://makao.test/events", events=["job.finished"])
    job_id = _ask(engine, admin)
    run_job(Runtime.start(settings, engine), admin.agency_id, uuid.UUID(job_id))
    with tenant_session(engine, admin.agency_id) as session:
        (told,) = session.query(WebhookDelivery).all()
    assert (told.event, told.payload["id"], told.payload["status"]) == ("job.finished", job_id, "SUCCEEDED")


def test_a_webhook_does_not_hear_of_messages_being_sent(engine, settings, caller_of):
    """Each payment would be told of three times: itself, its messages, and the sending of the webhook that tells of it."""
    admin = caller_of()
    admin.made("/webhooks", url="https://makao.test/events", events=["job.finished", "payment.completed"])
    flat = let_a_flat(admin)
    admin.made("/payments", lease_id=flat.lease["id"], amount="1000.00", method="CASH", reference="S 1")
    with tenant_session(engine, admin.agency_id) as session:
        (job_id,) = session.scalars(select(Job.id).where(Job.kind == "notification_send"))
    run_job(Runtime.start(settings, engine), admin.agency_id, job_id)
    with tenant_session(engine, admin.agency_id) as session:
        assert session.get_one(Job, (admin.agency_id, job_id)).status == "SUCCEEDED"
        assert session.scalars(select(WebhookDelivery.event)).all() == ["payment.completed"]


def test_a_job_knows_the_request_and_the_trace_that_asked_for_it(engine, settings, caller_of):
    admin = caller_of()
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01", "X-Request-ID": "request-of-rent"}
    made = admin.post("/invoices/run", {"period": "2026-11"}, **headers).get_json()
    job_id = uuid.UUID(made["id"])
    with tenant_session(engine, admin.agency_id) as session:
        job = session.get_one(Job, (admin.agency_id, job_id))
    assert (job.request_id, job.trace_id) == ("request-of-rent", trace)
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as logs:
        run_job(Runtime.start(settings, engine), admin.agency_id, job_id)
    (said,) = (one for one in logs if one["event"] == "job_succeeded")
    assert (said["request_id"], said["trace_id"]) == ("request-of-rent", trace)


@pytest.mark.parametrize("attempts", [1, 5])
def test_a_kind_without_a_number_has_as_many_attempts_as_the_setting_says(engine, settings, attempts):
    agency = an_agency(engine)
    runtime = Runtime.start(dataclasses.replace(settings, max_job_attempts=attempts), engine)
    with jobs.job_session(runtime, agency, "tests") as session:
        job_id = jobs.submit(session, "verify_books", {})
        assert session.get_one(Job, (agency, job_id)).max_attempts == attempts


def test_without_a_job_queue_a_job_runs_after_the_commit_and_not_after_a_rollback(engine, settings):
    agency = an_agency(engine)
    runtime = Runtime.start(dataclasses.replace(settings, enable_job_queue=False), engine)
    with jobs.job_session(runtime, agency, "tests") as session:
        job_id = jobs.submit(session, "verify_books", {})
        wrong = jobs.submit(session, "rent_run", {"period": "2026-13"})
    with tenant_session(engine, agency) as session:
        assert session.get_one(Job, (agency, job_id)).status == "SUCCEEDED"
        failed = session.get_one(Job, (agency, wrong))
        assert failed.status in ("SCHEDULED", "FAILED")
        assert failed.error
