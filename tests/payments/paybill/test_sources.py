"""Where callbacks come from: looked at, written down, and never a reason to lose money."""

import dataclasses

import pytest

from haven.app import create_app
from haven.payments import service as payments
from haven.payments.sources import MPESA_ADDRESSES, is_known, refusal
from tests.payments.paybill.money import ACCEPTED, a_notice, an_address, received, reference_of
from tests.payments.test_callbacks import paid_body
from tests.support.builders import a_phone


@pytest.mark.parametrize("address", [*MPESA_ADDRESSES, "::ffff:196.201.212.69", "10.1.2.3", "2001:db8::7"])
def test_known_addresses(address):
    assert is_known(address, ("10.0.0.0/8", "2001:db8::/32"))


@pytest.mark.parametrize(
    "address", ["196.201.214.201", "127.0.0.1", "::1", "", None, "here", "10.0.0.1, 196.201.214.200"]
)
def test_unknown_addresses(address):
    assert not is_known(address)


def test_the_addresses_that_were_observed_are_known():
    """Two that most published lists lack."""
    assert {"196.201.212.69", "196.201.212.138"} <= set(MPESA_ADDRESSES)


@pytest.mark.parametrize("mode,refuses", [("off", False), ("log", False), ("enforce", True)])
def test_only_enforce_refuses_and_only_the_unknown(settings, mode, refuses):
    settings = dataclasses.replace(settings, mpesa_callback_sources=mode)
    assert (refusal(settings, "192.0.2.1") is not None) == refuses
    assert refusal(settings, "196.201.214.200") is None


@pytest.fixture(scope="module")
def strict(settings):
    """The application that enforces."""
    return create_app(dataclasses.replace(settings, mpesa_callback_sources="enforce")).test_client()


def post(client, path, body, address):
    return client.post(f"/api/v1/hooks/{path}", data=body, environ_base={"REMOTE_ADDR": address})


def test_from_elsewhere_a_callback_is_kept_unapplied_and_a_person_may_apply_it(strict, house):
    push = house.start(a_phone())
    answer = post(strict, f"stk/{push.token}", paid_body(), "192.0.2.1")
    assert (answer.status_code, answer.get_json()) == (200, ACCEPTED)
    (kept,) = house.inbox()
    assert (kept.state, kept.address) == ("REJECTED", "192.0.2.1")
    assert "192.0.2.1" in kept.outcome
    assert house.payment(push.payment_id).status == "PENDING"
    with house.session() as session:
        assert payments.replay_callback(session, kept.id) == "Paid."
    assert house.payment(push.payment_id).status == "COMPLETED"


def test_the_sweeper_leaves_it_to_the_person(strict, house):
    push = house.start(a_phone())
    post(strict, f"stk/{push.token}", paid_body(), "192.0.2.1")
    (kept,) = house.inbox()
    with house.session() as session:
        assert payments.apply_callback(session, kept.id) == kept.outcome
    assert house.payment(push.payment_id).status == "PENDING"


def test_from_mpesa_it_is_applied(strict, house):
    push = house.start(a_phone())
    post(strict, f"stk/{push.token}", paid_body(), "196.201.212.69")
    assert house.payment(push.payment_id).status == "COMPLETED"


def test_a_confirmation_from_elsewhere_is_kept_too(strict, house):
    token = an_address(house)
    body = a_notice(account=reference_of(house))
    assert post(strict, f"c2b/confirmation/{token}", body, "192.0.2.1").get_json() == ACCEPTED
    (kept,) = house.inbox()
    assert (kept.state, received(house)) == ("REJECTED", 0)
    with house.session() as session:
        payments.replay_callback(session, kept.id)
    assert received(house) == 25000


def test_a_validation_from_elsewhere_turns_nobody_away(strict, house):
    token = an_address(house)
    answer = post(strict, f"c2b/validation/{token}", a_notice(account="NOWHERE"), "192.0.2.1")
    assert answer.get_json()["ResultCode"] == "0"


def test_a_header_makes_no_address_known(strict, house):
    """X-Forwarded-For counts only from as many proxies as TRUSTED_PROXIES says; here none."""
    push = house.start(a_phone())
    strict.post(
        f"/api/v1/hooks/stk/{push.token}",
        data=paid_body(),
        headers={"X-Forwarded-For": "196.201.214.200"},
        environ_base={"REMOTE_ADDR": "192.0.2.1"},
    )
    assert house.inbox()[0].state == "REJECTED"
