"""The simulator itself: what it refuses, C2B, Pull, its control API and its page."""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest

from haven.payments.mpesa import MpesaClient, PushAccepted, parse_c2b, parse_stk_callback
from haven.payments.mpesa.answers import read_pulled
from haven.payments.mpesa.eat import EAT, stamp
from haven.payments.mpesa.simulator.options import SANDBOX_PASSKEY
from tests.mpesa.conftest import a_client, a_phone, push, wait_until

PUSH = "/mpesa/stkpush/v1/processrequest"


def a_merchant(simulator, shortcode):
    """Credentials of a business of the test's own, so that no other test ends its token."""
    names = {"consumer_key": f"key-{shortcode}", "consumer_secret": "secret", "shortcode": shortcode}
    assert simulator.post("merchants", **names, passkey=SANDBOX_PASSKEY).status_code == 201
    return names


def a_token(simulator, merchant):
    answer = httpx.get(
        f"{simulator.url}/oauth/v1/generate",
        params={"grant_type": "client_credentials"},
        auth=(merchant["consumer_key"], merchant["consumer_secret"]),
    )
    return answer.json()["access_token"]


def call(simulator, path, token, body):
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.post(simulator.url + path, json=body, headers=headers, timeout=10)


def signed(shortcode):
    timestamp = stamp(datetime.now(UTC))
    password = base64.b64encode(f"{shortcode}{SANDBOX_PASSKEY}{timestamp}".encode()).decode()
    return {"BusinessShortCode": shortcode, "Password": password, "Timestamp": timestamp}


def a_push(shortcode, **changes):
    phone = a_phone().removeprefix("+")
    body = {
        **signed(shortcode),
        "TransactionType": "CustomerPayBillOnline",
        "Amount": "5",
        "PartyA": phone,
        "PartyB": int(shortcode),
        "PhoneNumber": int(phone),
        "CallBackURL": "http://127.0.0.1:9/",
        "AccountReference": "A1",
        "TransactionDesc": "Rent",
    }
    return body | changes


@pytest.fixture(scope="module")
def merchant(simulator):
    return a_merchant(simulator, "600101")


@pytest.fixture(scope="module")
def token(simulator, merchant):
    return a_token(simulator, merchant)


def test_numbers_and_texts_are_both_taken(simulator, token):
    answer = call(simulator, PUSH, token, a_push("600101"))
    assert answer.json()["ResponseCode"] == "0"
    assert set(answer.json()) == {
        "MerchantRequestID",
        "CheckoutRequestID",
        "ResponseCode",
        "ResponseDescription",
        "CustomerMessage",
    }


@pytest.mark.parametrize(
    "field,value",
    [
        ("BusinessShortCode", ""),
        ("BusinessShortCode", "12"),
        ("Timestamp", "2026"),
        ("Timestamp", None),
        ("Password", ""),
        ("TransactionType", "CustomerPayBill"),
        ("Amount", "10.5"),
        ("Amount", 10.5),
        ("Amount", 0),
        ("Amount", -5),
        ("Amount", True),
        ("PartyA", "0712345678"),
        ("PartyB", "x"),
        ("PhoneNumber", "+254712345678"),
        ("PhoneNumber", "254202345678"),
        ("CallBackURL", "not an address"),
        ("CallBackURL", "ftp://127.0.0.1/"),
        ("CallBackURL", "http://[::1"),
        ("AccountReference", ""),
        ("AccountReference", "more than twelve"),
        ("TransactionDesc", "x" * 14),
    ],
)
def test_a_wrong_field_is_named(field, value, simulator, token):
    answer = call(simulator, PUSH, token, a_push("600101", **{field: value}))
    assert answer.status_code == 400
    assert answer.json()["errorCode"] == "400.002.02"
    assert answer.json()["errorMessage"] == f"Bad Request - Invalid {field}"
    assert answer.json()["requestId"]


def test_a_form_or_no_json_is_refused_as_the_real_one_does(simulator, token):
    headers = {"Authorization": f"Bearer {token}"}
    form = httpx.post(simulator.url + PUSH, data={"Amount": "5"}, headers=headers)
    assert form.json()["errorMessage"] == "Bad Request - Invalid BusinessShortCode"
    broken = httpx.post(
        simulator.url + PUSH, content=b"{", headers=headers | {"Content-Type": "application/json"}
    )
    assert broken.json()["errorCode"] == "400.002.05"


