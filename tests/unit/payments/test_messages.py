"""The parsers of callbacks, over the published payloads and over whatever else may come."""

import contextlib
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haven.payments.mpesa.messages import (
    MAX_BODY_BYTES,
    UnreadableCallback,
    parse_c2b,
    parse_stk_callback,
    phone_hash,
)
from haven.payments.mpesa.results import Outcome, outcome_of
from tests.unit.payments.corpus import MANIFEST, body_of, named

STK = named("stk_callback-")
C2B = [row for row in named("c2b-") if row["outcome"] in {"validation", "confirmation"}]
PAID = {
    "stk_callback-01.json": ("1.00", "NLJ7RT61SV", "2019-12-19T07:21:15+00:00", "+254708374149"),
    "stk_callback-03.json": ("1.00", "MAO0DO9BYO", "2018-01-24T11:47:54+00:00", "+254712345678"),
    "stk_callback-05.json": ("1.00", "QJD4T7ZOT0", "2022-10-13T12:45:44+00:00", "+254712345678"),
    "stk_callback-15.json": ("1.00", "RLA0R69NXM", "2023-12-10T10:34:16+00:00", "+254712345678"),
}


def a_callback(code=0, items=(), **more):
    callback = {
        "MerchantRequestID": "m-1",
        "CheckoutRequestID": "ws_CO_1",
        "ResultCode": code,
        "ResultDesc": "text",
        "CallbackMetadata": {"Item": list(items)},
        **more,
    }
    return json.dumps({"Body": {"stkCallback": callback}}).encode()


def item(name, *value):
    return {"Name": name, "Value": value[0]} if value else {"Name": name}


@pytest.mark.parametrize("row", STK, ids=lambda row: row["file"])
def test_every_published_stk_callback_is_read(row):
    callback = parse_stk_callback(body_of(row["file"]))
    raw = json.loads(body_of(row["file"]))["Body"]["stkCallback"]
    assert callback.merchant_request_id == raw["MerchantRequestID"]
    assert callback.checkout_request_id == raw["CheckoutRequestID"]
    assert callback.result_code == str(raw["ResultCode"])
    assert callback.result_text == raw["ResultDesc"]
    assert (outcome_of(callback.result_code) is Outcome.PAID) == (row["outcome"] == "paid")
    if row["outcome"] == "paid":
        amount, receipt, paid_at, phone = PAID[row["file"]]
        assert callback.amount == Decimal(amount)
        assert callback.receipt == receipt
        assert callback.paid_at == datetime.fromisoformat(paid_at)
        assert callback.phone == phone
    else:
        assert (callback.amount, callback.receipt, callback.paid_at, callback.phone) == (None,) * 4


@pytest.mark.parametrize("row", C2B, ids=lambda row: row["file"])
def test_every_published_c2b_notice_is_read(row):
    raw = json.loads(body_of(row["file"]))
    notice = parse_c2b(body_of(row["file"]))
    assert notice.receipt == raw["TransID"]
    assert notice.amount == Decimal(raw["TransAmount"])
    assert notice.account == raw["BillRefNumber"]
    assert notice.shortcode == raw["BusinessShortCode"]
    assert notice.paid_at is not None
    assert notice.paid_at.tzinfo is UTC
    assert notice.third_party_id == (raw["ThirdPartyTransID"] or "")
    # A validation has no balance; a confirmation has one.
    assert (notice.balance is None) == (row["outcome"] == "validation")


@pytest.mark.parametrize("row", [r for r in MANIFEST if r not in STK], ids=lambda row: row["file"])
def test_no_other_payload_is_taken_for_an_stk_callback(row):
    with pytest.raises(UnreadableCallback):
        parse_stk_callback(body_of(row["file"]))


@pytest.mark.parametrize("row", [r for r in MANIFEST if r not in C2B], ids=lambda row: row["file"])
def test_no_other_payload_is_taken_for_a_c2b_notice(row):
    with pytest.raises(UnreadableCallback):
        parse_c2b(body_of(row["file"]))


