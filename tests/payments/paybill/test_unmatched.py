"""Money that waits for a person: listed with suggestions, placed once."""

import threading
import uuid

import pytest

from haven.errors import Conflict
from haven.payments import service as payments
from tests.api.conftest import an_invoice as an_invoice_of
from tests.api.conftest import caller_of, let_a_flat  # noqa: F401  a fixture
from tests.payments.conftest import House
from tests.payments.paybill.money import (
    a_notice,
    a_receipt,
    an_address,
    hear,
    masked,
    notes,
    paid,
    phone_of,
    received,
    reference_of,
    waiting,
)
from tests.support.books import check_books
from tests.support.builders import a_lease, a_payment, a_phone, a_tenant, an_invoice


@pytest.fixture
def token(house):
    return an_address(house)


@pytest.fixture
def stray(house, token):
    """A function that lets money come that names no lease; its row."""

    def make(account="KUSHOTO", amount="700.00", **fields):
        hear(house, token, a_notice(account=account, amount=amount, **fields))
        return waiting(house)[-1]

    return make


def suggested(house, row):
    with house.session() as session:
        return [
            (one["lease_id"], one["reasons"]) for one in payments.suggestions(session, [row.id])[str(row.id)]
        ]


def match(house, row, lease_id=None):
    with house.session() as session:
        return payments.match(session, row.id, lease_id or house.lease_id)


def test_what_names_no_lease_waits_in_suspense(house, stray):
    phone = a_phone()
    row = stray(payer=phone[1:], FirstName="AMINA", LastName="OTIENO")
    assert (row.amount, row.account_typed, row.payer_name) == (700, "KUSHOTO", "AMINA OTIENO")
    assert (row.payer_phone, row.payer) == (phone, f"{phone[:5]}*****{phone[-3:]}")
    assert (received(house), paid(house)) == (700, [])
    check_books(house.engine, house.agency_id)


def test_matched_it_is_a_payment_of_the_lease(house, stray):
    phone = a_phone()
    row = stray(payer=phone[1:])
    payment = house.payment(match(house, row))
    assert (payment.status, payment.reference, payment.method) == ("COMPLETED", row.receipt, "MPESA")
    assert (payment.lease_id, payment.paid_at, payment.phone) == (house.lease_id, row.received_at, phone)
    assert (payment.allocated, house.invoice().paid) == (700, 700)
    assert (received(house), waiting(house)) == (700, [])
    (note,) = notes(house, payment.id)
    assert (note.kind, note.detail["matched_by"], note.detail["person"]) == ("C2B", "PERSON", "test")
    check_books(house.engine, house.agency_id)


def test_the_oldest_invoice_is_paid_first_and_the_rest_is_credit(house, stray):
    row = stray(amount="26000.00")
    payment = house.payment(match(house, row))
    assert (payment.allocated, payment.unallocated) == (25000, 1000)
    check_books(house.engine, house.agency_id)


def test_it_is_matched_once(house, stray):
    row = stray()
    payment_id = match(house, row)
    with pytest.raises(Conflict, match=str(payment_id)):
        match(house, row)
    assert received(house) == 700


@pytest.mark.parametrize("turn", range(3))
def test_matched_by_many_at_once_it_is_one_payment(house, stray, turn):
    row, other = stray(), a_lease(house.engine, house.agency_id)
    made, refused = [], []

    def act(lease_id):
        try:
            made.append(match(house, row, lease_id))
        except Conflict as error:
            refused.append(error)

    threads = [threading.Thread(target=act, args=(one,)) for one in (house.lease_id, other) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(refused)) == (1, 5)
    assert received(house) == 700
    check_books(house.engine, house.agency_id)


def test_the_confirmation_again_is_a_duplicate_before_and_after(house, token):
    receipt = a_receipt()
    body = a_notice(receipt, account="KUSHOTO", amount="700.00")
    hear(house, token, body)
    assert hear(house, token, body).state == "IGNORED"
    match(house, waiting(house)[0])
    assert hear(house, token, body).state == "IGNORED"
    assert received(house) == 700
    check_books(house.engine, house.agency_id)


def test_another_amount_for_a_receipt_that_waits_is_reported(house, token):
    receipt = a_receipt()
    hear(house, token, a_notice(receipt, account="KUSHOTO", amount="700.00"))
    assert hear(house, token, a_notice(receipt, account="KUSHOTO", amount="800.00")).state == "REJECTED"
    assert received(house) == 700


def test_reversed_it_does_not_wait_again(house, stray):
    payment_id = match(house, stray())
    with house.session() as session:
        payments.reverse(session, payment_id, "paid back")
    assert (received(house), waiting(house)) == (0, [])
    check_books(house.engine, house.agency_id)


def test_a_person_cannot_record_by_hand_what_waits(house, stray):
    row = stray()
    with pytest.raises(Conflict, match="match it there"):
        a_payment(
            house.engine, house.agency_id, house.lease_id, "700.00", method="MPESA", reference=row.receipt
        )


# Suggestions


def test_a_word_of_what_was_typed_may_be_an_account(house, stray):
    assert suggested(house, stray(f"rent {reference_of(house)} john")) == [(house.lease_id, ["ACCOUNT"])]


