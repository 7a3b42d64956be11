"""Alerts that the code raises: a row that lasts, a webhook, once."""

import threading
from contextlib import suppress

import pytest
from sqlalchemy import select

from haven.db.session import tenant_session
from haven.operations.alerts import PAYMENTS_NEED_REVIEW, raise_alert, resolve_alert
from haven.operations.models import Alert, AlertRule, WebhookDelivery, WebhookEndpoint
from tests.support.builders import an_agency


@pytest.fixture
def agency(engine):
    agency_id = an_agency(engine)
    with tenant_session(engine, agency_id) as session:
        session.add(
            WebhookEndpoint(
                agency_id=agency_id, url="https://x.test", events=["alert.firing"], secret=b"sealed"
            )
        )
    return agency_id


def rows(engine, agency_id, column):
    with tenant_session(engine, agency_id) as session:
        return session.scalars(select(column)).all()


def fire(engine, agency_id, subject="payment:1", **details):
    with tenant_session(engine, agency_id) as session:
        return raise_alert(session, PAYMENTS_NEED_REVIEW, subject, **details)


def test_it_fires_and_says_so_once(engine, agency):
    assert fire(engine, agency, code="NO_ANSWER")
    assert not fire(engine, agency)
    assert rows(engine, agency, Alert.state) == ["FIRING"]
    (told,) = rows(engine, agency, WebhookDelivery.payload)
    assert (told["rule"], told["subject"], told["code"]) == ("payments_need_review", "payment:1", "NO_ANSWER")
    assert told["severity"] == "CRITICAL"


def test_each_subject_has_its_own_and_all_have_one_rule(engine, agency):
    assert fire(engine, agency, "payment:1")
    assert fire(engine, agency, "payment:2")
    assert len(rows(engine, agency, Alert.id)) == 2
    assert rows(engine, agency, AlertRule.name) == ["payments_need_review"]


def test_once_it_is_over_it_can_fire_again(engine, agency):
    fire(engine, agency)
    with tenant_session(engine, agency) as session:
        resolve_alert(session, PAYMENTS_NEED_REVIEW, "payment:1")
    assert fire(engine, agency)
    assert sorted(rows(engine, agency, Alert.state)) == ["FIRING", "RESOLVED"]


def test_what_is_rolled_back_has_not_fired(engine, agency):
    with tenant_session(engine, agency) as session, suppress(RuntimeError), session.begin_nested():
        raise_alert(session, PAYMENTS_NEED_REVIEW, "payment:1")
        raise RuntimeError
    assert rows(engine, agency, Alert.id) == []
    assert rows(engine, agency, WebhookDelivery.id) == []


def test_raised_by_many_at_once_it_is_one(engine, agency):
    fired = []
    threads = [threading.Thread(target=lambda: fired.append(fire(engine, agency))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(fired) == [False] * 5 + [True]
    assert len(rows(engine, agency, WebhookDelivery.id)) == 1
