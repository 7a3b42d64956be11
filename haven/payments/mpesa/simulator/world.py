"""What the simulator knows: businesses, tokens, pushes, money. One lock, no network, no clock of its own."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from haven.payments.mpesa.simulator.options import Merchant, Mode, Options
from haven.payments.mpesa.simulator.scenarios import Scenario, scenario_of

_REMEMBERED_DELIVERIES: Final = 20_000


class PushState(StrEnum):
    """Where a push stands; ``PAID`` and ``FAILED`` are its end."""

    RINGING = "RINGING"
    PAID = "PAID"
    FAILED = "FAILED"


@dataclass(slots=True)
class Push:
    """One prompt on one phone. ``amount`` in whole shillings, times aware."""

    number: int
    merchant: Merchant
    phone: str
    amount: int
    reference: str
    description: str
    callback_url: str
    scenario: Scenario
    merchant_request_id: str
    checkout_request_id: str
    nth_of_phone: int
    rang_at: datetime
    state: PushState = PushState.RINGING
    result_code: str | None = None
    receipt: str | None = None
    ended_at: datetime | None = None
    queries: int = 0

    def as_json(self) -> dict[str, Any]:
        """For the control API and the page."""
        return {
            "id": self.number,
            "phone": self.phone,
            "amount": self.amount,
            "reference": self.reference,
            "description": self.description,
            "shortcode": self.merchant.shortcode,
            "scenario": self.scenario.name,
            "state": self.state.value,
            "result_code": self.result_code,
            "receipt": self.receipt,
            "merchant_request_id": self.merchant_request_id,
            "checkout_request_id": self.checkout_request_id,
            "callback_url": self.callback_url,
            "rang_at": self.rang_at.isoformat(),
            "ended_at": self.ended_at.isoformat() if self.ended_at else None,
            "queries": self.queries,
        }


@dataclass(frozen=True, slots=True)
class Moved:
    """Money that has changed hands. ``channel`` is ``STK`` or ``C2B``; ``amount`` in whole shillings."""

    receipt: str
    amount: int
    phone: str
    account: str
    shortcode: str
    channel: str
    at: datetime
    checkout_request_id: str | None

    def as_json(self) -> dict[str, Any]:
        """For the control API."""
        return {
            "receipt": self.receipt,
            "amount": self.amount,
            "phone": self.phone,
            "account": self.account,
            "shortcode": self.shortcode,
            "channel": self.channel,
            "at": self.at.isoformat(),
            "checkout_request_id": self.checkout_request_id,
        }


@dataclass(frozen=True, slots=True)
class Delivered:
    """One callback that was sent and what the receiver said: ``status`` is None when nothing came back."""

    push: int | None
    kind: str
    url: str
    body: str
    sent_at: datetime
    took_ms: int
    status: int | None
    answer: str

    def as_json(self) -> dict[str, Any]:
        """For the control API."""
        return {
            "push": self.push,
            "kind": self.kind,
            "url": self.url,
            "body": self.body,
            "sent_at": self.sent_at.isoformat(),
            "took_ms": self.took_ms,
            "status": self.status,
            "answer": self.answer,
        }


@dataclass(frozen=True, slots=True)
class C2bUrls:
    """What a shortcode registered; ``version`` 1 sends hashed payers, 2 masked ones."""

    confirmation: str
    validation: str
    response_type: str
    version: int


@dataclass(slots=True)
class World:
    """Everything, to be read and changed with ``lock`` held."""

    options: Options
    mode: Mode
    lock: threading.RLock = field(default_factory=threading.RLock)
    merchants: dict[str, Merchant] = field(default_factory=dict)
    tokens: dict[str, tuple[Merchant, datetime]] = field(default_factory=dict)
    dead_tokens: set[str] = field(default_factory=set)
    tokens_made: int = 0
    pushes: list[Push] = field(default_factory=list)
    by_checkout: dict[str, Push] = field(default_factory=dict)
    ringing: dict[str, Push] = field(default_factory=dict)
    pushes_of_phone: dict[str, int] = field(default_factory=dict)
    chosen: dict[str, Scenario] = field(default_factory=dict)
    moved: list[Moved] = field(default_factory=list)
    balances: dict[str, int] = field(default_factory=dict)
    receipts: set[str] = field(default_factory=set)
    delivered: deque[Delivered] = field(default_factory=lambda: deque(maxlen=_REMEMBERED_DELIVERIES))
    c2b_urls: dict[str, C2bUrls] = field(default_factory=dict)
    pullers: set[str] = field(default_factory=set)
    queried_at: dict[str, deque[datetime]] = field(default_factory=dict)
    errors_made: int = 0
    instructed: set[str] = field(default_factory=set)
    paid_out: list[Moved] = field(default_factory=list)
    taken_back: dict[str, str] = field(default_factory=dict)
    """Receipt of a payment that was reversed → receipt of its reversal."""

    @classmethod
    def new(cls, options: Options) -> World:
        """The world at its beginning: one business, no push."""
        return cls(options, options.mode, merchants={options.merchant.consumer_key: options.merchant})

    def scenario(self, phone: str) -> Scenario:
        """What a phone does: what was chosen for it, else what its number says."""
        return self.chosen.get(phone) or scenario_of(phone)

    def forget(self) -> None:
        """Back to the beginning; businesses, their tokens and their registered addresses stay."""
        with self.lock:
            self.mode = self.options.mode
            for kept in (self.pushes, self.moved, self.delivered, self.paid_out, self.instructed):
                kept.clear()
            for table in self._tables():
                table.clear()
            self.receipts.clear()

    def _tables(self) -> tuple[dict[str, Any], ...]:
        return (
            self.by_checkout,
            self.ringing,
            self.pushes_of_phone,
            self.chosen,
            self.queried_at,
            self.balances,
            self.taken_back,
        )

    def book(self, moved: Moved) -> None:
        """Book money that has changed hands."""
        with self.lock:
            self.moved.append(moved)
            self.balances[moved.shortcode] = self.balances.get(moved.shortcode, 0) + moved.amount

    def payment(self, receipt: str, shortcode: str) -> Moved | None:
        """The money that came to a shortcode with that receipt."""
        with self.lock:
            rows = (row for row in self.moved if row.receipt == receipt and row.shortcode == shortcode)
            return next(rows, None)

    def find(self, name: str) -> Push | None:
        """The push with that number or CheckoutRequestID."""
        with self.lock:
            if name.isascii() and name.isdigit():
                number = int(name[:12])
                return self.pushes[number - 1] if 0 < number <= len(self.pushes) else None
            return self.by_checkout.get(name)
