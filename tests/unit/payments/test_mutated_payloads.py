"""Every published payload, disturbed in every way, comes to what its manifest says, or is refused as unreadable."""

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haven.payments.mpesa.answers import (
    FaultKind,
    PushAccepted,
    read_fault,
    read_pulled,
    read_push,
    read_query,
    read_token,
)
from haven.payments.mpesa.messages import UnreadableCallback, parse_c2b, parse_stk_callback
from haven.payments.mpesa.results import Outcome, outcome_of
from tests.support.mutation import disturbed_shape, objects, read, retyped, spaced, write
from tests.unit.payments.corpus import MANIFEST, body_of, named
from tests.unit.payments.mutated import Truth, disturbed, published

many = settings(max_examples=400)


def what_a_callback_comes_to(body: bytes) -> Truth:
    try:
        callback = parse_stk_callback(body)
    except UnreadableCallback:
        return Truth("unreadable")
    outcome = outcome_of(callback.result_code)
    if outcome is Outcome.PENDING:
        return Truth("pending")
    if outcome is not Outcome.PAID:
        return Truth("failed")
    return Truth("paid", callback.amount, callback.receipt)


@many
@given(st.data())
def test_a_disturbed_callback_comes_to_what_the_manifest_says(data):
    tree, truth = data.draw(st.sampled_from(published()))
    body, expected = data.draw(disturbed(tree, truth))
    if expected.outcome != "paid":
        expected = Truth(expected.outcome)
    assert what_a_callback_comes_to(body) == expected


def test_undisturbed_it_is_written_as_it_was_published():
    for row in MANIFEST:
        body = body_of(row["file"])
        assert json.loads(write(read(body))) == json.loads(body)


@dataclass(frozen=True)
class Known:
    """What Haven must read in a payload that is no STK callback. ``needed``: without one of them it must not."""

    read: Any
    means: Any
    needed: tuple[str, ...]
    without: Any
    money: tuple[str, ...] = ()


def a_query(row: dict[str, Any]) -> Known:
    """A query's answer with HTTP 200 and a result code."""
    body = json.loads(body_of(row["file"]))
    state = {"paid": "PAID", "failed": "FAILED", "pending": "PENDING"}[row["outcome"]]
    return Known(
        lambda found: read_query(found, body["CheckoutRequestID"]).state,
        state,
        ("ResultCode",),
        "PENDING",
    )


WITHOUT_A_CODE = {
    400: FaultKind.UNCLEAR,
    401: FaultKind.AUTHENTICATION,
    404: FaultKind.CONFIGURATION,
    429: FaultKind.THROTTLED,
    500: FaultKind.UNCLEAR,
}
"""Without the words of M-Pesa only the HTTP status is left to go by."""
KINDS = {
    "rejected": FaultKind.REJECTED,
    "config": FaultKind.REJECTED,
    "no answer": FaultKind.REJECTED,
    "auth": FaultKind.AUTHENTICATION,
    "busy": FaultKind.BUSY,
    "pending": FaultKind.UNCLEAR,
    "rate limited": FaultKind.THROTTLED,
}


def a_fault(row: dict[str, Any]) -> Known:
    status = row["http_status"]
    return Known(
        lambda found: read_fault(status, {}, found).kind,
        KINDS[row["outcome"]],
        ("errorCode",),
        WITHOUT_A_CODE[status],
    )


def a_notice(row: dict[str, Any]) -> Known:
    """A C2B validation or confirmation: which of the two it is only its address tells."""
    body = json.loads(body_of(row["file"]))

    def seen(found: bytes) -> Any:
        try:
            notice = parse_c2b(found)
        except UnreadableCallback:
            return "unreadable"
        return notice.receipt, notice.amount, notice.account

    means = (body["TransID"], Decimal(body["TransAmount"]), body["BillRefNumber"])
    money = ("TransAmount", "OrgAccountBalance")
    return Known(seen, means, ("TransID", "TransAmount"), "unreadable", money)


