"""Sending: by SMTP, into a folder; tried again where that helps, and honest where it does not."""

from __future__ import annotations

import dataclasses
import datetime as dt
import email
import email.policy
import uuid

import pytest
from sqlalchemy import update

from haven.db.session import tenant_session
from haven.embedded_servers import free_port
from haven.notifications.channels import Message, NotTaken, Undeliverable, send_mail
from haven.operations.kinds import KINDS
from haven.operations.models import Job
from haven.runtime import Runtime
from tests.notifications.conftest import reach, told
from tests.payments.test_callbacks import failed_body, hear, paid_body
from tests.support.builders import a_payment, a_phone
from workers.runner import run_job


@pytest.fixture
def runtime_with(settings, engine):
    def make(**changes):
        return Runtime.start(dataclasses.replace(settings, **changes), engine)

    return make


@pytest.fixture
def queued(engine, house):
    """A payment that its tenant is told of by e-mail: the job that does it."""
    reach(engine, house, email="wanjiku@example.test", phone=None, full_name="Ngũgĩ")
    a_payment(house.engine, house.agency_id, house.lease_id)
    with house.session() as session:
        return session.query(Job).filter_by(kind="notification_send").one().id


def run_again(engine, house, runtime, job_id):
    with tenant_session(engine, house.agency_id) as session:
        session.execute(update(Job).where(Job.id == job_id).values(run_after=dt.datetime.now(dt.UTC)))
    return run_job(runtime, house.agency_id, job_id)


def read(raw):
    return email.message_from_bytes(raw, policy=email.policy.default)


def test_by_smtp(house, queued, runtime_with, mail_server):
    runtime = runtime_with(smtp_url=mail_server.url, mail_from="Makao Rent <rent@makao.test>")
    assert run_job(runtime, house.agency_id, queued) == "SUCCEEDED"
    (row,) = told(house)
    assert (row.status, row.tries, row.last_error) == ("SENT", 1, None)
    assert row.sent_at is not None
    (raw,) = mail_server.mails
    mail = read(raw)
    assert mail["From"] == "Makao Rent <rent@makao.test>"
    assert mail["To"] == "wanjiku@example.test"
    assert mail["Subject"] == row.subject
    assert mail["Message-ID"] == f"<{row.id}@makao.test>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert "Dear Ngũgĩ," in mail.get_body(("plain",)).get_content()
    assert "<p>Dear Ngũgĩ,</p>" in mail.get_body(("html",)).get_content()
    # Sent is sent, however often the job runs.
    assert run_job(runtime, house.agency_id, queued) == "SKIPPED"
    assert len(mail_server.mails) == 1


def test_into_a_folder_where_there_is_no_mail_server(house, queued, runtime_with, tmp_path):
    folder = tmp_path / "new" / "mail"
    assert run_job(runtime_with(mail_folder=str(folder)), house.agency_id, queued) == "SUCCEEDED"
    (row,) = told(house)
    (path,) = folder.iterdir()
    assert path.name == f"{row.id}.eml"
    assert read(path.read_bytes())["Subject"] == row.subject


def test_each_job_sends_its_own_kind_alone(engine, house, runtime_with, tmp_path):
    """Two jobs about one payment may run at once: neither sends what the other one does."""
    reach(engine, house, email="wanjiku@example.test", phone=None)
    push = house.start(a_phone())
    for body in (failed_body(1037), paid_body()):
        hear(house, push, body)
    with house.session() as session:
        jobs = session.query(Job).filter_by(kind="notification_send").order_by(Job.id).all()
    runtime = runtime_with(mail_folder=str(tmp_path))
    assert run_job(runtime, house.agency_id, jobs[1].id) == "SUCCEEDED"
    assert [(one.kind, one.status) for one in told(house)] == [
        ("PAYMENT_FAILED", "QUEUED"),
        ("PAYMENT_COMPLETED", "SENT"),
    ]


def test_with_no_mail_set_up_it_says_so_and_is_not_tried_again(house, queued, runtime_with):
    assert run_job(runtime_with(), house.agency_id, queued) == "SUCCEEDED"
    (row,) = told(house)
    assert (row.status, row.last_error) == ("FAILED", "No e-mail is set up: set SMTP_URL and MAIL_FROM.")


def test_an_sms_says_that_there_is_no_gateway_and_the_mail_goes_all_the_same(
    engine, house, runtime_with, tmp_path
):
    reach(engine, house, email="wanjiku@example.test", phone="+254712345678")
    a_payment(house.engine, house.agency_id, house.lease_id)
    with house.session() as session:
        job_id = session.query(Job).filter_by(kind="notification_send").one().id
    assert run_job(runtime_with(mail_folder=str(tmp_path)), house.agency_id, job_id) == "SUCCEEDED"
    states = {one.channel: (one.status, one.last_error) for one in told(house)}
    assert states == {
        "EMAIL": ("SENT", None),
        "SMS": ("FAILED", "No SMS gateway is set up: this message was not sent."),
    }


