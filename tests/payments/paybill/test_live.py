"""Registering a paybill and being paid by it: Haven over real HTTP on one side, the simulator on the other."""

from __future__ import annotations

import dataclasses
import threading
import uuid

import httpx
import orjson
import pytest

from haven.crypto import Vault
from haven.embedded_servers import free_port
from haven.errors import Conflict
from haven.payments import service as payments
from haven.payments.models import C2bAddress
from tests.api.conftest import caller_of  # noqa: F401  a fixture
from tests.payments.conftest import House, wait_until
from tests.payments.paybill.money import a_line, notes, paid, received, reference_of, set_up, waiting
from tests.support.books import check_books
from tests.support.builders import a_lease, an_agency, an_invoice


def test_a_registered_paybill_brings_rent_to_its_lease(paybill, house):
    answer = paybill.register()
    assert (answer["state"], answer["pull_state"], answer["detail"]) == ("REGISTERED", "NOT_ASKED", None)
    assert answer["shortcode"] == paybill.shortcode
    receipt = paybill.pay(a_line(), 25000, f" {reference_of(house).lower()}")
    wait_until(lambda: paid(house))
    assert [(one.reference, one.allocated) for one in paid(house)] == [(receipt, 25000)]
    check_books(house.engine, house.agency_id)


def test_addresses_spell_no_word_that_mpesa_refuses(paybill):
    answer = paybill.register()
    for call in ("confirmation", "validation"):
        path = answer[f"{call}_url"].rpartition("/hooks")[2]
        assert path == path.lower()
        assert not any(word in path for word in ("mpesa", "safaricom", "exe", "cmd", "sql", "query"))
        assert len(path.rpartition("/")[2]) == 96


def test_only_the_hash_of_an_address_is_kept(paybill, house):
    answer = paybill.register()
    token = answer["confirmation_url"].rpartition("/")[2]
    with house.session() as session:
        row = session.get_one(C2bAddress, (house.agency_id, answer["id"]))
        assert token not in repr({key: value for key, value in vars(row).items() if key != "agency_id"})
        assert (row.state, row.shortcode) == ("REGISTERED", paybill.shortcode)


@pytest.mark.req("P3")
def test_a_push_to_a_registered_paybill_is_told_twice_and_paid_once(paybill, house):
    paybill.register()
    push = house.start(a_line())
    payments.send_push(paybill.runtime, push)
    wait_until(lambda: len([row for row in house.inbox() if row.state in ("APPLIED", "IGNORED")]) == 2)
    (moved,) = paybill.moved()
    assert [(one.id, one.reference) for one in paid(house)] == [(push.payment_id, moved["receipt"])]
    assert {row.kind for row in house.inbox()} == {"STK", "C2B_CONFIRMATION"}
    with house.session() as session:
        entries = payments.evidence(session, push.payment_id)["entries"]
    assert {"PUSH", "C2B", "CALLBACK_STK"} <= {entry["source"] for entry in entries}
    check_books(house.engine, house.agency_id)


def test_many_pushes_at_once_to_a_registered_paybill(paybill, house):
    """Each is told twice, by callback and confirmation, from threads of the simulator that know nothing of each other."""
    paybill.register()
    leases = [a_lease(house.engine, house.agency_id) for _ in range(8)]
    for lease_id in leases:
        an_invoice(house.engine, house.agency_id, lease_id, "100.00")
    pushes = [house.start(a_line(), "100", invoice_id=None, lease_id=one) for one in leases]
    threads = [threading.Thread(target=payments.send_push, args=(paybill.runtime, one)) for one in pushes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: len([row for row in house.inbox() if row.state != "RECEIVED"]) == 16)
    assert {one.id for one in paid(house)} == {push.payment_id for push in pushes}
    assert {one.reference for one in paid(house)} == {one["receipt"] for one in paybill.moved()}
    assert (received(house), waiting(house)) == (800, [])
    check_books(house.engine, house.agency_id)


def test_registered_again_in_the_sandbox_the_old_address_goes_on_working(paybill, house):
    old, new = paybill.register(), paybill.register()
    assert (old["state"], new["state"]) == ("REGISTERED", "REGISTERED")
    assert old["confirmation_url"] != new["confirmation_url"]
    paybill.pay(a_line(), 10, reference_of(house))
    wait_until(lambda: len(paid(house)) == 1)
    body = paybill.calls()[-1]["body"].replace(paid(house)[0].reference, "UKO5OLDONE")
    assert httpx.post(old["confirmation_url"], content=body).status_code == 200
    assert [one.reference for one in paid(house)][-1] == "UKO5OLDONE"


