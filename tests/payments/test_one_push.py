"""A phone rings at most once for one request, whatever becomes of the connection or of the process."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import signal
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select

from haven.errors import Conflict
from haven.payments import ringing
from haven.payments import service as payments
from haven.payments.models import Payment
from haven.payments.mpesa.client import OAUTH_PATH, PUSH_PATH
from haven.runtime import Runtime
from tests.payments.conftest import CHECKOUT, wait_until
from tests.support.books import check_books
from tests.support.builders import a_phone
from tests.support.proxy import Manner, Proxy

NEVER_ARRIVES = {Manner.CUT_BEFORE, Manner.RESET_BEFORE, Manner.HALF_OF_IT}
LOST_ON_THE_WAY = [manner for manner in Manner if manner is not Manner.PASS]


@pytest.fixture
def proxy(simulator):
    place = urlsplit(simulator.url)
    proxy = Proxy((place.hostname, place.port), PUSH_PATH)
    yield proxy
    proxy.close()


@pytest.fixture
def through(runtime, engine, proxy):
    """A process of Haven that reaches M-Pesa through the proxy, and waits three seconds for it."""
    settings = dataclasses.replace(runtime.settings, mpesa_base_url=proxy.url, mpesa_timeout=3.0)
    through = Runtime.start(settings, engine)
    for key in through.redis.scan_iter("mpesa:token:*"):
        through.redis.delete(key)
    yield through
    through.redis.close()


@pytest.mark.req("P1")
@pytest.mark.parametrize("manner", LOST_ON_THE_WAY)
def test_a_push_that_is_lost_on_the_way_is_sent_once_and_ends_right(house, through, simulator, proxy, manner):
    proxy.manner = manner
    phone = a_phone("0042")
    push = house.start(phone)

    assert payments.send_push(through, push) == "UNKNOWN"
    assert payments.send_push(through, push) == "UNKNOWN"
    proxy.manner = Manner.PASS
    assert payments.send_push(through, push) == "UNKNOWN"

    assert proxy.disturbed() == 1
    if manner in NEVER_ARRIVES:
        assert simulator.pushes_of(phone) == []
        assert house.payment(push.payment_id).status == "PROCESSING"
        with pytest.raises(Conflict, match="payment request open"):
            house.start(phone)
    else:
        house.wait_for(push, "COMPLETED")
        assert len(simulator.pushes_of(phone)) == 1
        assert house.invoice().status == "PAID"
    check_books(house.engine, house.agency_id)


@pytest.mark.parametrize(
    "manner", [Manner.CUT_BEFORE, Manner.RESET_AFTER, Manner.HALF_AN_ANSWER, Manner.HOLD]
)
def test_without_a_token_nothing_is_sent_and_the_phone_is_free(house, through, simulator, proxy, manner):
    proxy.path, proxy.manner = OAUTH_PATH, manner
    phone = a_phone("0042")

    assert payments.send_push(through, house.start(phone)) == "REJECTED"

    assert simulator.pushes_of(phone) == []
    assert not any(PUSH_PATH in line for line in proxy.seen)
    house.start(phone, "24999")


def test_where_nobody_listens_nothing_is_sent_and_the_phone_is_free(house, through, simulator, proxy):
    proxy.close()
    phone = a_phone("0042")
    assert payments.send_push(through, house.start(phone)) == "REJECTED"
    assert simulator.pushes_of(phone) == []
    house.start(phone, "24999")


@pytest.mark.parametrize(
    "ending, state, sent, rang",
    [
        ("5015", "ACCEPTED", 1, 1),  # a slow answer, but in time: the simulator is fast
        ("5016", "UNKNOWN", 1, 1),  # cut
        ("5017", "UNKNOWN", 1, 1),  # HTTP 500 with HTML
        ("5018", "UNKNOWN", 1, 1),  # HTTP 500 with an error code
        ("5019", "UNKNOWN", 1, 1),  # half a JSON
        ("4029", "REJECTED", 1, 0),  # HTTP 429
        ("5003", "UNKNOWN", 1, 0),  # HTTP 503 with HTML: who knows what is behind it
        ("4011", "ACCEPTED", 2, 1),  # the token refused once: that one did not ring
        ("4012", "REJECTED", 2, 0),  # the token always refused
        ("1001", "REJECTED", 1, 0),  # a busy line
    ],
)
def test_what_the_provider_answers_never_makes_two_of_one(
    house, through, simulator, proxy, ending, state, sent, rang
):
    phone = a_phone(ending)
    push = house.start(phone)

    assert payments.send_push(through, push) == state
    payments.send_push(through, push)

    assert proxy.disturbed() == sent
    assert len(simulator.pushes_of(phone)) == rang
    if rang:
        house.wait_for(push, "COMPLETED")
    elif state == "REJECTED":
        assert house.payment(push.payment_id).status == "FAILED"
    assert len(simulator.pushes_of(phone)) == rang


# A process that is killed

ASK = """
import json, os, signal, sys
from decimal import Decimal
from uuid import UUID
from sqlalchemy import create_engine
from config import load_settings
from haven.db.migrate import sqlalchemy_url
from haven.db.session import tenant_session
from haven.payments import ringing
from haven.payments import service as payments
from haven.runtime import Runtime