def test_the_payer_may_be_one_of_several_tenants(house, stray):
    phones = ("+254711000999", "+254722000999")
    leases = [
        a_lease(house.engine, house.agency_id, tenant_id=a_tenant(house.engine, house.agency_id, phone=phone))
        for phone in phones
    ]
    row = stray(payer="2547 ***** 999")
    assert {lease_id for lease_id, _ in suggested(house, row)} == set(leases)
    assert {tuple(reasons) for _, reasons in suggested(house, row)} == {("PAYER_MASK",)}


def test_what_several_things_say_comes_first(house, stray):
    tenant_id = a_tenant(house.engine, house.agency_id, phone="+254711000777")
    one, two = (a_lease(house.engine, house.agency_id, tenant_id=tenant_id) for _ in range(2))
    third = a_lease(house.engine, house.agency_id)
    for lease_id in (one, two, third):
        an_invoice(house.engine, house.agency_id, lease_id, "500.00")
    an_invoice(house.engine, house.agency_id, one, "200.00")
    an_invoice(house.engine, house.agency_id, two, "200.00")
    row = stray(payer="254711000777")
    assert suggested(house, row)[:2] == [(lease_id, ["BALANCE", "PAYER"]) for lease_id in sorted((one, two))]


def test_there_are_five_at_most(house, stray):
    for _ in range(7):
        an_invoice(house.engine, house.agency_id, a_lease(house.engine, house.agency_id), "700.00")
    assert [reasons for _, reasons in suggested(house, stray())] == [["BALANCE"]] * 5


def test_nothing_is_suggested_where_nothing_fits(house, stray):
    assert suggested(house, stray(payer=masked("+254799999123"))) == []


def test_a_lease_that_is_over_and_owes_nothing_is_not_suggested(house, stray):
    gone = a_lease(house.engine, house.agency_id, status="TERMINATED")
    row = stray(f"x {reference_of(house, gone)}", payer=masked(phone_of(house, gone)))
    assert suggested(house, row) == []


# Over HTTP


@pytest.fixture
def office(caller_of, house):  # noqa: F811
    return caller_of("ACCOUNTANT", house.agency_id)


def test_the_list_shows_what_waits_with_suggestions(house, office, stray):
    row = stray(f"rent {reference_of(house)}", payer=masked(a_phone()))
    (shown,) = office.get("/payments/unmatched").get_json()["data"]
    assert (shown["id"], shown["receipt"], shown["amount"]) == (str(row.id), row.receipt, "700.00")
    (suggestion,) = shown["suggestions"]
    assert suggestion["lease_id"] == str(house.lease_id)
    assert (suggestion["reasons"], suggestion["balance"]) == (["ACCOUNT"], "25000.00")
    assert office.get(f"/payments/unmatched?receipt={row.receipt}").get_json()["data"] == [shown]


def test_the_list_is_a_list_like_every_other(house, office, stray):
    rows = [stray() for _ in range(3)]
    first = office.get("/payments/unmatched?limit=2&sort=created_at&include_total=true")
    page = first.get_json()["pagination"]
    assert (page["total"], page["has_more"], 'rel="next"' in first.headers["Link"]) == (3, True, True)
    second = office.get(
        f"/payments/unmatched?limit=2&sort=created_at&cursor={page['next_cursor']}"
    ).get_json()
    ids = [row["id"] for row in first.get_json()["data"] + second["data"]]
    assert ids == [str(row.id) for row in rows]


def test_the_same_key_matches_once_and_has_the_same_answer(house, office, stray):
    path = f"/payments/unmatched/{stray().id}/match"
    body = {"lease_id": str(house.lease_id)}
    answers = [office.post(path, body, Idempotency_Key="k1") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].get_json() == answers[1].get_json()
    assert answers[0].headers["Location"].endswith(answers[0].get_json()["id"])
    again = office.post(path, body)
    assert (again.status_code, "matched already" in again.get_json()["detail"]) == (409, True)
    assert office.get("/payments/unmatched").get_json()["data"] == []


def test_who_may_only_look_places_nothing(house, caller_of, stray):  # noqa: F811
    viewer = caller_of("VIEWER", house.agency_id)
    path = f"/payments/unmatched/{stray().id}/match"
    assert viewer.get("/payments/unmatched").status_code == 200
    assert viewer.post(path, {"lease_id": str(house.lease_id)}).status_code == 403


def test_another_agencys_money_and_leases_are_not_there(house, caller_of, engine, stray):  # noqa: F811
    stranger = caller_of()
    path = f"/payments/unmatched/{stray().id}/match"
    assert stranger.post(path, {"lease_id": str(house.lease_id)}).status_code == 404
    flat = let_a_flat(stranger)
    an_invoice_of(stranger, flat.lease["id"])
    ours = caller_of("ACCOUNTANT", house.agency_id)
    assert ours.post(path, {"lease_id": flat.lease["id"]}).status_code == 422
    assert ours.post(path, {"lease_id": str(uuid.uuid4())}).status_code == 422
    assert isinstance(house, House)
    assert received(house) == 700
