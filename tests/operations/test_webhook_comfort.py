"""Sending again, testing, changing the secret, and giving up a webhook that takes nothing."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import hashlib
import hmac

import pytest
from sqlalchemy import select, update

from haven.db.session import tenant_session
from haven.errors import Conflict, NotFound
from haven.notifications.models import Notification
from haven.operations import webhook_endpoints, webhooks
from haven.operations.models import Alert, Job, WebhookDelivery, WebhookEndpoint
from haven.runtime import Runtime
from tests.api.conftest import caller_of
from tests.support.builders import an_agency
from workers.runner import run_job

__all__ = ["caller_of"]


@pytest.fixture
def agency(engine):
    return an_agency(engine)


@pytest.fixture
def runtime(settings, engine):
    return Runtime.start(dataclasses.replace(settings, webhook_private_addresses=True), engine)


@pytest.fixture
def hook(engine, agency, settings, receiver):
    body = {"url": receiver.url, "events": ["invoice.issued"]}
    with tenant_session(engine, agency) as session:
        return webhook_endpoints.create(session, settings.secret_key, body)


def ask(engine, agency, act, *arguments):
    with tenant_session(engine, agency) as session:
        return act(session, *arguments)


def run_last(engine, agency, runtime):
    with tenant_session(engine, agency) as session:
        job_id = session.scalars(
            select(Job.id).where(Job.kind == "webhook_deliver").order_by(Job.id.desc()).limit(1)
        ).one()
    return run_job(runtime, agency, job_id)


def row(engine, agency, model):
    with tenant_session(engine, agency) as session:
        return session.query(model).one()


def signed(secret, headers, body):
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()}"


def test_a_test_event_comes_whatever_events_are_wanted(engine, agency, runtime, receiver, hook):
    ask(engine, agency, webhooks.send_test, hook[0])
    assert run_last(engine, agency, runtime) == "SUCCEEDED"
    ((_, body),) = receiver.heard
    assert b'"type":"webhook.test"' in body
    assert row(engine, agency, WebhookDelivery).status == "DELIVERED"


def test_what_is_sent_again_is_the_same_message(engine, agency, runtime, receiver, hook):
    delivery_id = ask(engine, agency, webhooks.send_test, hook[0])
    with pytest.raises(Conflict, match="still being sent"):
        ask(engine, agency, webhooks.redeliver, hook[0], delivery_id)
    run_last(engine, agency, runtime)
    ask(engine, agency, webhooks.redeliver, hook[0], delivery_id)
    assert (row(engine, agency, WebhookDelivery).status, row(engine, agency, WebhookDelivery).tries) == (
        "PENDING",
        0,
    )
    assert run_last(engine, agency, runtime) == "SUCCEEDED"
    (first, first_body), (second, second_body) = receiver.heard
    assert (first["webhook-id"], first_body) == (second["webhook-id"], second_body)
    with pytest.raises(NotFound):
        ask(engine, agency, webhooks.redeliver, delivery_id, delivery_id)


def test_while_the_secret_changes_both_sign(engine, agency, settings, runtime, receiver, hook):
    endpoint_id, old = hook
    new = ask(engine, agency, webhook_endpoints.rotate_secret, settings.secret_key, endpoint_id, 3600, None)
    ask(engine, agency, webhooks.send_test, endpoint_id)
    run_last(engine, agency, runtime)
    ((headers, body),) = receiver.heard
    assert headers["webhook-signature"].split(" ") == [
        signed(new, headers, body),
        signed(old, headers, body),
    ]
    with tenant_session(engine, agency) as session:
        session.execute(update(WebhookEndpoint).values(old_secret_until=dt.datetime.now(dt.UTC)))
    ask(engine, agency, webhooks.send_test, endpoint_id)
    run_last(engine, agency, runtime)
    headers, body = receiver.heard[1]
    assert headers["webhook-signature"] == signed(new, headers, body)


def test_one_that_takes_nothing_for_days_is_switched_off_and_people_are_told(
    engine, agency, runtime, receiver, hook, caller_of
):
    admin = caller_of(agency_id=agency)
    receiver.status = 500
    ask(engine, agency, webhooks.send_test, hook[0])
    run_last(engine, agency, runtime)
    endpoint = row(engine, agency, WebhookEndpoint)
    assert endpoint.status == "ACTIVE"
    assert endpoint.failing_since is not None
    with tenant_session(engine, agency) as session:
        before = dt.datetime.now(dt.UTC) - dt.timedelta(days=6)
        session.execute(update(WebhookEndpoint).values(failing_since=before))
    delivery_id = ask(engine, agency, webhooks.send_test, hook[0])
    run_last(engine, agency, runtime)
    endpoint = row(engine, agency, WebhookEndpoint)
    assert (endpoint.status, endpoint.disabled_at is None) == ("DISABLED", False)
    assert row(engine, agency, Alert).fingerprint == f"webhook_disabled/webhook:{hook[0]}"
    mail = row(engine, agency, Notification)
    assert (mail.kind, mail.recipient) == ("WEBHOOK_DISABLED", admin.email)
    assert receiver.url in mail.body
    # What still waits is not sent, and nothing more can be asked of it until it is on again.
    with tenant_session(engine, agency) as session:
        session.execute(update(Job).values(status="QUEUED", run_after=dt.datetime.now(dt.UTC)))
    heard = len(receiver.heard)
    assert run_last(engine, agency, runtime) == "SUCCEEDED"
    assert len(receiver.heard) == heard
    with pytest.raises(Conflict, match="switched off"):
        ask(engine, agency, webhooks.redeliver, hook[0], delivery_id)
    assert admin.patch(f"/webhooks/{hook[0]}", {"status": "ACTIVE"}).get_json()["failing_since"] is None
    assert row(engine, agency, Alert).state == "RESOLVED"
    receiver.status = 200
    assert admin.post(f"/webhooks/{hook[0]}/deliveries/{delivery_id}/redeliver").status_code == 202
    assert run_last(engine, agency, runtime) == "SUCCEEDED"
    assert len(receiver.heard) == heard + 1


def test_an_event_that_is_taken_forgives_what_went_before(engine, agency, runtime, receiver, hook):
    receiver.status = 500
    ask(engine, agency, webhooks.send_test, hook[0])
    run_last(engine, agency, runtime)
    receiver.status = 200
    ask(engine, agency, webhooks.send_test, hook[0])
    run_last(engine, agency, runtime)
    assert row(engine, agency, WebhookEndpoint).failing_since is None


def test_over_the_api(agency, caller_of):
    admin = caller_of(agency_id=agency)
    made = admin.made("/webhooks", url="https://makao.test/events", events=["invoice.issued"])
    rotated = admin.post(f"/webhooks/{made['id']}/rotate-secret", {"overlap_s": 60})
    assert rotated.status_code == 200
    assert rotated.get_json()["secret"] != made["secret"]
    assert rotated.get_json()["old_secret_until"] is not None
    assert admin.post(f"/webhooks/{made['id']}/rotate-secret", {"overlap_s": -1}).status_code == 422
    trail = admin.get(f"/audit?entity_id={made['id']}").get_json()["data"]
    assert all(one["changes"].get("old_secret", ["redacted"])[0] == "redacted" for one in trail)
    tested = admin.post(f"/webhooks/{made['id']}/test")
    assert (tested.status_code, tested.get_json()["event"]) == (202, "webhook.test")