def test_a_server_that_is_away_or_busy_is_tried_again(engine, house, queued, runtime_with, mail_server):
    away = runtime_with(smtp_url=f"smtp://127.0.0.1:{free_port()}", mail_from="a@makao.test")
    assert run_job(away, house.agency_id, queued) == "FAILED"
    (row,) = told(house)
    assert (row.status, row.tries) == ("QUEUED", 1)
    assert "cannot be reached" in (row.last_error or "")

    here = runtime_with(smtp_url=mail_server.url, mail_from="a@makao.test")
    mail_server.codes["RCPT"] = 451
    assert run_again(engine, house, here, queued) == "FAILED"
    assert "(451)" in (told(house)[0].last_error or "")

    mail_server.codes.clear()
    assert run_again(engine, house, here, queued) == "SUCCEEDED"
    (row,) = told(house)
    assert (row.status, row.tries, row.last_error) == ("SENT", 3, None)


def test_a_mail_server_that_does_not_answer_is_left_alone_for_a_while(
    engine, house, queued, runtime_with, mail_server
):
    runtime = runtime_with(smtp_url=mail_server.url, mail_from="a@makao.test", breaker_minimum_calls=2)
    mail_server.codes["MAIL"] = 421
    run_job(runtime, house.agency_id, queued)
    run_again(engine, house, runtime, queued)
    said = len(mail_server.said)
    assert run_again(engine, house, runtime, queued) == "FAILED"
    assert len(mail_server.said) == said
    (row,) = told(house)
    assert (row.status, row.tries) == ("QUEUED", 3)
    assert (row.last_error or "").startswith("The mail server does not answer; not called for another ")


def test_a_mail_server_that_refuses_one_message_is_called_for_the_next(
    engine, house, queued, runtime_with, mail_server
):
    runtime = runtime_with(smtp_url=mail_server.url, mail_from="a@makao.test", breaker_minimum_calls=2)
    mail_server.codes["RCPT"] = 451
    run_job(runtime, house.agency_id, queued)
    for _ in range(3):
        run_again(engine, house, runtime, queued)
    mail_server.codes.clear()
    assert run_again(engine, house, runtime, queued) == "SUCCEEDED"


@pytest.mark.parametrize("verb", ["RCPT", "MAIL", "DATA"])
def test_what_the_server_refuses_for_good_is_not_tried_again(house, queued, runtime_with, mail_server, verb):
    mail_server.codes[verb] = 550
    runtime = runtime_with(smtp_url=mail_server.url, mail_from="a@makao.test")
    assert run_job(runtime, house.agency_id, queued) == "SUCCEEDED"
    (row,) = told(house)
    assert row.status == "FAILED"
    assert "(550)" in (row.last_error or "")


def test_after_the_last_try_it_has_failed(engine, house, queued, runtime_with, monkeypatch):
    kind = dataclasses.replace(KINDS["notification_send"], max_attempts=2)
    monkeypatch.setitem(KINDS, "notification_send", kind)
    away = runtime_with(smtp_url=f"smtp://127.0.0.1:{free_port()}", mail_from="a@makao.test")
    run_job(away, house.agency_id, queued)
    run_again(engine, house, away, queued)
    assert told(house)[0].status == "FAILED"


def a_message(**changes):
    message = Message(uuid.UUID(int=7), "a@b.test", "en", "Subject", "Body")
    return dataclasses.replace(message, **changes)


def test_a_password_is_not_said_in_the_clear(settings, mail_server):
    url = mail_server.url.replace("//", "//haven:hunter2@")
    with pytest.raises(NotTaken, match="no encryption") as refused:
        send_mail(dataclasses.replace(settings, smtp_url=url, mail_from="a@b.test"), a_message())
    assert "hunter2" not in str(refused.value)
    assert not [line for line in mail_server.said if "AUTH" in line]
    assert mail_server.mails == []


@pytest.mark.parametrize("recipient", ["nobody", "", "a@b\r\nBcc: c@d", "a b@c"])
def test_an_address_that_is_none_is_not_tried(settings, tmp_path, recipient):
    with pytest.raises(Undeliverable, match="cannot be written"):
        send_mail(dataclasses.replace(settings, mail_folder=str(tmp_path)), a_message(recipient=recipient))
    assert list(tmp_path.iterdir()) == []


def test_a_subject_cannot_make_a_header(settings, tmp_path):
    subject = "Rent\r\nBcc: everybody@x.test"
    send_mail(dataclasses.replace(settings, mail_folder=str(tmp_path)), a_message(subject=subject))
    mail = read(next(tmp_path.iterdir()).read_bytes())
    assert mail["Bcc"] is None
    assert mail["Subject"] == "Rent Bcc: everybody@x.test"


def test_a_folder_that_cannot_be_written_is_tried_again(settings, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NotTaken, match="MAIL_FOLDER"):
        send_mail(dataclasses.replace(settings, mail_folder=str(tmp_path / "file")), a_message())
