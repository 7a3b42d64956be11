"""What is paid to the paybill, as M-Pesa tells of it over HTTP: confirmations are money, once; validations never are."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haven.app import create_app
from haven.embedded_servers import free_port
from haven.payments import service as payments
from haven.payments.mpesa.messages import UnreadableCallback, parse_c2b
from haven.payments.paybill import validation
from tests.payments.paybill.money import (
    ACCEPTED,
    a_notice,
    a_receipt,
    alerts,
    an_address,
    hear,
    keep,
    masked,
    notes,
    paid,
    phone_of,
    received,
    reference_of,
    rename,
    set_up,
    waiting,
)
from tests.support.books import check_books
from tests.support.builders import a_payment, a_phone, an_agency
from tests.unit.payments.corpus import body_of, named

JSON = "application/json;charset=UTF-8"
NOTICES = [row for row in named("c2b") if row["outcome"] in ("confirmation", "validation")]


@pytest.fixture
def token(house):
    return an_address(house)


def post(client, token, body, call="confirmation"):
    return client.post(f"/api/v1/hooks/c2b/{call}/{token}", data=body, headers={"Content-Type": JSON})


@pytest.mark.req("P2")
@pytest.mark.parametrize("row", NOTICES, ids=lambda row: row["file"])
def test_every_published_confirmation_is_accepted_and_its_money_booked_once(client, house, token, row):
    body = body_of(row["file"])
    first, again = post(client, token, body), post(client, token, body)
    assert (first.status_code, first.get_json()) == (200, ACCEPTED)
    assert (again.status_code, again.get_json()) == (200, ACCEPTED)
    assert [(bytes(kept.body), kept.state) for kept in house.inbox()] == [
        (body, "APPLIED"),
        (body, "IGNORED"),
    ]
    assert received(house) == parse_c2b(body).amount
    assert [one.receipt for one in waiting(house)] == [json.loads(body)["TransID"]]
    check_books(house.engine, house.agency_id)


@pytest.mark.parametrize("row", NOTICES, ids=lambda row: row["file"])
@pytest.mark.parametrize("is_strict", [False, True])
def test_a_validation_is_never_money(client, house, token, row, is_strict):
    set_up(house, c2b_reject_unknown_accounts=is_strict)
    body = body_of(row["file"])
    answer = post(client, token, body, "validation")
    assert answer.status_code == 200
    assert answer.get_json()["ResultCode"] == ("C2B00012" if is_strict else "0")
    (kept,) = house.inbox()
    with house.session() as session:
        payments.replay_callback(session, kept.id)
    assert bytes(kept.body) == body
    assert (received(house), paid(house), waiting(house)) == (0, [], [])
    check_books(house.engine, house.agency_id)


@pytest.mark.parametrize("row", named("c2b-1"), ids=lambda row: row["file"])
def test_what_is_no_notice_is_kept_and_changes_nothing(client, house, token, row):
    assert post(client, token, body_of(row["file"])).get_json() == ACCEPTED
    assert [kept.state for kept in house.inbox()] == ["REJECTED"]
    assert received(house) == 0


def test_rent_paid_to_the_account_of_a_unit_pays_its_oldest_invoice(client, house, token):
    receipt = a_receipt()
    post(client, token, a_notice(receipt, account=reference_of(house), payer=masked(a_phone())))
    (payment,) = paid(house)
    assert (payment.reference, payment.method, payment.lease_id) == (receipt, "MPESA", house.lease_id)
    assert (payment.allocated, payment.receipt_number) == (25000, 1)
    assert house.invoice().status == "PAID"
    (note,) = notes(house, payment.id)
    assert (note.kind, note.detail["matched_by"], note.detail["receipt"]) == ("C2B", "ACCOUNT", receipt)
    check_books(house.engine, house.agency_id)


@pytest.mark.parametrize("amount", ["25000", "25000.00", 25000, 25000.0])
@pytest.mark.parametrize(
    "left_out", [(), ("FirstName", "MiddleName", "LastName"), ("InvoiceNumber", "TransTime")]
)
def test_numbers_texts_and_missing_keys_are_the_same(client, house, token, amount, left_out):
    odd: dict[str, Any] = dict.fromkeys(left_out, ...) | {"ThirdPartyTransID": None, "Unknown": [1]}
    post(client, token, a_notice(amount=amount, account=reference_of(house), **odd))
    assert [payment.amount for payment in paid(house)] == [25000]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"[]", b"null", b"<html>", b"[" * 60_000, b"0" * 70_000, b'{"a":' * 9000, a_notice(amount="much"),
     a_notice("short"), a_notice(amount=-5), a_notice(amount="1.005"), a_notice(amount=None)],
)  # fmt: skip
def test_what_cannot_be_read_is_accepted_kept_and_alerts(client, house, token, body):
    answer = post(client, token, body)
    assert (answer.status_code, answer.get_json()) == (200, ACCEPTED)
    (kept,) = house.inbox()
    assert (kept.state, bytes(kept.body)) == ("REJECTED", body[: 64 * 1024 + 1])
    assert received(house) == 0
    assert alerts(house) == [f"payments_need_review/inbox:{kept.id}"]
    assert post(client, token, body, "validation").get_json()["ResultCode"] == "0"


def test_a_body_without_end_is_refused_unread(client, house, token):
    for call in ("confirmation", "validation"):
        assert post(client, token, b"x" * 1_100_000, call).status_code == 413
    assert house.inbox() == []


@pytest.mark.parametrize("receipt", ["UKO0000000", "0000000000"])
def test_a_receipt_of_no_transaction_is_no_money(client, house, token, receipt):
    post(client, token, a_notice(receipt, account=reference_of(house)))
    assert (received(house), house.inbox()[0].state) == (0, "IGNORED")


def test_an_amount_of_nothing_is_no_money(client, house, token):
    post(client, token, a_notice(amount="0.00", account=reference_of(house)))
    assert (received(house), house.inbox()[0].state) == (0, "IGNORED")


@pytest.mark.parametrize(
    "change",
    [lambda t: t[:-1] + ("0" if t[-1] != "0" else "1"), str.upper, lambda t: t[:64], lambda t: "x" * 500],
)
@pytest.mark.parametrize("call", ["confirmation", "validation"])
def test_a_token_that_is_not_ours_learns_and_leaves_nothing(client, house, token, call, change):
    answer = post(client, change(token), a_notice(account=reference_of(house)), call)
    assert answer.status_code == 404
    assert (house.inbox(), received(house)) == ([], 0)


def test_a_token_opens_no_other_address_and_no_other_agency(client, house, token):
    push = house.start(a_phone())
    body = a_notice(account=reference_of(house))
    post(client, push.token, body)
    client.post(f"/api/v1/hooks/stk/{token}", data=body)
    post(client, an_agency(house.engine).hex + token[32:], body)
    assert house.inbox() == []


def test_every_address_that_was_made_goes_on_working(client, house, token):
    newer = an_address(house)
    for one in (token, newer):
        post(client, one, a_notice(amount="10", account=reference_of(house)))
    assert len(paid(house)) == 2


def test_a_receipt_that_a_person_recorded_is_not_booked_again(house, token):
    receipt = a_receipt()
    payment_id = a_payment(house.engine, house.agency_id, house.lease_id, method="MPESA", reference=receipt)
    row = hear(house, token, a_notice(receipt, account=reference_of(house)))
    assert row.state == "IGNORED"
    assert [note.kind for note in notes(house, payment_id)] == ["MANUAL", "C2B"]
    assert received(house) == 25000
    check_books(house.engine, house.agency_id)


def test_another_amount_for_a_booked_receipt_is_reported_and_corrects_nothing(house, token):
    receipt = a_receipt()
    payment_id = a_payment(house.engine, house.agency_id, house.lease_id, method="MPESA", reference=receipt)
    row = hear(house, token, a_notice(receipt, amount="24000.00", account=reference_of(house)))
    assert (row.state, "needs a look" in row.outcome) == ("REJECTED", True)
    assert notes(house, payment_id)[-1].detail["says"] == "another amount"
    assert alerts(house) == [f"payments_need_review/receipt:{receipt}"]
    assert received(house) == 25000


def test_what_is_kept_as_evidence_shows_no_phone(house, token):
    phone = phone_of(house)
    hear(house, token, a_notice(account=reference_of(house), payer=phone[1:]))
    with house.session() as session:
        shown = json.dumps(payments.evidence(session, paid(house)[0].id), default=str)
    assert phone[1:] not in shown
    assert '"C2B"' in shown


def test_a_confirmation_that_fails_is_kept_for_the_sweeper(client, house, token, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("haven.payments.callbacks.witness", lambda *_: 1 / 0)
        assert post(client, token, a_notice(account=reference_of(house))).get_json() == ACCEPTED
    (kept,) = house.inbox()
    assert (kept.state, received(house)) == ("RECEIVED", 0)
    with house.session() as session:
        payments.apply_callback(session, kept.id)
    assert received(house) == 25000


# Validation


def ask(house, token, **fields):
    body = a_notice(**fields)
    inbox_id = keep(house, token, body, "C2B_VALIDATION").id
    with house.session() as session:
        return payments.validate_payment(session, inbox_id)


def test_only_an_agency_that_asks_for_it_turns_payments_away(house, token):
    assert ask(house, token, account="NOWHERE") == "0"
    set_up(house, c2b_reject_unknown_accounts=True)
    assert ask(house, token, account="NOWHERE") == "0", "25,000 is owed by one lease only"
    assert ask(house, token, account="NOWHERE", amount="10") == "C2B00012"
    assert ask(house, token, account=reference_of(house), amount="10") == "0"
    assert ask(house, token, account="NOWHERE", amount="10", payer=phone_of(house)[1:]) == "0"


@pytest.mark.parametrize("amount,code", [("0", "C2B00013"), ("10", "0")])
def test_an_amount_of_nothing_is_turned_away(house, token, amount, code):
    set_up(house, c2b_reject_unknown_accounts=True)
    assert ask(house, token, account=reference_of(house), amount=amount) == code


def test_another_paybill_is_turned_away(house, token):
    set_up(house, c2b_reject_unknown_accounts=True, mpesa_shortcode="600999")
    assert ask(house, token, account=reference_of(house)) == "C2B00015"


def test_a_validation_that_fails_lets_the_payment_go_on(client, house, token, monkeypatch):
    set_up(house, c2b_reject_unknown_accounts=True)
    monkeypatch.setattr(validation, "place_of", lambda *_: 1 / 0)
    answer = post(client, token, a_notice(account="NOWHERE"), "validation")
    assert (answer.status_code, answer.get_json()["ResultCode"]) == (200, "0")


def test_a_validation_that_was_not_answered_is_no_money_for_the_sweeper_either(house, token):
    row = hear(house, token, a_notice(account=reference_of(house)), "C2B_VALIDATION")
    assert (row.state, received(house)) == ("IGNORED", 0)


def test_a_validation_and_its_confirmation_are_one_payment(client, house, token):
    body = a_notice(account=reference_of(house))
    assert post(client, token, body, "validation").get_json()["ResultCode"] == "0"
    post(client, token, body)
    assert received(house) == 25000


def test_a_published_notice_is_a_notice():
    assert len(NOTICES) == 6
    for row in named("c2b-1"):
        with pytest.raises(UnreadableCallback):
            parse_c2b(body_of(row["file"]))


@pytest.mark.parametrize("typed", ["g-7o", "G 70", "g.70", " G70 ", "G/70", "G7O", "g7o"])
def test_an_account_may_be_typed_as_people_do(house, token, typed):
    rename(house, "G70")
    hear(house, token, a_notice(account=typed, amount="10"))
    assert len(paid(house)) == 1


@pytest.fixture(scope="module")
def without_database(settings):
    """The application, with a database that is not there."""
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    return create_app(dataclasses.replace(settings, database_url=nowhere)).test_client()


def test_without_the_database_a_payer_is_not_turned_away_and_no_confirmation_is_taken(
    without_database, house, token
):
    body = a_notice(account=reference_of(house))
    answer = post(without_database, token, body, "validation")
    assert (answer.status_code, answer.get_json()["ResultCode"]) == (200, "0")
    assert post(without_database, token, body).status_code == 503, "what is not stored is not acknowledged"


FIELDS = sorted(json.loads(body_of("c2b-02.json")))
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.text(max_size=40),
    st.floats(),
    st.lists(st.text(), max_size=2),
)


@pytest.mark.req("P2")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4),
    left_out=st.sets(st.sampled_from(FIELDS), max_size=4),
    order=st.randoms(use_true_random=False),
    doubled=st.booleans(),
)
def test_whatever_is_changed_in_a_notice_it_is_booked_at_most_once(
    client, house, token, changes, left_out, order, doubled
):
    notice = json.loads(a_notice(account=reference_of(house), amount="7.00")) | changes
    fields = [(name, value) for name, value in notice.items() if name not in left_out]
    order.shuffle(fields)
    inside = ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in fields * (1 + doubled))
    before = received(house)
    answers = [post(client, token, f"{{{inside}}}".encode()) for _ in range(2)]
    assert [(one.status_code, one.get_json()) for one in answers] == [(200, ACCEPTED)] * 2
    try:
        seen = parse_c2b(f"{{{inside}}}".encode())
    except UnreadableCallback:
        assert received(house) == before
    else:
        assert received(house) - before in (0, seen.amount)
    check_books(house.engine, house.agency_id)