given = json.loads(sys.argv[1])
settings = load_settings(given["environ"])
engine = create_engine(sqlalchemy_url(settings.database_url))
runtime = Runtime.start(settings, engine)
with tenant_session(engine, UUID(given["agency"]), "killed") as session:
    push = payments.start_push(session, phone=given["phone"], amount=Decimal(25000), lease_id=UUID(given["lease"]))
if given["dies_before"]:
    os.kill(os.getpid(), signal.SIGKILL)
payments.send_push(runtime, push)
"""


def start_asking(house, through, environ, phone, *, dies_before):
    """A process of its own that asks a phone for 25,000 shillings."""
    settings = through.settings
    mpesa = {
        name.upper(): str(getattr(settings, name))
        for name in (
            "mpesa_base_url",
            "mpesa_consumer_key",
            "mpesa_consumer_secret",
            "mpesa_shortcode",
            "mpesa_passkey",
            "public_url",
        )
    }
    given = {
        "environ": environ | mpesa | {"MPESA_TIMEOUT": "60"},
        "agency": str(house.agency_id),
        "lease": str(house.lease_id),
        "phone": phone,
        "dies_before": dies_before,
    }
    return subprocess.Popen(
        [sys.executable, "-c", ASK, json.dumps(given)], cwd=CHECKOUT, stdout=subprocess.DEVNULL
    )


def sweep(house):
    with house.session() as session:
        return payments.settle_silent_pushes(session, dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1))


def the_payment(house):
    with house.session() as session:
        return session.scalars(select(Payment).order_by(Payment.id)).one()


def test_killed_before_it_rings_it_never_rings(house, through, simulator, proxy, environ):
    phone = a_phone("0042")
    process = start_asking(house, through, environ, phone, dies_before=True)
    assert process.wait(60) == -signal.SIGKILL

    assert sweep(house) == 1

    assert the_payment(house).status == "PROCESSING"
    assert simulator.pushes_of(phone) == []
    assert proxy.disturbed() == 0
    with pytest.raises(Conflict, match="payment request open"):
        house.start(phone)


def test_killed_while_it_rings_the_callback_settles_it(house, through, simulator, proxy, environ):
    proxy.manner = Manner.HOLD
    phone = a_phone("0042")
    process = start_asking(house, through, environ, phone, dies_before=False)
    wait_until(lambda: simulator.pushes_of(phone))
    process.kill()
    process.wait(60)
    sweep(house)

    wait_until(lambda: the_payment(house).status == "COMPLETED")

    assert len(simulator.pushes_of(phone)) == 1
    assert proxy.disturbed() == 1
    check_books(house.engine, house.agency_id)


def test_without_its_claim_a_second_call_sends_again(house, through, proxy, monkeypatch):
    """The negative control: it is the claim of the attempt's row that holds the tests above."""
    proxy.manner = Manner.CUT_AFTER
    push = house.start(a_phone("0042"))
    monkeypatch.setattr(ringing, "_claim", lambda *_: True)
    payments.send_push(through, push)
    payments.send_push(through, push)
    assert proxy.disturbed() == 2
