"""A person decides what nothing else could; alerts end with what they tell of; and lists put what lacks a date last."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text

from haven.operations.models import Alert
from tests.api.conftest import caller_of
from tests.payments.test_callbacks import hear, paid_body
from tests.support.builders import a_payment, a_phone, an_invoice

__all__ = ["caller_of"]


@pytest.fixture
def accountant(house, caller_of):
    return caller_of("ACCOUNTANT", house.agency_id)


@pytest.fixture
def doubtful(house):
    """A payment of which M-Pesa said another amount."""
    push = house.start(a_phone())
    hear(house, push, paid_body(amount=999))
    assert house.payment(push.payment_id).status == "NEEDS_REVIEW"
    return push


def alerts(house):
    with house.session() as session:
        rows = session.execute(select(Alert.fingerprint, Alert.state).order_by(Alert.id)).all()
        return {row.fingerprint.partition("/")[2].partition(":")[0]: row.state for row in rows}


def resolve(by, payment_id, **body):
    return by.post(f"/payments/{payment_id}/resolve", {"note": "Seen on the statement"} | body)


def test_money_that_came_is_booked_as_any_other(house, doubtful, accountant):
    an_invoice(house.engine, house.agency_id, house.lease_id)
    answer = resolve(accountant, doubtful.payment_id, outcome="COMPLETED", receipt="uko9zzzzzz")
    assert answer.status_code == 200, answer.get_json()
    shown = answer.get_json()
    assert (shown["status"], shown["reference"]) == ("COMPLETED", "UKO9ZZZZZZ")
    assert shown["receipt_number"]
    assert alerts(house) == {"payment": "RESOLVED"}
    assert house.attempt(doubtful.attempt_id).state == "PAID"
    with house.session() as session:
        booked = session.execute(
            text("SELECT count(*) FROM ledger_transaction WHERE payment_id = :id"),
            {"id": doubtful.payment_id},
        ).scalar_one()
    assert booked >= 1
    said = accountant.get(f"/payments/{doubtful.payment_id}/evidence").get_json()["entries"]
    (decision,) = [one for one in said if one["source"] == "MANUAL"]
    assert decision["detail"]["note"] == "Seen on the statement"
    assert decision["detail"]["decision"] == "COMPLETED"
    assert decision["detail"]["decided_by"].startswith("key:")
    assert resolve(accountant, doubtful.payment_id, outcome="FAILED").status_code == 409


def test_money_that_did_not_come_has_failed(house, doubtful, accountant):
    answer = resolve(accountant, doubtful.payment_id, outcome="FAILED")
    assert (answer.status_code, answer.get_json()["status"]) == (200, "FAILED")
    assert answer.get_json()["failure_code"] == "DECIDED"
    assert alerts(house) == {"payment": "RESOLVED"}


def test_a_receipt_is_one_payments_alone(house, doubtful, accountant):
    a_payment(house.engine, house.agency_id, house.lease_id, "10.00", method="MPESA", reference="UKO7TAKENX")
    answer = resolve(accountant, doubtful.payment_id, outcome="COMPLETED", receipt="UKO7TAKENX")
    assert answer.status_code == 409
    assert house.payment(doubtful.payment_id).status == "NEEDS_REVIEW"
    assert alerts(house) == {"payment": "FIRING"}


@pytest.mark.parametrize(
    "body, status",
    [
        ({"outcome": "MAYBE"}, 422),
        ({"outcome": "FAILED", "receipt": "UKO9ZZZZZZ"}, 422),
        ({"outcome": "COMPLETED", "receipt": "no!"}, 422),
        ({"outcome": "COMPLETED", "note": ""}, 422),
    ],
)
def test_what_is_no_decision_is_refused(house, doubtful, accountant, body, status):
    assert resolve(accountant, doubtful.payment_id, **body).status_code == status
    assert house.payment(doubtful.payment_id).status == "NEEDS_REVIEW"


def test_only_who_may_decides_and_only_what_is_undecided(house, doubtful, accountant, caller_of):
    for role in ("MANAGER", "VIEWER"):
        by = caller_of(role, house.agency_id)
        assert resolve(by, doubtful.payment_id, outcome="FAILED").status_code == 403
    paid = a_payment(house.engine, house.agency_id, house.lease_id)
    assert resolve(accountant, paid, outcome="FAILED").status_code == 409
    assert resolve(caller_of(), doubtful.payment_id, outcome="FAILED").status_code == 404


def test_the_alert_of_a_callback_ends_when_its_payment_is_reversed(house, accountant):
    push = house.start(a_phone())
    hear(house, push, paid_body())
    hear(house, push, paid_body(receipt="UKO5SECOND"))
    assert alerts(house) == {"inbox": "FIRING"}
    answer = accountant.post(f"/payments/{push.payment_id}/reverse", {"reason": "Booked by mistake"})
    assert answer.status_code == 200
    assert alerts(house) == {"inbox": "RESOLVED"}


def test_the_list_puts_what_has_no_date_last_up_and_down(house, accountant):
    for _ in range(3):
        a_payment(house.engine, house.agency_id, house.lease_id, "10.00")
    for _ in range(3):
        house.start(a_phone())
    for sort in ("paid_at", "-paid_at"):
        for limit in (1, 2, 3, 4, 6, 7):
            rows, cursor = [], ""
            for _ in range(8):
                page = accountant.get(f"/payments?sort={sort}&limit={limit}{cursor}").get_json()
                rows += page["data"]
                if not page["pagination"]["has_more"]:
                    break
                cursor = f"&cursor={page['pagination']['next_cursor']}"
            dates = [row["paid_at"] for row in rows]
            assert len({row["id"] for row in rows}) == len(rows) == 6, (sort, limit)
            assert dates[3:] == [None] * 3
            assert dates[:3] == sorted(dates[:3], reverse=sort.startswith("-"))
