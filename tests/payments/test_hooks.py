"""M-Pesa's real callbacks, posted to the address that it is given."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter

import pytest
from sqlalchemy.exc import OperationalError

from extensions.database.counting import count_statements
from extensions.monitoring import HTTP
from extensions.monitoring.slots import KEPT, SLOT_S, slot_start
from haven.app import create_app
from haven.billing import service as billing
from haven.payments import callbacks
from haven.payments import service as payments
from haven.payments.models import MpesaAttempt
from haven.payments.mpesa.results import outcome_of
from tests.support.books import check_books
from tests.support.builders import a_lease, a_payment, a_phone
from tests.support.web import running_web
from tests.unit.payments.corpus import body_of, named

ACCEPTED = {"ResultCode": 0, "ResultDesc": "Accepted"}


def post(client, token, body):
    return client.post(
        f"/api/v1/hooks/stk/{token}",
        data=body,
        headers={"Content-Type": "application/json;charset=UTF-8", "Businessshortcode": "174379"},
    )


@pytest.mark.req("P2")
@pytest.mark.parametrize("row", named("stk_callback"), ids=lambda row: row["file"])
def test_every_published_callback_is_accepted_and_applied(client, house, row):
    body = body_of(row["file"])
    callback = json.loads(body)["Body"]["stkCallback"]
    items = callback.get("CallbackMetadata", {}).get("Item", [])
    amount = next((item["Value"] for item in items if item["Name"] == "Amount"), 10)
    push = house.start(a_phone(), str(int(amount)), invoice_id=None, lease_id=house.lease_id)

    first, again = post(client, push.token, body), post(client, push.token, body)

    assert (first.status_code, first.get_json()) == (200, ACCEPTED)
    assert (again.status_code, again.get_json()) == (200, ACCEPTED)
    expected = {"paid": ("COMPLETED",), "failed": ("FAILED", "CANCELLED")}[row["outcome"]]
    is_final = outcome_of(str(callback["ResultCode"])) != "PENDING"
    assert house.payment(push.payment_id).status in (expected if is_final else ("PENDING",))
    assert [bytes(kept.body) for kept in house.inbox()] == [body, body]
    check_books(house.engine, house.agency_id)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[]", b'{"Body": {}}', b"<html></html>", b"null", b"0" * 5000]
)
def test_what_cannot_be_read_is_accepted_kept_and_changes_nothing(client, house, body):
    push = house.start(a_phone())
    answer = post(client, push.token, body)
    assert (answer.status_code, answer.get_json()) == (200, ACCEPTED)
    assert house.payment(push.payment_id).status == "PENDING"
    assert [bytes(kept.body) for kept in house.inbox()] == [body]


@pytest.mark.parametrize("token", ["0" * 96, "zz", "f" * 96, "0" * 500])
def test_a_token_that_is_none_of_ours_is_not_there(client, token):
    answer = post(client, token, body_of("stk_callback-01.json"))
    assert answer.status_code == 404
    assert answer.content_type == "application/problem+json"


# The short way (haven/payments/callback_path.py)


def a_paid_body(push, receipt):
    items = [{"Name": "Amount", "Value": 25000}, {"Name": "MpesaReceiptNumber", "Value": receipt}]
    callback = {
        "MerchantRequestID": "m",
        "CheckoutRequestID": f"ws_CO_{push.attempt_id}",
        "ResultCode": 0,
        "ResultDesc": "…",
        "CallbackMetadata": {"Item": items},
    }
    return json.dumps({"Body": {"stkCallback": callback}}).encode()


@pytest.fixture
def rung(house):
    """A push whose phone has rung, so that M-Pesa's id of it is known."""
    push = house.start(a_phone())
    with house.session() as session:
        attempt = session.get_one(MpesaAttempt, (house.agency_id, push.attempt_id))
        attempt.state, attempt.merchant_request_id = "ACCEPTED", "m"
        attempt.checkout_request_id = f"ws_CO_{push.attempt_id}"
    return push


def test_a_push_that_is_paid_takes_six_statements_and_one_for_the_job_that_tells(app, client, house, rung):
    # The agency's account of M-Pesa is there already.
    other = a_lease(house.engine, house.agency_id)
    a_payment(house.engine, house.agency_id, other, "1", method="MPESA", reference="UKO1OTHERR")
    body = a_paid_body(rung, "UKO1SHORTW")
    before = app.extensions["callback_path"].taken
    with count_statements(app.extensions["haven"].engine) as counted:
        answer = post(client, rung.token, body)
    assert (answer.status_code, answer.get_json()) == (200, ACCEPTED)
    assert app.extensions["callback_path"].taken == before + 1
    assert counted.count == 7, counted.statements
    payment, attempt = house.payment(rung.payment_id), house.attempt(rung.attempt_id)
    assert (payment.status, payment.reference, payment.allocated) == ("COMPLETED", "UKO1SHORTW", 25000)
    assert (attempt.state, attempt.result_code, attempt.next_query_at) == ("PAID", "0", None)
    assert attempt.settled_at is not None
    (kept,) = house.inbox()
    assert (kept.state, kept.outcome, kept.tries) == ("APPLIED", "Paid.", 1)
    assert kept.headers["Businessshortcode"] == "174379"
    assert kept.headers["Content-Type"] == "application/json;charset=UTF-8"
    check_books(house.engine, house.agency_id)


