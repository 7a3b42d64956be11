"""No log of any process has a phone, a token or a key in it, whatever happened."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.live.api import Live

LOGS = ("web", "worker", "cron")
# Each of these makes some process write a line about a payment.
ENDINGS = ("0042", "1032", "1001", "4011", "4012", "5016", "5018", "8805", "8806", "8816", "8817")


@pytest.fixture
def live(live_stack):
    return Live(live_stack)


def seen_by_the_simulator(live, phones):
    """The tokens of the callback addresses, and M-Pesa's ids, of the pushes to these phones."""
    pushes = live.mpesa.get("/simulator/state?limit=10000").json()["pushes"]
    ours = [push for push in pushes if f"+{push['phone']}" in phones]
    return {push["callback_url"].rpartition("/")[2] for push in ours}, {
        push["checkout_request_id"] for push in ours
    }


def test_no_log_holds_a_phone_a_token_or_a_key(live):
    phones = []
    for ending in ENDINGS:
        lease = live.a_lease()
        phones.append(live.a_phone(ending))
        body = {"lease_id": lease["id"], "phone": phones[-1], "amount": "1000"}
        asked = live.post("/payments/mpesa/stk-push", body)
        assert asked.status_code == 202
        live.post("/payments/mpesa/stk-push", body)  # refused: the phone rings
    live.get(f"/payments?phone={phones[0].replace('+', '%2B')}")
    live.get(f"/payments?q={phones[0].removeprefix('+')}")
    live.post("/payments/mpesa/stk-push", {"lease_id": lease["id"], "phone": f"{phones[0]}9", "amount": "1"})
    live.wait_until(
        f"/payments?phone={phones[-1].replace('+', '%2B')}",
        lambda found: found["data"][0]["status"] == "COMPLETED",
        for_s=60,
    )
    tokens, ids = seen_by_the_simulator(live, phones)
    assert tokens
    wrong = "0" * 32 + next(iter(tokens))[32:]
    for address in (
        f"{live.stack.url}/api/v1/hooks/stk/{wrong}",
        f"{live.stack.url}/api/v1/hooks/nothing/{wrong}",
    ):
        assert httpx.post(address, content=b"{}", timeout=30).status_code == 404

    logs = {name: live.stack.log(name) for name in LOGS}

    assert "push_rejected" in logs["web"]
    assert "callback_applied" in logs["web"]
    secrets = {
        **{phone.removeprefix("+"): "a phone" for phone in phones},
        **{"0" + phone.removeprefix("+254"): "a phone" for phone in phones},
        **{phone.removeprefix("+254"): "a phone" for phone in phones},
        **{token[32:]: "the secret of a callback address" for token in tokens},
        **dict.fromkeys(ids, "an id with a phone in it"),
        live.stack.agency_admin["api_key"]: "an API key",
        live.stack.agency_admin["password"]: "a password",
    }
    found = [
        f"{what} in the log of {name}: {line[:300]}"
        for name, log in logs.items()
        for secret, what in secrets.items()
        for line in re.findall(f"^.*{re.escape(secret)}.*$", log, re.MULTILINE)[:1]
    ]
    assert found == []


@pytest.mark.req("M9")
def test_no_log_holds_a_phone_or_an_address_of_the_demos_tenants(live):
    people = live.get("/tenants?limit=200")["data"]
    for person in [one for one in people if one["phone"] and one["email"]][:10]:
        live.get(f"/tenants/{person['id']}")
        live.get(f"/tenants?q={person['phone'].removeprefix('+')}")
        live.get(f"/tenants?email={person['email']}")
    phones = [person["phone"].removeprefix("+254") for person in people if person["phone"]]
    addresses = [person["email"] for person in people if person["email"]]
    assert len(phones) > 20
    assert addresses
    for name in LOGS:
        log = live.stack.log(name)
        assert [one for one in (*phones, *addresses) if one in log] == [], name