def test_the_payer_of_a_notice_is_plain_hashed_or_masked():
    plain, hashed, masked = (parse_c2b(body_of(f"c2b-{n}.json")) for n in ("06", "08", "02"))
    assert (plain.phone, plain.phone_hash, plain.phone_shown) == ("+254712345678", None, "+2547*****678")
    assert hashed.phone is None
    assert hashed.phone_hash == "7132104d6aae9c3fac82095a42c2817952bca48e09d98d5bf4ac08218982fb90"
    assert hashed.phone_shown == ""
    assert (masked.phone, masked.phone_hash, masked.phone_shown) == (None, None, "2547 ***** 126")


def test_a_payers_hash_is_that_of_the_twelve_digits():
    hashed = phone_hash("0712 345 678")
    assert hashed == phone_hash("+254712345678")
    assert len(hashed) == 64


def test_missing_name_keys_leave_the_name_that_is_there():
    notice = parse_c2b(b'{"TransID":"RKL51ZDR4F","TransAmount":"5","FirstName":"JANE"}')
    assert notice.payer_name == "JANE"
    assert notice.paid_at is None


@pytest.mark.parametrize(
    "code, text",
    [(0, "0"), ("0", "0"), (0.0, "0"), (" 0 ", "0"), ("SFC_IC0003", "SFC_IC0003"), (1032, "1032")],
)
def test_a_result_code_is_text(code, text):
    assert parse_stk_callback(a_callback(code)).result_code == text


@pytest.mark.parametrize("code", [None, "", True, 1.5, [], {}, "DROP TABLE; --", "x" * 200])
def test_without_a_readable_result_code_nothing_is_believed(code):
    with pytest.raises(UnreadableCallback, match="ResultCode"):
        parse_stk_callback(a_callback(code))


@pytest.mark.parametrize(
    "value, amount",
    [
        (1, "1.00"),
        (1.0, "1.00"),
        ("1.00", "1.00"),
        ("25,000.00", "25000.00"),
        (250000.5, "250000.50"),
        (0.001, None),
        (-5, None),
        ("1e5", None),
        ("1,5", None),
        ("1,00", None),
        ("1,234,567.50", "1234567.50"),
        ("five", None),
        (True, None),
        (10**30, None),
        (None, None),
        ({"Amount": 1}, None),
    ],
)
def test_an_amount_is_exact_or_none(value, amount):
    callback = parse_stk_callback(a_callback(0, [item("Amount", value)]))
    assert callback.amount == (Decimal(amount) if amount else None)


def test_items_are_found_by_name_in_any_order():
    items = [
        item("PhoneNumber", 254712345678),
        item("Balance"),
        item("TransactionDate", "20231210133416"),
        item("MpesaReceiptNumber", "RLA0R69NXM"),
        item("Amount", 1),
    ]
    callback = parse_stk_callback(a_callback(0, items))
    assert callback.receipt == "RLA0R69NXM"
    assert callback.phone == "+254712345678"
    assert callback.amount == 1


def test_a_balance_written_as_a_java_map_disturbs_nothing():
    balance = "{Amount={CurrencyCode=KES, MinimumAmount=39900, BasicAmount=399.00}}"
    assert parse_stk_callback(a_callback(0, [item("Balance", balance), item("Amount", 399)])).amount == 399


@pytest.mark.parametrize("value", ["2547 ***** 126", "2547****126", None, "", 0, "a" * 64])
def test_a_phone_that_is_masked_or_missing_is_none(value):
    assert parse_stk_callback(a_callback(0, [item("PhoneNumber", value)])).phone is None


def test_a_single_item_may_be_an_object_and_the_list_null():
    assert parse_stk_callback(a_callback(CallbackMetadata={"Item": item("Amount", 5)})).amount == 5
    assert parse_stk_callback(a_callback(CallbackMetadata=None)).amount is None