@pytest.mark.parametrize(
    "headers,status,code",
    [
        ({}, 404, "404.001.04"),
        ({"Authorization": "Basic abc"}, 404, "404.001.04"),
        ({"Authorization": "Bearer neverseen"}, 401, "401.002.01"),
    ],
)
def test_without_a_good_token_nothing_goes(headers, status, code, simulator):
    answer = httpx.post(simulator.url + PUSH, json=a_push("600101"), headers=headers)
    assert (answer.status_code, answer.json()["errorCode"]) == (status, code)


def test_a_token_that_was_never_given_is_echoed(simulator):
    answer = call(simulator, PUSH, "neverseen", a_push("600101"))
    assert "neverseen" in answer.json()["errorMessage"]


def test_a_new_token_ends_the_one_before(simulator):
    merchant = a_merchant(simulator, "600102")
    old, new = a_token(simulator, merchant), a_token(simulator, merchant)
    assert call(simulator, PUSH, old, a_push("600102")).json()["errorCode"] == "404.001.03"
    assert call(simulator, PUSH, new, a_push("600102")).status_code == 200


def test_a_token_expires_and_its_life_is_a_text_then_a_number(start_simulator):
    simulator = start_simulator("--token-life", "0.2")
    lives = [
        httpx.get(
            f"{simulator.url}/oauth/v1/generate?grant_type=client_credentials",
            auth=("simulator-key", "simulator-secret"),
        ).json()
        for _ in range(2)
    ]
    assert [type(life["expires_in"]) for life in lives] == [str, int]
    wait_until(
        lambda: (
            call(simulator, PUSH, lives[1]["access_token"], a_push("174379")).json().get("errorCode")
            == "404.001.03"
        )
    )


@pytest.mark.parametrize(
    "query,auth,code",
    [
        ("", ("simulator-key", "simulator-secret"), "400.008.02"),
        ("?grant_type=client_credentials%20", ("simulator-key", "simulator-secret"), "400.008.02"),
        ("?grant_type=client_credentials", ("simulator-key", "wrong"), "400.008.01"),
        ("?grant_type=client_credentials", None, "400.008.01"),
    ],
)
def test_a_wrong_oauth_call_gets_no_token(query, auth, code, simulator):
    answer = httpx.get(f"{simulator.url}/oauth/v1/generate{query}", auth=auth)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, code)


def test_wrong_paths_and_methods_have_darajas_codes(simulator):
    assert httpx.post(f"{simulator.url}/mpesa/nowhere").json()["errorCode"] == "404.001.01"
    assert httpx.get(f"{simulator.url}{PUSH}").json()["errorCode"] == "405.001"


def test_queries_are_limited_where_the_limit_is_on(start_simulator, receiver):
    simulator = start_simulator("--queries-per-minute", "2")
    with a_client(simulator) as client:
        accepted = push(client, a_phone(), receiver.url)
        codes = [client.query(accepted.checkout_request_id).code for _ in range(3)]
    assert codes[:2] == ["4999", "4999"]
    assert "SpikeArrestViolation" in codes[2]


# C2B and Pull


def register(simulator, shortcode, receiver, version=2, response_type="Completed"):
    token = a_token(simulator, a_merchant(simulator, shortcode))
    body = {
        "ShortCode": shortcode,
        "ResponseType": response_type,
        "ConfirmationURL": f"{receiver.url}/confirmation",
        "ValidationURL": f"{receiver.url}/validation",
    }
    answer = call(simulator, f"/mpesa/c2b/v{version}/registerurl", token, body)
    assert answer.json()["ResponseCode"] == "0"
    assert "OriginatorCoversationID" in answer.json()
    return token


def a_client_for(simulator, shortcode):
    return a_client(simulator, key=f"key-{shortcode}", secret="secret", shortcode=shortcode)


