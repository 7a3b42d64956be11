"""Webhooks as Standard Webhooks has them: three headers, one signature, tried again until they are taken."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import hashlib
import hmac
import json
import re

import pytest
from sqlalchemy import update

from haven.db.session import tenant_session
from haven.operations import webhook_endpoints, webhooks
from haven.operations.kinds import KINDS
from haven.operations.models import Job, WebhookDelivery
from haven.runtime import Runtime
from tests.support.builders import an_agency
from workers.runner import run_job


@pytest.fixture
def agency(engine):
    return an_agency(engine)


@pytest.fixture
def runtime(settings, engine):
    return Runtime.start(settings, engine)


@pytest.fixture
def open_runtime(settings, engine):
    """A Haven that may reach receivers on the loopback."""
    return Runtime.start(dataclasses.replace(settings, webhook_private_addresses=True), engine)


def emit(engine, agency, settings, url):
    """Tell a new webhook of one event that it wants and one that it does not; the job, and the secret."""
    with tenant_session(engine, agency) as session:
        _, secret = webhook_endpoints.create(
            session, settings.secret_key, {"url": url, "events": ["invoice.issued"]}
        )
    with tenant_session(engine, agency) as session:
        webhooks.emit(session, "invoice.issued", {"number": "INV-000001"})
        webhooks.emit(session, "payment.failed", {})
    with tenant_session(engine, agency) as session:
        (job,) = session.query(Job).filter_by(kind="webhook_deliver").all()
        return job.id, secret


def delivery(engine, agency):
    with tenant_session(engine, agency) as session:
        return session.query(WebhookDelivery).one()


def job_of(engine, agency, job_id):
    with tenant_session(engine, agency) as session:
        return session.get(Job, (agency, job_id))


def run_again(engine, agency, runtime, job_id):
    """Run the job at once, though it was to wait."""
    with tenant_session(engine, agency) as session:
        session.execute(update(Job).where(Job.id == job_id).values(run_after=dt.datetime.now(dt.UTC)))
    return run_job(runtime, agency, job_id)


def test_the_signature_is_that_of_the_standards_own_example():
    signature = webhooks.sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_page_about_webhooks_shows_how_to_check_a_delivery(
    engine, agency, settings, open_runtime, receiver, checkout
):
    (example,) = re.findall(r"```python\n(.*?)```", (checkout / "docs/webhooks.md").read_text(), re.DOTALL)
    page: dict = {}
    exec(example, page)
    job_id, secret = emit(engine, agency, settings, receiver.url)
    run_job(open_runtime, agency, job_id)
    ((headers, body),) = receiver.heard
    assert page["is_genuine"](secret, headers, body)
    assert not page["is_genuine"](secret, headers, body + b" ")
    assert not page["is_genuine"](webhooks.new_secret(), headers, body)


def test_a_secret_is_256_bits_in_base64():
    made = {webhooks.new_secret() for _ in range(50)}
    assert len(made) == 50
    assert {len(base64.b64decode(one.removeprefix("whsec_"), validate=True)) for one in made} == {32}


def test_an_event_is_delivered_signed(engine, agency, settings, open_runtime, receiver):
    job_id, secret = emit(engine, agency, settings, receiver.url)
    assert run_job(open_runtime, agency, job_id) == "SUCCEEDED"
    ((headers, body),) = receiver.heard
    sent = delivery(engine, agency)
    message_id, at = headers["webhook-id"], headers["webhook-timestamp"]
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = hmac.new(key, f"{message_id}.{at}.".encode() + body, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"
    assert message_id == str(sent.id)
    assert abs(int(at) - dt.datetime.now(dt.UTC).timestamp()) < 60
    said = json.loads(body)
    assert said.keys() == {"type", "timestamp", "data"}
    assert (said["type"], said["data"]) == ("invoice.issued", {"number": "INV-000001"})
    assert dt.datetime.fromisoformat(said["timestamp"]) == sent.created_at
    assert (sent.status, sent.last_status) == ("DELIVERED", 200)


@pytest.mark.parametrize("status", [302, 500])
def test_what_is_not_taken_is_tried_again_as_the_same_message(
    engine, agency, settings, open_runtime, receiver, status
):
    receiver.status = status
    job_id, _ = emit(engine, agency, settings, receiver.url)
    assert run_job(open_runtime, agency, job_id) == "FAILED"
    assert job_of(engine, agency, job_id).status == "SCHEDULED"
    assert (delivery(engine, agency).status, delivery(engine, agency).last_status) == ("PENDING", status)

    receiver.status = 204
    assert run_again(engine, agency, open_runtime, job_id) == "SUCCEEDED"
    (first, first_body), (second, second_body) = receiver.heard
    assert first["webhook-id"] == second["webhook-id"]
    assert first_body == second_body
    assert delivery(engine, agency).status == "DELIVERED"


def test_a_receiver_that_does_not_answer_is_left_alone_for_a_while_by_its_agency_alone(
    engine, agency, settings, receiver
):
    runtime = Runtime.start(
        dataclasses.replace(settings, webhook_private_addresses=True, breaker_minimum_calls=2), engine
    )
    receiver.status = 503
    job_id, _ = emit(engine, agency, settings, receiver.url)
    run_job(runtime, agency, job_id)
    run_again(engine, agency, runtime, job_id)
    assert run_again(engine, agency, runtime, job_id) == "FAILED"
    assert len(receiver.heard) == 2
    refused = delivery(engine, agency)
    assert (refused.status, refused.tries, refused.last_status) == ("PENDING", 3, None)
    assert "not called: the receiver does not answer; left alone for another" in (refused.last_error or "")
    assert job_of(engine, agency, job_id).status == "SCHEDULED"

    other = an_agency(engine)
    job_id, _ = emit(engine, other, settings, receiver.url)
    run_job(runtime, other, job_id)
    assert len(receiver.heard) == 3


def test_one_that_is_never_taken_has_failed_in_the_log(
    engine, agency, settings, open_runtime, receiver, monkeypatch
):
    monkeypatch.setitem(
        KINDS, "webhook_deliver", dataclasses.replace(KINDS["webhook_deliver"], max_attempts=2)
    )
    receiver.status = 500
    job_id, _ = emit(engine, agency, settings, receiver.url)
    run_job(open_runtime, agency, job_id)
    assert delivery(engine, agency).status == "PENDING"
    run_again(engine, agency, open_runtime, job_id)
    assert delivery(engine, agency).status == "FAILED"
    assert job_of(engine, agency, job_id).status == "FAILED"


def test_a_webhook_does_not_reach_into_the_operators_network(engine, agency, settings, runtime, receiver):
    job_id, _ = emit(engine, agency, settings, receiver.url)
    assert run_job(runtime, agency, job_id) == "FAILED"
    assert "not a public one" in job_of(engine, agency, job_id).error
    assert receiver.heard == []
