"""No log of any process has a phone, a token or a key in it, whatever happened."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.live import walk
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


def people_of_the_demo(live):
    """Names, telephone numbers and addresses of everybody whom the agency knows: tenants, owners, users."""
    found: set[str] = set()
    for resource in ("tenants", "owners", "users"):
        for person in live.get(f"/{resource}?limit=200")["data"]:
            found.update(filter(None, (person.get("full_name"), person.get("name"), person.get("email"))))
            if person.get("phone"):
                found.add(person["phone"].removeprefix("+254"))
    return found


@pytest.mark.req("M9")
def test_no_log_of_a_whole_walk_names_anybody(live):
    """Lists, searches, wrong sign-ins, payments with their callbacks and receipts, mails, files: by all processes."""
    people = people_of_the_demo(live)
    assert len(people) > 60
    admin = live.stack.agency_admin
    signed_in = live.post("/auth/login", {"email": admin["email"], "password": admin["password"]}).json()
    live.post("/auth/login", {"email": admin["email"], "password": f"{admin['password']}x"})
    walk.look_at_everything(live, walk.plain_gets(live))
    with walk.operator(live) as operator:
        for path in ("/monitoring/performance", "/monitoring/slow-requests", "/monitoring/slow-queries"):
            assert operator.get(path).status_code == 200
    for person in sorted(people)[::7]:
        live.http.get("/tenants", params={"q": person})
        live.http.get("/tenants", params={"email": person, "phone": person})
        live.http.get(f"/tenants/{person}", headers={"X-Request-ID": f"call-+254{person}"[:60]})
    for tenant in live.get("/tenants?limit=20")["data"]:
        # Refused, by a rule that names what is there already.
        taken = {"full_name": tenant["full_name"], "phone": tenant["phone"], "email": tenant["email"]}
        assert live.post("/tenants", taken | {"national_id": "1" * 99}).status_code == 422
        live.post("/tenants", taken)
    mails = live.stack.folder / "mail"
    before = len(list(mails.glob("*.eml")))
    lease = live.get("/leases?limit=1&status=ACTIVE")["data"][0]
    for ending in ("0001", "1032"):
        paid = live.push(lease["id"], ending).json()
        live.wait(paid["id"], "COMPLETED", "FAILED", "CANCELLED")
    assert walk.export(live, "tenants")["status"] == "SUCCEEDED"
    live.wait_until("/tenants?limit=1", lambda _: len(list(mails.glob("*.eml"))) > before, for_s=60)

    needles = people | {
        signed_in["access_token"],
        signed_in["refresh_token"],
        admin["password"],
        admin["api_key"],
    }
    logs = {
        path.name: path.read_text(errors="replace") for path in (live.stack.folder / "logs").glob("*.log*")
    }
    # The table of sign-ins that `haven up` shows its user once; with --detach it goes where its other output does.
    logs.pop("supervisor.log", None)
    assert {"web.log", "worker.log", "cron.log"} <= set(logs)
    assert len(logs["web.log"]) > 10_000
    found = [
        f"{needle!r} in {name}: {line[:300]}"
        for name, log in logs.items()
        for needle in needles
        if needle in log
        for line in [next(line for line in log.splitlines() if needle in line)]
    ]
    assert found == []
