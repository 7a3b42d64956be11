"""The parsers of what M-Pesa answers, over the published payloads."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haven.payments.mpesa.answers import (
    Fault,
    FaultKind,
    PushAccepted,
    read_fault,
    read_pulled,
    read_push,
    read_query,
    read_token,
    redact,
)
from tests.unit.payments.corpus import MANIFEST, body_of, named

FAULT_KINDS = {
    "error-01.json": FaultKind.REJECTED,
    "error-03.json": FaultKind.AUTHENTICATION,
    "error-04.json": FaultKind.BUSY,
    "error-06.json": FaultKind.REJECTED,
    "error-07.json": FaultKind.REJECTED,
    "error-09.json": FaultKind.REJECTED,
    "error-10.json": FaultKind.AUTHENTICATION,
    "query-06.json": FaultKind.UNCLEAR,
    "query-10.json": FaultKind.REJECTED,
    "query-12.json": FaultKind.THROTTLED,
}
QUERIES = {
    "query-01.json": ("ws_CO_13012021093521236557", "PAID", "0"),
    "query-02.json": ("ws_CO_25102017143700816", "PAID", "0"),
    "query-04.json": ("ws_CO_25102017153023394", "FAILED", "1"),
    "query-07.json": ("ws_CO_230920262019337708374149", "PENDING", "4999"),
    "query-08.json": ("ws_CO_230920262019337708374149", "FAILED", "1037"),
    "query-11.json": ("ws_CO_03122022123123361712345678", "FAILED", "1032"),
}
STATUS = {row["file"]: row["http_status"] for row in MANIFEST}


def test_every_published_error_and_query_is_in_these_tables():
    known = {*FAULT_KINDS, *QUERIES, "query-14.json"}
    assert {row["file"] for row in named("error-", "query-")} == known


@pytest.mark.parametrize("name", FAULT_KINDS)
def test_what_a_published_error_is(name):
    fault = read_fault(STATUS[name], {}, body_of(name))
    assert fault.kind is FAULT_KINDS[name]
    assert fault.message


def test_a_token_that_is_echoed_is_removed():
    fault = read_fault(401, {}, body_of("error-03.json"))
    assert "REDACTEDTOKEN" not in fault.message
    assert fault.message == "Error Occurred - Invalid Access Token [removed]"


def test_the_phone_inside_a_checkout_id_is_removed():
    assert redact("id ws_CO_13102022154520280712345678 unknown") == "id ws_CO_13102022154520… unknown"


@pytest.mark.parametrize("name", QUERIES)
def test_what_a_published_query_answer_is(name):
    checkout, state, code = QUERIES[name]
    answer = read_query(body_of(name), checkout)
    assert (answer.state, answer.code) == (state, code)


def test_an_answer_about_another_push_settles_nothing():
    assert read_query(body_of("query-01.json"), "ws_CO_other").state == "PENDING"


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"ResultCode": null}', b"[]"])
def test_a_query_answer_without_a_code_settles_nothing(body):
    assert read_query(body, "x").state == "PENDING"


def test_a_push_is_accepted():
    assert read_push(body_of("stk_push-02.json")) == PushAccepted(
        "2654-4b64-97ff-b827b542881d3130", "ws_CO_10072024091526171712345678"
    )


def test_a_push_is_refused_by_its_response_code():
    read = read_push(b'{"ResponseCode":"1","ResponseDescription":"no"}')
    assert read == Fault("1", "no", FaultKind.REJECTED)


@pytest.mark.parametrize("body", [b"", b'{"Merch', b"{}", b'{"ResponseCode":"0"}', b"<html>ok</html>"])
def test_an_accepted_push_without_its_id_is_unreadable(body):
    assert read_push(body) is None


@pytest.mark.parametrize("life, seconds", [('"3599"', 3599), ("3599", 3599), ("null", 3599), ('"x"', 3599)])
def test_the_life_of_a_token_is_a_text_or_a_number(life, seconds):
    token = read_token(b'{"access_token":"abc","expires_in":%s}' % life.encode())
    assert token is not None
    assert (token.value, token.life_s) == ("abc", seconds)


def test_the_published_token_is_read():
    token = read_token(body_of("other-01.json"))
    assert token is not None
    assert token.life_s == 3599


@pytest.mark.parametrize(
    "status, body, kind",
    [
        (
            500,
            b'{"errorCode":"500.001.1001","errorMessage":"[STK] - Unable to LOCK subscriber, x"}',
            FaultKind.BUSY,
        ),
        (
            500,
            b'{"errorCode":"500.001.1001","errorMessage":"[MerchantValidate] - Wrong credentials"}',
            FaultKind.CONFIGURATION,
        ),
        (
            500,
            b'{"errorCode":"500.001.1001","errorMessage":"Merchant does not exist"}',
            FaultKind.CONFIGURATION,
        ),
        (500, b'{"errorCode":"500.003.02","errorMessage":"System is busy"}', FaultKind.THROTTLED),
        (500, b'{"errorCode":"500.003.1001","errorMessage":"Internal"}', FaultKind.UNCLEAR),
        (404, b'{"errorCode":"404.001.01","errorMessage":"Resource not found"}', FaultKind.CONFIGURATION),
        (
            400,
            b'{"errorCode":"400.008.01","errorMessage":"Invalid Authentication passed"}',
            FaultKind.CONFIGURATION,
        ),
        (400, b'{"errorCode":"400.999.99","errorMessage":"new"}', FaultKind.REJECTED),
        (503, b"<html>", FaultKind.UNCLEAR),
        (403, b"<html>", FaultKind.CONFIGURATION),
        (302, b"", FaultKind.CONFIGURATION),
        (429, b"", FaultKind.THROTTLED),
        (401, b"", FaultKind.AUTHENTICATION),
        (400, b"", FaultKind.UNCLEAR),
        (
            401,
            b'{"fault":{"faultstring":"Invalid Access Token","detail":{"errorcode":"keymanagement.x"}}}',
            FaultKind.AUTHENTICATION,
        ),
        (500, b'{"fault":{"faultstring":"x","detail":"y"}}', FaultKind.UNCLEAR),
    ],
)
def test_what_other_errors_are(status, body, kind):
    assert read_fault(status, {}, body).kind is kind


def test_the_wait_a_throttle_asks_for_is_kept():
    body = body_of("query-12.json")
    assert read_fault(429, {"Retry-After": "7"}, body).retry_after_s == 7
    assert read_fault(429, {}, body).retry_after_s == 60
    assert read_fault(429, {"Retry-After": "Tue, 24 Nov 2026 12:00:00 GMT"}, body).retry_after_s == 60


def test_pulled_rows_are_in_a_list_inside_a_list():
    rows = read_pulled(body_of("c2b-13.json"))
    assert [(row.receipt, row.amount) for row in rows] == [
        ("yzlyrEsRG1", Decimal("168.00")),
        ("ZobjR29vdz", Decimal("647.00")),
    ]
    assert read_pulled(b'{"ResponseCode":"1001","Response":[[]]}') == ()


@given(st.integers(100, 599), st.binary(max_size=200))
def test_no_answer_breaks_a_parser(status, body):
    read_fault(status, {}, body)
    read_push(body)
    read_query(body, "x")
    read_token(body)
    read_pulled(body)
