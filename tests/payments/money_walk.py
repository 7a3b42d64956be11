"""Whatever M-Pesa, people and the clock may do to one lease, in any order and at once; and the truth to check it by.

A walk is a list of steps. Threads take them in turn and carry them out on the real database, each as a transaction of
its own. What the provider has really done (which prompt was paid, with which receipt) is decided when a prompt is made
and never changes; steps tell of it, keep quiet about it, or lie about it as the real one does. At the end each prompt's
truth is told once more, and the books must agree with it to the shilling.
"""

from __future__ import annotations

import datetime as dt
import secrets
import threading
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from haven.billing.models import LedgerAccount, LedgerEntry
from haven.db.session import tenant_session
from haven.errors import HavenError
from haven.payments import service as payments
from haven.payments.models import MpesaInbox, Payment, UnmatchedReceipt
from haven.payments.mpesa.answers import QueryAnswer
from tests.payments.test_callbacks import failed_body, paid_body
from tests.support.books import check_books
from tests.support.builders import a_lease, a_unit, an_agency


@dataclass(frozen=True)
class Step:
    """One thing that happens. ``pick`` chooses what it happens to, ``amount`` is in shillings."""

    rule: str
    pick: int
    amount: int

    def __str__(self) -> str:
        return f"{self.rule}(pick={self.pick}, amount={self.amount})"


@dataclass
class Prompt:
    """A push, and what the phone's owner did about it. Money has moved if there is a receipt."""

    push: payments.Push
    checkout: str
    code: str
    receipt: str | None
    is_answered: bool
    """Whether M-Pesa's answer, and with it its id of the push, reached us at once."""

    def callback(self, **changes: Any) -> bytes:
        """The true callback, or one with other items."""
        if self.receipt is None:
            return failed_body(self.code, self.checkout)
        amount = changes.pop("amount", int(self.push.amount))
        receipt = changes.pop("receipt", self.receipt)
        return paid_body(receipt, amount, self.checkout, **changes)


