"""SMS over HTTP to the gateway of the simulator: what each answer means, and that none is sent twice."""

from __future__ import annotations

import dataclasses
import socket
import threading
import uuid

import httpx
import pytest

from haven.embedded_servers import free_port
from haven.leasing.models import Lease, Tenant
from haven.notifications import sms
from haven.notifications.channels import Message, NotReached, NotTaken, OptedOut, Undeliverable, Unknown
from haven.notifications.delivery_reports import PATH, token
from haven.notifications.models import Notification
from haven.notifications.segments import is_gsm7, segments
from haven.notifications.sms import send_sms
from haven.operations.models import Job
from haven.runtime import Runtime
from tests.mpesa.conftest import running_simulator, wait_until
from tests.notifications.conftest import reach, told
from tests.support.builders import a_payment, a_phone
from workers.runner import run_job


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mail")
    with running_simulator("--mail-folder", str(folder)) as simulator:
        yield simulator


@pytest.fixture
def with_sms(settings, gateway):
    return dataclasses.replace(
        settings, sms_url=gateway.url, sms_username="sandbox", sms_api_key="k", sms_sender_id="MAKAO"
    )


def a_message(phone, body="Habari"):
    return Message(uuid.uuid4(), phone, "sw", "", body)


def sent_to(gateway, phone):
    answer = httpx.get(f"{gateway.url}/simulator/sms", params={"to": phone}, timeout=10)
    return answer.json()["messages"]


def the_job(house):
    with house.session() as session:
        return session.query(Job).filter_by(kind="notification_send").one().id


def test_an_sms_is_sent_and_known_by_the_gateways_id(gateway, with_sms):
    phone = a_phone("0001")
    sent = send_sms(with_sms, a_message(phone, "Kodi ya {Novemba} & ñ"))
    (one,) = sent_to(gateway, phone)
    assert (one["id"], one["sender"], one["text"]) == (sent.provider_id, "MAKAO", "Kodi ya {Novemba} & ñ")


@pytest.mark.parametrize(
    "ending, raised",
    [
        ("401", Unknown),
        ("402", NotTaken),
        ("403", Undeliverable),
        ("404", Undeliverable),
        ("405", NotTaken),
        ("406", OptedOut),
        ("407", NotTaken),
        ("409", Undeliverable),
        ("500", NotTaken),
        ("501", NotTaken),
        ("502", Undeliverable),
        ("597", NotReached),
        ("598", Unknown),
    ],
)
def test_each_answer_of_the_gateway(with_sms, ending, raised):
    with pytest.raises(raised) as found:
        send_sms(with_sms, a_message(a_phone(ending)))
    assert type(found.value) is raised


def test_a_wrong_key_is_tried_again_and_not_shown(with_sms):
    with pytest.raises(NotTaken, match="SMS_API_KEY") as found:
        send_sms(dataclasses.replace(with_sms, sms_api_key="wrong"), a_message(a_phone()))
    assert str(found.value) != "k"