def test_in_production_the_first_addresses_stay_and_that_is_no_failure(at, house):
    paybill = at("--register-once")
    assert paybill.register()["state"] == "REGISTERED"
    again = paybill.register()
    assert (again["state"], again["detail"]) == ("ALREADY_REGISTERED", None)
    paybill.pay(a_line(), 10, reference_of(house))
    wait_until(lambda: paid(house))


def test_a_paybill_is_of_one_agency(at, house, engine):
    first = at()
    first.register()
    other_id = an_agency(engine)
    lease_id = a_lease(engine, other_id)
    other = House(engine, other_id, lease_id, uuid.uuid4())
    with pytest.raises(Conflict, match="another agency"):
        at(shortcode=first.shortcode, of=other).register()


def test_the_paybill_of_the_settings_is_nobodys_until_it_is_said_whose(runtime, house):
    with house.session() as session:
        registration = payments.start_registration(session, runtime.settings)
    answer = payments.send_registration(runtime, registration)
    assert (answer["state"], answer["shortcode"]) == ("REFUSED", None)
    assert "set mpesa_shortcode" in answer["detail"]


def test_where_mpesa_does_not_answer_it_is_not_known_whether_it_took_the_addresses(paybill):
    nowhere = dataclasses.replace(paybill.runtime.settings, mpesa_base_url=f"http://127.0.0.1:{free_port()}")
    paybill.runtime = dataclasses.replace(paybill.runtime, settings=nowhere)
    answer = paybill.register("+254712345678")
    assert (answer["state"], answer["pull_state"]) == ("UNKNOWN", "UNKNOWN")
    assert answer["detail"]


def test_what_mpesa_refuses_leaves_the_paybill_to_others(paybill, house):
    sealed = Vault(paybill.runtime.settings.secret_key).encrypt(
        orjson.dumps({"consumer_key": "nobody", "consumer_secret": "s", "passkey": "p"})
    )
    set_up(house, mpesa_credentials=sealed)
    answer = paybill.register()
    assert answer["state"] == "REFUSED"
    with house.session() as session:
        assert session.get_one(C2bAddress, (house.agency_id, answer["id"])).shortcode is None


def test_there_is_an_end_to_making_addresses(paybill, house):
    with house.session() as session:
        for number in range(20):
            session.add(C2bAddress(agency_id=house.agency_id, token_hash=bytes([number])))
    with pytest.raises(Conflict, match="each of them works"):
        paybill.register()


def test_who_administers_registers_over_http(caller_of, house):  # noqa: F811
    assert (
        caller_of("ACCOUNTANT", house.agency_id).post("/payments/mpesa/c2b/register", {}).status_code == 403
    )
    answer = caller_of("AGENCY_ADMIN", house.agency_id).post("/payments/mpesa/c2b/register", {})
    shown = answer.get_json()
    assert (answer.status_code, shown["state"]) == (201, "REFUSED")
    assert "not set up" in shown["detail"]
    assert shown["confirmation_url"].startswith("http://haven.test/api/v1/hooks/c2b/confirmation/")


# Validation


@pytest.mark.parametrize("is_strict", [True, False])
def test_an_unknown_account_is_turned_away_where_the_agency_wants_it(at, house, is_strict):
    paybill = at("--c2b-validation")
    set_up(house, c2b_reject_unknown_accounts=is_strict)
    paybill.register()
    paybill.pay(a_line(), 700, "NOWHERE")
    wait_until(lambda: len(paybill.calls()) == (1 if is_strict else 2))
    assert paybill.calls()[0]["kind"] == "C2B_VALIDATION"
    assert (len(paybill.moved()), received(house)) == ((0, 0) if is_strict else (1, 700))
    receipt = paybill.pay(a_line(), 25000, reference_of(house))
    wait_until(lambda: paid(house))
    assert [one.reference for one in paid(house)] == [receipt]
    assert notes(house, paid(house)[0].id)[0].detail["matched_by"] == "ACCOUNT"
    check_books(house.engine, house.agency_id)