@dataclass
class Walk:
    """One agency, one lease, and all that happens to it."""

    engine: Engine
    agency_id: uuid.UUID = field(init=False)
    lease_id: uuid.UUID = field(init=False)
    account: str = field(init=False)
    prompts: list[Prompt] = field(default_factory=list)
    invoices: list[uuid.UUID] = field(default_factory=list)
    moved_by_hand: list[int] = field(default_factory=list)
    """Shillings of cash taken."""
    by_paybill: dict[str, int] = field(default_factory=dict)
    """Receipt → shillings that came without a push."""
    happened: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.agency_id = an_agency(self.engine)
        self.account = secrets.token_hex(5).upper()
        unit_id = a_unit(self.engine, self.agency_id, payment_reference=self.account)
        self.lease_id = a_lease(self.engine, self.agency_id, unit_id=unit_id)

    def session(self) -> Any:
        return tenant_session(self.engine, self.agency_id, "walk")

    def do(self, act: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """One transaction; a refusal is an answer too, anything else that is raised is a fault."""
        try:
            with self.session() as session:
                return act(session, *args, **options)
        except HavenError as refusal:
            return type(refusal).__name__
        except IntegrityError as error:
            if getattr(error.orig.diag, "constraint_name", "") != "payment_receipt_key":  # type: ignore[union-attr]
                raise
            return "the receipt is taken"

    def hear(self, prompt: Prompt, body: bytes, *, is_applied: bool = True) -> None:
        """A callback comes: stored and committed, then applied, unless its process dies in between."""
        with Session(self.engine) as session:
            kept = payments.store_callback(
                session, token=prompt.push.token, body=body, headers={}, address=None
            )
            session.commit()
        assert kept is not None
        if is_applied:
            self.do(payments.apply_callback, kept)

    def answer(self, prompt: Prompt, state: str, code: str, now: dt.datetime | None = None) -> None:
        """A status query has been answered."""
        self.do(payments.apply_answer, prompt.push.attempt_id, QueryAnswer(state, code, ""), now)

    def payment_ids(self, *statuses: str) -> list[uuid.UUID]:
        with self.session() as session:
            query = select(Payment.id).where(Payment.status.in_(statuses)).order_by(Payment.id)
            return list(session.scalars(query))

    # Walking

    def run(self, steps: list[Step], threads: ThreadPoolExecutor | None = None) -> None:
        """Carry the steps out, at once where there are threads; then the end of it, and the check."""
        waiting = deque(steps)
        if threads is None:
            self._take_turns(waiting)
        else:
            for one in [threads.submit(self._take_turns, waiting) for _ in range(8)]:
                one.result()
        if not self.wrong:
            self._tell_the_truth()
            self._check()
        assert not self.wrong, "\n".join([*self.wrong, "What happened:", *self.happened])

    def _take_turns(self, waiting: deque[Step]) -> None:
        while not self.wrong:
            try:
                step = waiting.popleft()
            except IndexError:
                return
            self.happened.append(f"  {threading.current_thread().name}: {step}")
            try:
                RULES[step.rule](self, step)
            except Exception as error:  # noqa: BLE001 (whatever it is, no step may raise it)
                self.wrong.append(f"{step} raised {type(error).__name__}: {error}")

    def _tell_the_truth(self) -> None:
        """What was lost on the way comes at last: every callback once more, and what lies unapplied in the inbox."""
        for prompt in self.prompts:
            if prompt.code != "REFUSED":
                self.hear(prompt, prompt.callback())
        with self.session() as session:
            left = list(session.scalars(select(MpesaInbox.id).where(MpesaInbox.state == "RECEIVED")))
        for inbox_id in left:
            self.do(payments.apply_callback, inbox_id)

    def _check(self) -> None:
        with self.session() as session:
            rows = list(session.scalars(select(Payment)))
            waiting = list(session.scalars(_WAITING))
            posted = {account: _posted(session, account) for account in ("MPESA_CLEARING", "CASH")}
        paid = [row for row in rows if row.status in payments.PAID]
        own = {row.id: row for row in rows}
        for prompt in self.prompts:
            self._check_prompt(prompt, own[prompt.push.payment_id], paid, waiting)
        for receipt in self.by_paybill:
            self._check_holders(receipt, paid, waiting)
        receipts = {prompt.receipt for prompt in self.prompts} | self.by_paybill.keys()
        undone = {"CASH": 0, "MPESA": 0}
        for row in paid:
            # A person may undo what a query has told of, and record its receipt in its place.
            is_replaced = row.reference is None and row.status == "REVERSED"
            if row.method == "MPESA" and row.reference not in receipts and not is_replaced:
                self.wrong.append(f"payment {row.id} is money nobody moved (receipt {row.reference})")
            if row.status == "REVERSED" and not (row.method == "MPESA" and is_replaced):
                undone[row.method] += int(row.amount)
        moved = sum(int(prompt.push.amount) for prompt in self.prompts if prompt.receipt)
        moved += sum(self.by_paybill.values())
        self._check_sum("M-Pesa", posted["MPESA_CLEARING"], moved - undone["MPESA"])
        self._check_sum("cash", posted["CASH"], sum(self.moved_by_hand) - undone["CASH"])
        try:
            check_books(self.engine, self.agency_id)
        except AssertionError as error:
            self.wrong.append(str(error))

    def _check_prompt(self, prompt: Prompt, own: Payment, paid: list[Payment], waiting: list[str]) -> None:
        if prompt.receipt is None:
            if own.status in payments.PAID:
                self.wrong.append(f"{own.id} is {own.status}, but its phone paid nothing")
            return
        holder = self._check_holders(prompt.receipt, paid, waiting)
        if own.id != holder and own.status not in {"NEEDS_REVIEW", "REVERSED"}:
            self.wrong.append(f"{own.id} is {own.status}, but its money is on {holder}")

    def _check_holders(self, receipt: str, paid: list[Payment], waiting: list[str]) -> uuid.UUID | None:
        """The payment that has the receipt, if it is the only one, and it does not wait for a person as well."""
        holders = [row.id for row in paid if row.reference == receipt]
        if len(holders) + waiting.count(receipt) != 1:
            self.wrong.append(
                f"{receipt} is on {len(holders)} payments, and waits {waiting.count(receipt)} times"
            )
        return holders[0] if holders else None

    def _check_sum(self, name: str, posted: Decimal, due: int) -> None:
        if posted != due:
            self.wrong.append(f"{posted} of {name} are posted, {due} have moved and were not given back")


_WAITING = select(UnmatchedReceipt.receipt).where(UnmatchedReceipt.payment_id.is_(None))


def _posted(session: Session, account: str) -> Decimal:
    query = select(func.coalesce(func.sum(LedgerEntry.debit - LedgerEntry.credit), 0)).join(
        LedgerAccount, LedgerAccount.id == LedgerEntry.account_id
    )
    total: Decimal = session.execute(query.where(LedgerAccount.code == account)).scalar_one()
    return total


# The rules: what may happen. Each is given the walk and its step; they are in money_rules.py.

Rule = Callable[[Walk, Step], None]
RULES: dict[str, Rule] = {}


def rule(act: Rule) -> Rule:
    RULES[act.__name__] = act
    return act


def on_a_prompt(act: Callable[[Walk, Step, Prompt], None]) -> Rule:
    """A rule that happens to one of the prompts that rang, if there is any."""

    def chosen(walk: Walk, step: Step) -> None:
        rang = [prompt for prompt in list(walk.prompts) if prompt.code != "REFUSED"]
        if rang:
            act(walk, step, rang[step.pick % len(rang)])

    chosen.__name__ = act.__name__
    return rule(chosen)