def test_a_gateway_that_is_away_was_told_nothing(with_sms):
    away = dataclasses.replace(with_sms, sms_url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(NotReached, match="cannot be reached"):
        send_sms(away, a_message(a_phone()))


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"])
def test_a_gateway_that_hangs_up_or_talks_nonsense_may_have_sent_it(with_sms, answer):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(Unknown):
            send_sms(dataclasses.replace(with_sms, sms_url=url), a_message(a_phone()))


def test_a_gateway_that_hangs_is_waited_for_only_so_long(with_sms, monkeypatch):
    monkeypatch.setattr(sms, "_TIMEOUT", httpx.Timeout(0.3))
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(Unknown, match="did not answer"):
            send_sms(dataclasses.replace(with_sms, sms_url=url), a_message(a_phone()))


def test_the_job_sends_it_once_and_counts_what_is_paid_for(engine, house, gateway, with_sms):
    phone = a_phone("0002")
    reach(engine, house, email=None, phone=phone)
    a_payment(house.engine, house.agency_id, house.lease_id)
    runtime = Runtime.start(with_sms, engine)
    assert run_job(runtime, house.agency_id, the_job(house)) == "SUCCEEDED"
    (row,) = told(house)
    assert (row.status, row.segments) == ("SENT", segments(row.body))
    assert row.provider_id == sent_to(gateway, phone)[0]["id"]
    assert len(sent_to(gateway, phone)) == 1


def test_what_may_have_been_sent_is_not_sent_again(engine, house, gateway, with_sms):
    phone = a_phone("598")
    reach(engine, house, email=None, phone=phone)
    a_payment(house.engine, house.agency_id, house.lease_id)
    runtime = Runtime.start(with_sms, engine)
    assert run_job(runtime, house.agency_id, the_job(house)) == "SUCCEEDED"
    (row,) = told(house)
    assert row.status == "UNKNOWN"
    assert "may have sent it" in (row.last_error or "")
    assert len(sent_to(gateway, phone)) == 1


def test_a_worker_that_died_while_an_sms_was_sent_does_not_send_it_again(
    engine, house, gateway, with_sms, tmp_path
):
    phone = a_phone("0003")
    reach(engine, house, email="a@b.test", phone=phone)
    a_payment(house.engine, house.agency_id, house.lease_id)
    job_id = the_job(house)
    with house.session() as session:
        session.query(Notification).update({"status": "SENDING", "job_id": job_id, "tries": 1})
    runtime = Runtime.start(dataclasses.replace(with_sms, mail_folder=str(tmp_path)), engine)
    assert run_job(runtime, house.agency_id, job_id) == "SUCCEEDED"
    assert {one.channel: one.status for one in told(house)} == {"EMAIL": "SENT", "SMS": "UNKNOWN"}
    assert sent_to(gateway, phone) == []


def test_another_job_keeps_off_what_one_is_sending(engine, house, gateway, with_sms):
    phone = a_phone("0004")
    reach(engine, house, email=None, phone=phone)
    a_payment(house.engine, house.agency_id, house.lease_id)
    with house.session() as session:
        session.query(Notification).update({"status": "SENDING", "job_id": uuid.uuid4()})
    assert run_job(Runtime.start(with_sms, engine), house.agency_id, the_job(house)) == "SUCCEEDED"
    assert told(house)[0].status == "SENDING"
    assert sent_to(gateway, phone) == []


def test_who_opts_out_at_the_network_is_sent_nothing_more(engine, house, with_sms):
    reach(engine, house, email=None, phone=a_phone("406"))
    a_payment(house.engine, house.agency_id, house.lease_id)
    assert run_job(Runtime.start(with_sms, engine), house.agency_id, the_job(house)) == "SUCCEEDED"
    assert told(house)[0].status == "FAILED"
    with house.session() as session:
        tenant_id = session.get_one(Lease, (house.agency_id, house.lease_id)).tenant_id
        assert session.get_one(Tenant, (house.agency_id, tenant_id)).opt_outs == ["SMS"]
    a_payment(house.engine, house.agency_id, house.lease_id)
    assert len(told(house)) == 1


def test_a_gateway_that_does_not_answer_is_left_alone(engine, house, with_sms):
    reach(engine, house, email=None, phone=a_phone("597"))
    a_payment(house.engine, house.agency_id, house.lease_id)
    runtime = Runtime.start(dataclasses.replace(with_sms, breaker_minimum_calls=1), engine)
    name = f"sms gateway {with_sms.sms_url.removeprefix('http://')}"
    assert run_job(runtime, house.agency_id, the_job(house)) == "FAILED"
    assert runtime.breakers[name] is not None
    assert told(house)[0].status == "QUEUED"


@pytest.mark.parametrize(
    "text, count",
    [
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("a" * 152 + "€" + "a" * 152, 3),
        ("ũ" * 70, 1),
        ("ũ" * 71, 2),
        ("ũ" * 134, 2),
        ("ũ" * 135, 3),
        ("😀" * 35, 1),
        ("😀" * 67, 3),
        ("", 1),
    ],
)
def test_how_many_sms_a_text_is(text, count):
    assert segments(text) == count


def test_the_alphabet_of_sms():
    assert is_gsm7("Kodi ya KES 25,000.00 @ £ è [x] €")
    assert not is_gsm7("Ngũgĩ")


@pytest.fixture
def reporting(receiver):
    """A gateway that posts its reports, a hundred times as fast."""
    with running_simulator("--speed", "100", "--sms-callback", receiver.url) as simulator:
        yield simulator


@pytest.mark.parametrize(
    "ending, status, is_delivered, report",
    [
        ("0006", "SENT", True, "Success"),
        ("0595", "FAILED", False, "Failed DeliveryFailure"),
        ("0596", "FAILED", False, "Rejected UserInBlacklist"),
    ],
)
def test_the_gateway_reports_what_became_of_an_sms(
    app, engine, house, reporting, receiver, with_sms, ending, status, is_delivered, report
):
    phone = a_phone(ending)
    reach(engine, house, email=None, phone=phone)
    a_payment(house.engine, house.agency_id, house.lease_id)
    runtime = Runtime.start(dataclasses.replace(with_sms, sms_url=reporting.url), engine)
    assert run_job(runtime, house.agency_id, the_job(house)) == "SUCCEEDED"

    (heard,) = receiver.wait_for(1)
    # What was posted goes to Haven only now: with the simulator's haste it may come before the job is done.
    hook = f"{PATH}/{token(app.extensions['haven'].settings.secret_key)}"
    answer = app.test_client().post(hook, data=heard.body, content_type=heard.headers["Content-Type"])

    assert answer.status_code == 200
    (row,) = told(house)
    assert (row.status, row.delivered_at is not None) == (status, is_delivered)
    wait_until(lambda: sent_to(reporting, phone)[0]["report"] == report)
    page = httpx.get(f"{reporting.url}/simulator/messages", timeout=10).text
    assert f"<td>101</td><td>{report}</td>" in page


def test_what_the_gateway_never_reports_and_what_nobody_hears(reporting, receiver, with_sms):
    there = dataclasses.replace(with_sms, sms_url=reporting.url)
    receiver.status = 404
    phone, other = a_phone("0594"), a_phone("0008")
    send_sms(there, a_message(phone))
    send_sms(there, a_message(other))
    wait_until(lambda: sent_to(reporting, other)[0]["report"])
    assert sent_to(reporting, other)[0]["report"] == "Success, which was answered with 404"
    assert sent_to(reporting, phone)[0]["report"] == ""
    assert len(receiver.heard) == 1


def test_who_is_not_asked_to_report_does_not(gateway, with_sms):
    phone = a_phone("0007")
    send_sms(with_sms, a_message(phone))
    assert sent_to(gateway, phone)[0]["report"] == ""


def test_mails_and_sms_can_be_read_in_a_browser_and_do_nothing_there(gateway, with_sms, tmp_path):
    send_sms(with_sms, a_message(a_phone("0005"), "<script>alert(1)</script>"))
    page = httpx.get(f"{gateway.url}/simulator/messages", timeout=10)
    assert page.status_code == 200
    assert "<script>" not in page.text
    assert "&lt;script&gt;alert(1)" in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for name in ("..%2f..%2fetc%2fpasswd", "nothing", str(uuid.uuid4())):
        assert httpx.get(f"{gateway.url}/simulator/messages/{name}", timeout=10).status_code == 404
