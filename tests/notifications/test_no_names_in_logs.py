"""Whatever goes wrong with a message, no log has an address or a phone in it."""

from __future__ import annotations

import dataclasses
import logging

import pytest

from extensions.logs import configure_logging
from haven.embedded_servers import free_port
from haven.operations.models import Job
from haven.runtime import Runtime
from tests.notifications.conftest import reach, told
from tests.support.builders import a_payment
from workers.runner import run_job

PHONE = "+254798765406"


@pytest.mark.parametrize("address", ["wanjiku.secret@example.test", "wanjiku.secret@@example.test"])
@pytest.mark.parametrize("code", [250, 451, 550])
def test_no_log_has_an_address_or_a_phone(engine, house, settings, mail_server, caplog, capfd, address, code):
    reach(engine, house, email=address, phone=PHONE)
    a_payment(house.engine, house.agency_id, house.lease_id)
    with house.session() as session:
        job_id = session.query(Job).filter_by(kind="notification_send").one().id
    mail_server.codes["RCPT"] = code
    changes = {
        "smtp_url": mail_server.url,
        "mail_from": "a@makao.test",
        "sms_url": f"http://127.0.0.1:{free_port()}",
        "sms_username": "u",
        "sms_api_key": "hush-hush-key",
    }
    runtime = Runtime.start(dataclasses.replace(settings, **changes), engine)
    # As the worker has it.
    configure_logging("DEBUG")
    with caplog.at_level(logging.DEBUG):
        run_job(runtime, house.agency_id, job_id)
    assert {one.status for one in told(house)} <= {"SENT", "FAILED", "QUEUED"}
    logged = caplog.text + "".join(capfd.readouterr())
    assert "notification_not_sent" in logged
    for secret in ("wanjiku.secret", PHONE.removeprefix("+"), "hush-hush-key"):
        assert secret not in logged