def the_rows_pulled(found: bytes) -> Any:
    return [(row.receipt, row.amount, row.account) for row in read_pulled(found)]


PULLED = [("yzlyrEsRG1", Decimal(168), "37207636392"), ("ZobjR29vdz", Decimal(647), "37207636392")]
ACCEPTED = PushAccepted("2654-4b64-97ff-b827b542881d3130", "ws_CO_10072024091526171712345678")
KNOWN = (
    {row["file"]: a_query(row) for row in named("query-") if row["outcome"] in {"paid", "failed"}}
    | {"query-07.json": a_query(next(iter(named("query-07"))))}
    | {row["file"]: a_fault(row) for row in named("error-", "query-06", "query-10", "query-12")}
    | {
        row["file"]: a_notice(row)
        for row in named("c2b-")
        if row["outcome"] in {"validation", "confirmation"}
    }
    | {
        "c2b-13.json": Known(the_rows_pulled, PULLED, ("Response",), [], ("amount",)),
        "stk_push-02.json": Known(read_push, ACCEPTED, ("ResponseCode", "CheckoutRequestID"), None),
        "other-01.json": Known(read_token, read_token(body_of("other-01.json")), ("access_token",), None),
    }
)
NOT_READ = {
    *("b2c-01.json", "b2c-02.json", "b2c-03.json", "b2c-04.json", "b2c-07.json"),
    *("reversal-01.json", "reversal-02.json", "reversal-04.json"),
    *("c2b-10.json", "c2b-12.json", "c2b-15.json", "query-14.json", "stk_push-01.json"),
}
"""What Haven sends, and the results of reversals and payouts, which it does not ask for: never taken for money."""


def test_every_published_payload_has_its_place():
    callbacks = {row["file"] for row in named("stk_callback-")}
    assert {row["file"] for row in MANIFEST} == callbacks | KNOWN.keys() | NOT_READ


def reshaped(draw, name, money=()):
    """A payload with its types and its shape disturbed; its meaning is the same."""
    tree = read(body_of(name))
    for place in objects(tree):
        place.pairs = [
            (key, retyped(draw, value, is_money=key in money)) if isinstance(value, str) else (key, value)
            for key, value in place.pairs
        ]
    disturbed_shape(draw, tree)
    return tree


@pytest.mark.parametrize("name", KNOWN)
@settings(max_examples=60)
@given(data=st.data())
def test_a_disturbed_answer_means_what_it_meant(name, data):
    known = KNOWN[name]
    body = spaced(data.draw, reshaped(data.draw, name, known.money))
    assert known.read(body) == known.means


@pytest.mark.parametrize("name", KNOWN)
@settings(max_examples=30)
@given(data=st.data())
def test_without_what_it_needs_it_settles_nothing(name, data):
    known = KNOWN[name]
    tree = reshaped(data.draw, name, known.money)
    needed = data.draw(st.sampled_from(known.needed))
    how = data.draw(st.sampled_from(["lost", "null", "said twice"]))
    if how == "lost":
        tree.drop(needed)
    elif how == "null":
        tree.put(needed, None)
    else:
        tree.pairs.insert(data.draw(st.integers(0, len(tree.pairs))), (needed, "0123"))
    assert known.read(spaced(data.draw, tree)) == known.without


@pytest.mark.parametrize("name", sorted(NOT_READ | {"stk_push-02.json", "c2b-13.json", "other-01.json"}))
@settings(max_examples=30)
@given(data=st.data())
def test_what_is_no_notice_of_money_is_never_taken_for_one(name, data):
    body = spaced(data.draw, reshaped(data.draw, name))
    for parse in (parse_stk_callback, parse_c2b):
        with pytest.raises(UnreadableCallback):
            parse(body)
    assert read_query(body, "ws_CO_ours").state == "PENDING"
