"""From the push to the last event, and to the e-mail that tells of it: every part a process of its own."""

from __future__ import annotations

import email
import email.message
import email.policy
import json
import time

import pytest

from tests.live.api import Live
from tests.support.live import LiveStack

PATIENCE_S = 60


def text_of(mail: email.message.EmailMessage) -> str:
    plain = mail.get_body(("plain",))
    return "" if plain is None else plain.get_content()


@pytest.fixture
def live(live_stack: LiveStack) -> Live:
    return Live(live_stack)


def test_who_waits_is_told_of_the_payment_and_the_agency_has_mail(live: Live) -> None:
    lease = live.a_lease()
    asked = live.push(lease["id"], "1111")
    payment_id = asked.json()["id"]

    with live.http.stream("GET", f"/payments/{payment_id}/events", timeout=PATIENCE_S) as answer:
        assert answer.status_code == 200
        shown = [line for line in answer.iter_lines() if line.startswith("data: ")]
    told = [json.loads(line.removeprefix("data: ")) for line in shown]

    assert told[-1]["status"] == "COMPLETED"
    assert [one["is_final"] for one in told] == [False] * (len(told) - 1) + [True]
    number = told[-1]["receipt_number"]
    folder = live.stack.folder / "mail"
    found: list[str] = []
    ends_at = time.monotonic() + PATIENCE_S
    while not found and time.monotonic() < ends_at:
        time.sleep(0.2)
        mails = (path.read_bytes() for path in folder.glob("*.eml"))
        read = (email.message_from_bytes(raw, policy=email.policy.default) for raw in mails)
        found = [str(mail["Subject"]) for mail in read if f"Receipt: {number}\n" in text_of(mail)]
    assert any("Live Tenant paid KES 1,000.00" in subject for subject in found)
    page = live.http.get(f"/payments/{payment_id}/receipt.pdf")
    assert (page.status_code, page.content[:5]) == (200, b"%PDF-")