def test_an_amount_said_twice_with_two_values_is_no_amount():
    assert parse_stk_callback(a_callback(0, [item("Amount", 5), item("Amount", 500)])).amount is None
    assert parse_stk_callback(a_callback(0, [item("Amount", 5), item("Amount", 5)])).amount == 5


@pytest.mark.parametrize("codes", ['"ResultCode":1032,"ResultCode":0', '"ResultCode":0,"ResultCode":"1"'])
def test_a_result_code_said_twice_with_two_values_is_no_result(codes):
    body = '{"Body":{"stkCallback":{"CheckoutRequestID":"ws_CO_1",' + codes + "}}}"
    with pytest.raises(UnreadableCallback, match="ResultCode"):
        parse_stk_callback(body.encode())


def test_a_result_code_said_twice_alike_is_that_result():
    body = b'{"Body":{"stkCallback":{"CheckoutRequestID":"ws_CO_1","ResultCode":0,"ResultCode":0}}}'
    assert parse_stk_callback(body).result_code == "0"


def test_a_receipt_of_seven_zeros_is_no_receipt():
    assert parse_stk_callback(a_callback(0, [item("MpesaReceiptNumber", "SKE0000000")])).receipt is None


def test_text_that_a_database_cannot_hold_is_cleaned():
    callback = parse_stk_callback(a_callback(1, ResultDesc="a\x00b\ud800c"))
    assert callback.result_text == "abc"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"<html>503</html>",
        b'{"Body":',
        b'{"Body": []}',
        b'{"Body": {"stkCallback": null}}',
        b"\xff\xfe\x00",
        b"[" * 60_000,
        b'{"Body":' * 8_000,
        b'{"a": NaN}',
        b'{"a": 1e99999999999999999999}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b" " * (MAX_BODY_BYTES + 1),
    ],
)
def test_a_body_that_is_no_callback_is_unreadable(body):
    for parse in (parse_stk_callback, parse_c2b):
        with pytest.raises(UnreadableCallback):
            parse(body)


def test_the_words_of_the_error_quote_nothing_of_the_body():
    with pytest.raises(UnreadableCallback) as refused:
        parse_stk_callback(a_callback(None, ResultDesc="254712345678"))
    assert "254712345678" not in str(refused.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(body):
    for parse in (parse_stk_callback, parse_c2b):
        with contextlib.suppress(UnreadableCallback):
            parse(body)


@given(
    st.fixed_dictionaries(
        {"CheckoutRequestID": st.just("ws_CO_1") | JSON, "ResultCode": st.just(0) | JSON},
        optional={
            "MerchantRequestID": JSON,
            "ResultDesc": JSON,
            "CallbackMetadata": JSON
            | st.fixed_dictionaries(
                {
                    "Item": JSON
                    | st.lists(
                        st.fixed_dictionaries(
                            {
                                "Name": st.sampled_from(
                                    [
                                        "Amount",
                                        "MpesaReceiptNumber",
                                        "TransactionDate",
                                        "PhoneNumber",
                                        "Balance",
                                    ]
                                )
                            },
                            optional={"Value": JSON},
                        ),
                        max_size=6,
                    )
                }
            ),
        },
    )
)
def test_no_typing_of_a_callback_raises_anything_else(callback):
    try:
        read = parse_stk_callback(json.dumps({"Body": {"stkCallback": callback}}).encode())
    except UnreadableCallback:
        return
    assert read.result_code
    assert read.amount is None or read.amount >= 0
    assert "\x00" not in read.result_text
    read.result_text.encode()


@given(st.dictionaries(st.sampled_from(["TransID", "TransAmount", "TransTime", "MSISDN", "FirstName"]), JSON))
def test_no_typing_of_a_notice_raises_anything_else(notice):
    try:
        read = parse_c2b(json.dumps(notice).encode())
    except UnreadableCallback:
        return
    assert read.amount >= 0
