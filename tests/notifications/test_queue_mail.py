"""Mails to staff: queued in the caller's transaction, once, in the language that is asked for."""

from __future__ import annotations

import dataclasses
import email
import email.policy
import uuid

import pytest
from sqlalchemy.orm import Session

from haven.db.session import Tenant, set_tenant
from haven.notifications.service import queue_mail
from haven.operations.models import Job
from haven.runtime import Runtime
from tests.notifications.conftest import told
from workers.runner import run_job

EXPORT = {
    "name": "payments-2026-11.csv",
    "rows": "1,200,000",
    "size": "96 MB",
    "url": "/api/v1/exports/x/payments.csv?signature=a&expires=1",
    "expires_at": "2026-12-02 10:00",
}
REPORT = {
    "title": "Rent roll",
    "period": "November 2026",
    "url": "https://haven.test/reports/1",
    "expires_at": "2026-12-02 10:00",
}


def part_of(mail, kind):
    part = mail.get_body((kind,))
    assert part is not None
    return part.get_content()


def queue(house, **options):
    with house.session() as session:
        return queue_mail(session, **options)


def test_an_export_is_told_of_with_a_whole_link(house, settings, engine, tmp_path):
    assert queue(house, template="export_ready", recipients=["Asha@Makao.test"], values=EXPORT) == 1
    (row,) = told(house)
    assert (row.kind, row.channel, row.recipient, row.language) == (
        "EXPORT_READY",
        "EMAIL",
        "asha@makao.test",
        "en",
    )
    with house.session() as session:
        job_id = session.query(Job).filter_by(kind="notification_send").one().id
    changes = {"mail_folder": str(tmp_path), "public_url": "https://rent.makao.test"}
    runtime = Runtime.start(dataclasses.replace(settings, **changes), engine)
    assert run_job(runtime, house.agency_id, job_id) == "SUCCEEDED"
    (path,) = tmp_path.glob("*.eml")
    mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    plain, html = (part_of(mail, kind) for kind in ("plain", "html"))
    assert f"\nhttps://rent.makao.test{EXPORT['url']}\n" in plain
    assert 'href="https://rent.makao.test/api/v1/exports/x/payments.csv?signature=a&amp;expires=1"' in html
    assert told(house)[0].status == "SENT"


@pytest.mark.parametrize("template, values", [("export_ready", EXPORT), ("report_ready", REPORT)])
@pytest.mark.parametrize("language", ["en", "sw"])
def test_every_value_is_in_the_mail_in_both_languages(house, template, values, language):
    queue(house, template=template, recipients=["a@b.test"], values=values, language=language)
    (row,) = told(house)
    assert row.language == language
    said = row.subject + row.body
    assert not [one for one in values.values() if one not in said]
    assert "{" not in said


def test_the_same_thing_is_told_once_to_each(house):
    about = {
        "template": "report_ready",
        "recipients": ["a@b.test", " A@b.test", "c@d.test"],
        "values": REPORT,
        "about_id": uuid.uuid4(),
    }
    assert queue(house, **about) == 2
    assert queue(house, **about) == 0
    assert len(told(house)) == 2


def test_nobody_to_tell_is_no_row(house):
    assert queue(house, template="report_ready", recipients=[], values=REPORT) == 0
    assert told(house) == []


def test_a_value_that_is_missing_is_said_at_once(house):
    with pytest.raises(KeyError):
        queue(house, template="report_ready", recipients=["a@b.test"], values={"title": "x"})


def test_what_is_rolled_back_is_not_sent(house):
    with Session(house.engine) as session:
        set_tenant(session, Tenant(house.agency_id))
        queue_mail(session, template="report_ready", recipients=["a@b.test"], values=REPORT)
        session.rollback()
    assert told(house) == []