def test_an_stk_payment_has_a_twin_confirmation_with_its_receipt(simulator, receiver):
    register(simulator, "600103", receiver)
    phone = a_phone()
    with a_client_for(simulator, "600103") as client:
        push(client, phone, receiver.url)
    twin, callback = receiver.wait_for(2)
    assert twin.path.endswith("/confirmation")
    notice = parse_c2b(twin.body)
    assert notice.receipt == parse_stk_callback(callback.body).receipt
    assert notice.account == "UNITG70"
    assert notice.amount == Decimal(25_000)
    assert notice.balance == Decimal(25_000)
    assert notice.phone is None
    assert notice.phone_shown == f"{phone[1:5]} ***** {phone[-3:]}"
    assert len(simulator.moved_of(phone)) == 1


def test_version_1_hashes_the_payer(simulator, receiver):
    token = register(simulator, "600104", receiver, version=1)
    phone = a_phone()
    body = {
        "ShortCode": 600104,
        "CommandID": "CustomerPayBillOnline",
        "Amount": "700",
        "Msisdn": phone[1:],
        "BillRefNumber": "G-70 Otieno",
    }
    assert call(simulator, "/mpesa/c2b/v2/simulate", token, body).json()["ResponseCode"] == "0"
    (heard,) = receiver.wait_for(1)
    notice = parse_c2b(heard.body)
    assert notice.phone_hash == hashlib.sha256(phone[1:].encode()).hexdigest()
    assert notice.account == "G-70 Otieno"


@pytest.mark.parametrize(
    "answer,response_type,goes_through",
    [
        (b'{"ResultCode":"0","ResultDesc":"Accepted"}', "Cancelled", True),
        (b'{"ResultCode":"C2B00012","ResultDesc":"Rejected"}', "Completed", False),
        (b"<html>", "Completed", True),
        (b"<html>", "Cancelled", False),
    ],
)
def test_a_validation_decides_and_else_the_registered_default(
    answer, response_type, goes_through, start_simulator, receiver
):
    simulator = start_simulator("--speed", "50", "--c2b-validation")
    receiver.answer = answer
    register(simulator, "600105", receiver, response_type=response_type)
    phone = a_phone()
    simulator.post("payments", phone=phone, amount=900, account="A1", shortcode="600105")
    receiver.wait_for(2 if goes_through else 1)
    assert receiver.heard[0].path.endswith("/validation")
    assert parse_c2b(receiver.heard[0].body).balance is None
    wait_until(lambda: simulator.get("health")["callback_count"] == len(receiver.heard))
    assert len(simulator.moved_of(phone)) == int(goes_through)


def test_a_validation_that_is_too_slow_is_cut(start_simulator, receiver):
    simulator = start_simulator("--speed", "50", "--c2b-validation")
    receiver.answer, receiver.delay_s = b'{"ResultCode":"C2B00012"}', 2.0
    register(simulator, "600106", receiver)
    phone = a_phone()
    simulator.post("payments", phone=phone, amount=900, account="A1", shortcode="600106")
    wait_until(lambda: simulator.moved_of(phone))


def test_pull_lists_what_moved_in_a_list_inside_a_list(simulator, receiver):
    token = register(simulator, "600107", receiver)
    receipts = [
        simulator.post("payments", phone=a_phone(), amount=n, account="A1", shortcode="600107").json()[
            "receipt"
        ]
        for n in (10, 20, 30)
    ]
    receiver.wait_for(3)
    now = datetime.now(EAT)
    body = {
        "ShortCode": "600107",
        "StartDate": f"{now - timedelta(hours=1):%Y-%m-%d %H:%M:%S}",
        "EndDate": f"{now + timedelta(hours=1):%Y-%m-%d %H:%M:%S}",
        "OffSetValue": "0",
    }
    pull = "/pulltransactions/v1/query"
    assert call(simulator, pull, token, body).status_code == 400
    registration = {
        "ShortCode": "600107",
        "RequestType": "Pull",
        "NominatedNumber": "254712345678",
        "CallBackURL": "http://127.0.0.1:9/",
    }
    for status in ("1000", "1001"):
        answer = call(simulator, "/pulltransactions/v1/register", token, registration)
        assert answer.json()["Response Status"] == status
    rows = read_pulled(call(simulator, pull, token, body).content)
    assert {row.receipt for row in rows} == set(receipts)
    assert len(read_pulled(call(simulator, pull, token, body | {"OffSetValue": "2"}).content)) == 1
    past = {"StartDate": "2020-01-01 00:00:00", "EndDate": "2020-01-02 00:00:00"}
    nothing = call(simulator, pull, token, body | past).json()
    assert (nothing["ResponseCode"], nothing["Response"]) == ("1001", [[]])


