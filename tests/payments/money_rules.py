"""The rules of the walk of all money: what M-Pesa, people and the clock may do."""

from __future__ import annotations

import datetime as dt
import itertools
import random
import uuid
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import select

from haven.billing import service as billing
from haven.payments import service as payments
from haven.payments.models import MpesaInbox
from haven.payments.mpesa.answers import PushAccepted
from haven.payments.mpesa.client import PushRejected, PushUnknown
from tests.payments import money_seen
from tests.payments.money_walk import RULES, Prompt, Step, Walk, on_a_prompt, rule
from tests.payments.test_callbacks import failed_body, paid_body
from tests.support.builders import a_draft, a_phone

DAY: Final = dt.timedelta(hours=25)
_FAILURES: Final = ("1032", "1037", "2001", "1", "17")
_receipts = itertools.count(1)


@rule
def push(walk: Walk, step: Step) -> None:
    """A phone is asked. Most pay; some do not; some the provider refuses. The answer is kept, lost, or comes late."""
    started = walk.do(
        payments.start_push, phone=a_phone(), amount=step.amount * Decimal(1), lease_id=walk.lease_id
    )
    number = next(_receipts)
    code = ("0", "0", "0", _FAILURES[step.pick % len(_FAILURES)], "REFUSED")[step.pick % 5]
    receipt = f"UKO{number:07X}" if code == "0" else None
    is_answered = step.pick % 3 == 0
    prompt = Prompt(started, f"ws_CO_{number:020}", code, receipt, is_answered)
    if code == "REFUSED":
        walk.do(payments.record_answer, started, PushRejected("400.002.02", "Bad Request"))
    elif is_answered:
        walk.do(payments.record_answer, started, PushAccepted("m-1", prompt.checkout))
    elif step.pick % 3 == 1:
        walk.do(payments.record_answer, started, PushUnknown("HTTP 500", "no readable answer"))
    walk.prompts.append(prompt)


@on_a_prompt
def the_answer_comes_late(walk: Walk, step: Step, prompt: Prompt) -> None:
    walk.do(payments.record_answer, prompt.push, PushAccepted("m-1", prompt.checkout))


# What M-Pesa sends


@on_a_prompt
def callback(walk: Walk, step: Step, prompt: Prompt) -> None:
    walk.hear(prompt, prompt.callback())


@on_a_prompt
def callback_left_in_the_inbox(walk: Walk, step: Step, prompt: Prompt) -> None:
    walk.hear(prompt, prompt.callback(), is_applied=False)


@on_a_prompt
def callback_without_its_receipt(walk: Walk, step: Step, prompt: Prompt) -> None:
    walk.hear(prompt, prompt.callback(receipt=None))


@on_a_prompt
def callback_with_another_amount(walk: Walk, step: Step, prompt: Prompt) -> None:
    walk.hear(prompt, prompt.callback(amount=int(prompt.push.amount) + 10))


@on_a_prompt
def callback_of_failure(walk: Walk, step: Step, prompt: Prompt) -> None:
    """After a payment, too: the real one sends a 1037 after a 0."""
    walk.hear(prompt, failed_body(_FAILURES[step.pick % len(_FAILURES)], prompt.checkout))


@on_a_prompt
def callback_that_settles_nothing(walk: Walk, step: Step, prompt: Prompt) -> None:
    walk.hear(prompt, failed_body(7777, prompt.checkout))


@on_a_prompt
def callback_of_another_push(walk: Walk, step: Step, prompt: Prompt) -> None:
    if prompt.is_answered:
        walk.hear(prompt, paid_body(f"UKX{next(_receipts):07X}", int(prompt.push.amount), "ws_CO_unknown"))


@rule
def replay(walk: Walk, step: Step) -> None:
    with walk.session() as session:
        kept = list(session.scalars(select(MpesaInbox.id).order_by(MpesaInbox.id)))
    if kept:
        walk.do(payments.replay_callback, kept[step.pick % len(kept)])


# What M-Pesa tells of the paybill


def tell(walk: Walk, source: Any, receipt: str, amount: Decimal | int, account: str, phone: str) -> None:
    now = dt.datetime.now(dt.UTC)
    walk.do(money_seen.money_seen, source, receipt, Decimal(amount), account, phone, now)


def paybill(walk: Walk, step: Step) -> None:
    """A tenant pays by hand; the account typed is right, or nobody's."""
    receipt = f"UKP{next(_receipts):07X}"
    walk.by_paybill[receipt] = step.amount
    account = walk.account if step.pick % 3 else "NOBODYS"
    tell(walk, "C2B" if step.pick % 2 else "PULL", receipt, step.amount, account, a_phone())