def test_it_answers_as_the_app_does(app, client, house):
    """Byte for byte, and with the same headers: nobody can tell the ways apart."""
    tokens = [house.start(a_phone(), "1").token for _ in range(2)]
    before = app.extensions["callback_path"].taken
    short = post(client, tokens[0], b"{}")
    by_flask = client.post(f"/api/v1/hooks/stk/{tokens[1]}?x=1", data=b"[" * 70_000)
    assert app.extensions["callback_path"].taken == before + 1
    assert (short.status, short.data) == (by_flask.status, by_flask.data)
    assert {name for name, _ in short.headers} == {name for name, _ in by_flask.headers}
    differing = {name for name, value in short.headers if by_flask.headers[name] != value}
    assert differing <= {"X-Request-ID"}


def test_a_receipt_of_another_payment_takes_the_long_way(client, house, rung):
    a_payment(house.engine, house.agency_id, house.lease_id, "1", method="MPESA", reference="UKO1TAKENN")
    answer = post(client, rung.token, a_paid_body(rung, "UKO1TAKENN"))
    assert answer.status_code == 200
    payment = house.payment(rung.payment_id)
    assert (payment.status, payment.failure_code) == ("NEEDS_REVIEW", "RECEIPT_TAKEN")
    assert house.attempt(rung.attempt_id).state == "NEEDS_REVIEW"
    check_books(house.engine, house.agency_id)


def test_what_fails_while_it_is_applied_is_kept_for_the_sweeper(app, client, house, rung, monkeypatch):
    def broken(*_args, **_options):
        raise RuntimeError("broken")

    monkeypatch.setattr(billing, "post", broken)
    answer = post(client, rung.token, a_paid_body(rung, "UKO1BROKEN"))
    assert (answer.status_code, answer.get_json()) == (200, ACCEPTED)
    (kept,) = house.inbox()
    assert (kept.state, house.payment(rung.payment_id).status) == ("RECEIVED", "PENDING")
    monkeypatch.undo()
    with house.session() as session:
        assert payments.apply_callback(session, kept.id) == "Paid."
    check_books(house.engine, house.agency_id)


def test_its_line_in_the_log_is_the_apps(client, house, caplog):
    asked = {"X-Request-ID": "0712345678", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    for query in ("", "?x=1"):
        # Too long a body is Flask's.
        body = b"[" * 70_000 if query else b"{}"
        token = house.start(a_phone(), "1").token
        assert client.post(f"/api/v1/hooks/stk/{token}{query}", data=body, headers=asked).status_code == 200
    short, by_flask = (one.msg for one in caplog.records if one.name == "haven.request")
    assert short.keys() == by_flask.keys()
    differing = {name for name in short if short[name] != by_flask[name]}
    assert differing <= {"ms", "timestamp", "statements", "statements_ms"}
    assert (short["request_id"], short["trace_id"]) == ("071*****78", "a" * 32)
    assert 0 < short["statements_ms"] < short["ms"]


def test_what_goes_on_to_the_app_has_one_id_in_all_its_lines(client, caplog):
    answer = client.post(f"/api/v1/hooks/stk/{'0' * 96}", data=b"{}")
    lines = [one.msg for one in caplog.records if isinstance(one.msg, dict)]
    assert {"callback_with_unknown_token", "request"} <= {one["event"] for one in lines}
    assert {one["request_id"] for one in lines} == {answer.headers["X-Request-ID"]}


def counted_of(app):
    """Route → how many requests of it this process has counted; under ``""`` those of all routes."""
    recorder = app.extensions["monitoring"].recorder
    recorder.flush()
    now, found = slot_start(time.time()), Counter[str]()
    for slot in recorder.own_slots(frozenset(range(now - SLOT_S * KEPT, now + 1, SLOT_S))):
        found.update(
            {route: sketch.count for (metric, route), sketch in slot.series.items() if metric == HTTP}
        )
    return found


@pytest.mark.parametrize("length", [2, 40])
def test_what_goes_on_to_the_app_is_counted_under_its_route(settings, length):
    """Also where less of the body came than was announced: what came is all there is."""
    app = create_app(settings)
    announced = {"CONTENT_LENGTH": str(length)}
    answer = app.test_client().post(
        f"/api/v1/hooks/stk/{'0' * 96}", data=b"{}", environ_overrides=announced, buffered=True
    )
    assert answer.status_code == 404
    assert counted_of(app) == {"": 1, "POST /api/v1/hooks/stk/<string:token>": 1}


def test_where_it_cannot_be_stored_the_app_says_so(app, client, house, rung, monkeypatch):
    def away(*_args, **_options):
        raise OperationalError("SELECT", {}, Exception("the database is away"))

    monkeypatch.setattr(callbacks, "store", away)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    answer = post(client, rung.token, a_paid_body(rung, "UKO1STORED"))
    assert answer.status_code >= 500
    assert answer.content_type == "application/problem+json"
    assert house.inbox() == []


@pytest.mark.long
def test_over_gunicorn_a_body_that_does_not_come_in_whole_is_kept_as_far_as_it_came(
    environ, house, rung, tmp_path
):
    body = a_paid_body(rung, "UKO1HTTP11")
    head = (
        f"POST /api/v1/hooks/stk/{rung.token} HTTP/1.1\r\nHost: haven\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with running_web(environ, tmp_path, WEB_CONCURRENCY="1") as web:
        for sent in (body[:20], body):
            with socket.create_connection(("127.0.0.1", web.port), timeout=30) as connection:
                connection.sendall(head.encode() + sent)
                assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    cut, whole = house.inbox()
    assert (bytes(cut.body), cut.state) == (body[:20], "REJECTED")
    assert (bytes(whole.body), whole.state) == (body, "APPLIED")
    assert house.payment(rung.payment_id).status == "COMPLETED"