# The control API and the page


def a_ringing(simulator, receiver, phone=None) -> tuple[MpesaClient, PushAccepted]:
    client = a_client(simulator)
    return client, push(client, phone or a_phone(), receiver.url)


@pytest.mark.parametrize(
    "action,code", [("pay", "0"), ("cancel", "1032"), ("wrong_pin", "2001"), ("ignore", "1037")]
)
def test_a_person_answers_a_phone(action, code, start_simulator, receiver):
    simulator = start_simulator("--speed", "50", "--mode", "manual")
    client, accepted = a_ringing(simulator, receiver)
    assert client.query(accepted.checkout_request_id).code == "4999"
    answered = simulator.post("pushes/1/answer", action=action)
    assert answered.json()["result_code"] == code
    (heard,) = receiver.wait_for(1)
    assert parse_stk_callback(heard.body).result_code == code
    again = simulator.post(f"pushes/{accepted.checkout_request_id}/answer", action=action)
    assert again.status_code == 409


def test_faults_of_the_control_api_are_said_in_words(simulator):
    assert simulator.post("pushes/999999/answer", action="pay").status_code == 404
    assert "scenario" in simulator.post("scenarios", phone="0712345678", scenario="x").json()["error"]
    assert "phone number" in simulator.post("scenarios", phone="x", scenario="paid").json()["error"]
    assert simulator.post("mode", mode="x").status_code == 400
    assert simulator.post("payments", phone="0712345678", amount=1.5).status_code == 400
    assert simulator.post("merchants", shortcode="x").status_code == 400
    assert httpx.post(f"{simulator.url}/simulator/reset", content=b"x").status_code == 415
    assert httpx.post(f"{simulator.url}/simulator/reset", json=[]).status_code == 400


def test_a_scenario_is_chosen_for_a_phone_and_undone(client, simulator, receiver):
    phone = a_phone()
    assert simulator.post("scenarios", phone=phone, scenario="wrong_pin").json()["scenario"] == "wrong_pin"
    push(client, phone, receiver.url)
    (heard,) = receiver.wait_for(1)
    assert parse_stk_callback(heard.body).result_code == "2001"
    assert simulator.post("scenarios", phone=phone, scenario="").json()["scenario"] == "paid"


def test_a_reset_forgets_pushes_and_money_and_goes_on(start_simulator, receiver):
    simulator = start_simulator("--speed", "50")
    client, _ = a_ringing(simulator, receiver)
    receiver.wait_for(1)
    push(client, a_phone("1037"), receiver.url)
    simulator.post("mode", mode="manual")
    assert simulator.post("reset").status_code == 200
    state = simulator.get("state")
    assert (state["pushes"], state["moved_total"], state["mode"], state["ringing"]) == ([], "0.00", "auto", 0)
    push(client, a_phone(), receiver.url)
    receiver.wait_for(2)
    assert simulator.get("moved")["total"] == "25000.00"
    assert simulator.get("moved?shortcode=1")["count"] == 0


def test_the_page_brings_everything_itself(simulator):
    page = httpx.get(simulator.url)
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    for name in ("phones.css", "phones.js"):
        assert f"/simulator/page/{name}" in page.text
        assert httpx.get(f"{simulator.url}/simulator/page/{name}").status_code == 200
    script = httpx.get(f"{simulator.url}/simulator/page/phones.js").text
    assert "innerHTML" not in script
    assert "http" not in page.text.replace("utf-8", "")


def test_the_state_is_json_all_through(simulator):
    assert json.dumps(simulator.get("state"))
    assert simulator.get("scenarios")["scenarios"][0]["name"] == "paid"