def twin_confirmation(walk: Walk, step: Step, prompt: Prompt) -> None:
    """A payment by push is told of as one to the paybill, too."""
    if prompt.receipt is not None:
        tell(walk, "C2B", prompt.receipt, prompt.push.amount, prompt.push.reference, prompt.push.phone)


def pulled_row(walk: Walk, step: Step, prompt: Prompt) -> None:
    if prompt.receipt is not None:
        tell(walk, "PULL", prompt.receipt, prompt.push.amount, prompt.push.reference, prompt.push.phone)


if money_seen.IS_THERE:
    rule(paybill)
    on_a_prompt(twin_confirmation)
    on_a_prompt(pulled_row)


# What M-Pesa says when it is asked


@on_a_prompt
def query(walk: Walk, step: Step, prompt: Prompt) -> None:
    walk.answer(prompt, "FAILED" if prompt.receipt is None else "PAID", prompt.code)


@on_a_prompt
def query_wrongly_failed(walk: Walk, step: Step, prompt: Prompt) -> None:
    walk.answer(prompt, "FAILED", "1032")


@on_a_prompt
def query_in_flight(walk: Walk, step: Step, prompt: Prompt) -> None:
    walk.answer(prompt, "PENDING", ("4999", "500.001.1001", "HTTP 503")[step.pick % 3])


@on_a_prompt
def query_after_a_day(walk: Walk, step: Step, prompt: Prompt) -> None:
    walk.answer(prompt, "PENDING", "4999", dt.datetime.now(dt.UTC) + DAY)


# What people do


@rule
def cash(walk: Walk, step: Step) -> None:
    body = {"lease_id": walk.lease_id, "amount": Decimal(step.amount), "method": "CASH"}
    if isinstance(walk.do(payments.create, body), uuid.UUID):
        walk.moved_by_hand.append(step.amount)


@on_a_prompt
def receipt_by_hand(walk: Walk, step: Step, prompt: Prompt) -> None:
    """The tenant shows the message of M-Pesa, and it is written down before its callback has come, or after."""
    if prompt.receipt is not None:
        body = {"lease_id": walk.lease_id, "amount": prompt.push.amount, "method": "MPESA"}
        walk.do(payments.create, body | {"reference": prompt.receipt})


@rule
def reverse(walk: Walk, step: Step) -> None:
    completed = walk.payment_ids("COMPLETED")
    if completed:
        walk.do(payments.reverse, completed[step.pick % len(completed)], "by chance")


@rule
def invoice(walk: Walk, step: Step) -> None:
    invoice_id = a_draft(walk.engine, walk.agency_id, walk.lease_id, str(step.amount))
    walk.invoices.append(invoice_id)
    walk.do(billing.issue, invoice_id)


@rule
def void(walk: Walk, step: Step) -> None:
    if walk.invoices:
        walk.do(billing.void, walk.invoices[step.pick % len(walk.invoices)], "by chance")


# What the clock does


@rule
def sweep(walk: Walk, step: Step) -> None:
    later = dt.datetime.now(dt.UTC) + (DAY if step.pick % 4 == 0 else dt.timedelta(minutes=5))
    walk.do(payments.settle_silent_pushes, later)


@rule
def mark_overdue(walk: Walk, step: Step) -> None:
    walk.do(payments.mark_overdue_invoices, dt.datetime.now(dt.UTC))


_OFTEN = ["callback", "callback_without_its_receipt", "query", "receipt_by_hand", "reverse", "replay"]
"""Where one shilling has more than one witness."""
if money_seen.IS_THERE:
    _OFTEN += ["twin_confirmation", "pulled_row"]


def a_walk(seed: int) -> list[Step]:
    """Steps after one invoice and one push that is paid; the same ones for a seed.

    Each walk has only a few of the rules, so that the same ones meet often: what takes three certain steps in order
    would hardly ever come about among all of them.
    """
    chance = random.Random(seed)
    rules = chance.sample(_OFTEN, chance.randrange(2, 5)) + chance.sample(
        sorted(RULES), chance.randrange(1, 5)
    )
    paid = chance.choice([pick for pick in range(30) if pick % 5 < 3])
    begin = [Step("invoice", 0, 300), Step("push", paid, 200)]
    return begin + [
        Step(chance.choice(rules), chance.randrange(30), chance.randrange(1, 4) * 100)
        for _ in range(chance.randrange(6, 18))
    ]
