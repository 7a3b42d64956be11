"""M-Pesa's real callbacks, posted to the address that it is given."""

from __future__ import annotations

import json

import pytest

from haven.payments.mpesa.results import outcome_of
from tests.support.books import check_books
from tests.support.builders import a_phone
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
