"""The life of a push: it rings, it is answered or not, money moves or not, and callbacks tell of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from itertools import takewhile
from typing import Final

from haven.payments.mpesa.simulator import identifiers
from haven.payments.mpesa.simulator.bodies import c2b_notice, stk_callback
from haven.payments.mpesa.simulator.courier import Courier, Timetable
from haven.payments.mpesa.simulator.identifiers import Chance
from haven.payments.mpesa.simulator.options import Merchant
from haven.payments.mpesa.simulator.scenarios import Delivery
from haven.payments.mpesa.simulator.world import Moved, Push, PushState, World

MAX_AMOUNT: Final = 250_000
_SAME_AMOUNT_WINDOW: Final = timedelta(minutes=2)


class Action(StrEnum):
    """What a person does with a ringing phone; ``IGNORE`` is letting it ring out."""

    PAY = "pay"
    CANCEL = "cancel"
    WRONG_PIN = "wrong_pin"
    IGNORE = "ignore"


_RESULTS: Final = {Action.PAY: "0", Action.CANCEL: "1032", Action.WRONG_PIN: "2001", Action.IGNORE: "1037"}


class Prompts:
    """Rings phones and follows each push to its end."""

    def __init__(self, world: World, chance: Chance, timetable: Timetable, courier: Courier) -> None:
        self._world = world
        self._chance = chance
        self._timetable = timetable
        self._courier = courier

    def ring(
        self, merchant: Merchant, phone: str, amount: int, reference: str, description: str, callback_url: str
    ) -> Push | None:
        """Ring a phone; None when it has another request open (the subscriber is locked)."""
        with self._world.lock:
            if phone in self._world.ringing:
                return None
            push = self._new(merchant, phone, amount, reference, description, callback_url)
            self._world.pushes.append(push)
            self._world.by_checkout[push.checkout_request_id] = push
            self._world.ringing[phone] = push
            is_manual = self._world.mode == "manual"
        if is_manual:
            ring_s = self._world.options.manual_ring_s
            self._timetable.after(ring_s, lambda: self._end(push, "1037"), is_scaled=False)
        elif push.scenario.deliveries[:1] and push.scenario.deliveries[0].is_before_answer:
            self._end(push, push.scenario.result)
        else:
            self._timetable.after(self._ring_s(push), lambda: self._end(push, self._result(push)))
        return push

    def answer(self, push: Push, action: Action) -> bool:
        """What a person does with the phone; False when it no longer rings."""
        return self._end(push, _RESULTS[action])

    def confirm_c2b(self, moved: Moved) -> None:
        """Send the C2B confirmation of a payment, where the shortcode has registered an address."""
        with self._world.lock:
            urls = self._world.c2b_urls.get(moved.shortcode)
            balance = self._world.balances.get(moved.shortcode, 0)
        if urls is not None:
            body = c2b_notice(moved, urls.version, self._chance.of("c2b", moved.receipt), f"{balance}.00")
            self._courier.send(urls.confirmation, body, "C2B_CONFIRMATION", moved.shortcode, None)

    def new_receipt(self, now: datetime, *subject: object) -> str:
        """A receipt that this simulator has not given yet."""
        with self._world.lock:
            chance = self._chance.of("receipt", *subject)
            found = identifiers.receipt(now, chance)
            while found in self._world.receipts:
                found = identifiers.receipt(now, chance)
            self._world.receipts.add(found)
            return found

    def _new(
        self, merchant: Merchant, phone: str, amount: int, reference: str, description: str, callback_url: str
    ) -> Push:
        now = datetime.now(UTC)
        nth = self._world.pushes_of_phone.get(phone, 0) + 1
        self._world.pushes_of_phone[phone] = nth
        while (checkout := identifiers.checkout_request_id(now, phone)) in self._world.by_checkout:
            now += timedelta(milliseconds=1)
        return Push(
            number=len(self._world.pushes) + 1,
            merchant=merchant,
            phone=phone,
            amount=amount,
            reference=reference,
            description=description,
            callback_url=callback_url,
            scenario=self._world.scenario(phone),
            merchant_request_id=identifiers.merchant_request_id(self._chance.of("merchant", phone, nth)),
            checkout_request_id=checkout,
            nth_of_phone=nth,
            rang_at=now,
        )

    def _ring_s(self, push: Push) -> float:
        if push.scenario.ring_s is not None:
            return push.scenario.ring_s
        return self._chance.of("ring", push.phone, push.nth_of_phone).uniform(3.0, 8.0)

    def _result(self, push: Push) -> str:
        """The scenario's result, but for the limits M-Pesa holds every payer to."""
        if push.scenario.result != "0":
            return push.scenario.result
        if push.amount > MAX_AMOUNT:
            return "3"
        return "17" if self._world.options.same_amount_rule and self._is_repeated(push) else "0"

    def _is_repeated(self, push: Push) -> bool:
        since = datetime.now(UTC) - _SAME_AMOUNT_WINDOW
        with self._world.lock:
            recent = takewhile(lambda row: row.at > since, reversed(self._world.moved))
            return any(row.phone == push.phone and row.amount == push.amount for row in recent)

    def _end(self, push: Push, code: str) -> bool:
        """End the ringing, once; False when it had ended before."""
        with self._world.lock:
            if self._world.ringing.get(push.phone) is not push:
                return False
            del self._world.ringing[push.phone]
            push.ended_at = datetime.now(UTC)
            push.result_code = code
            push.state = PushState.PAID if code == "0" else PushState.FAILED
            moved = self._take_money(push) if code == "0" else None
        if moved is not None:
            # The twin comes first, with the same receipt (a published pair is a second apart).
            self._timetable.after(0.0, lambda: self.confirm_c2b(moved))
        self._plan_callbacks(push)
        return True

    def _take_money(self, push: Push) -> Moved:
        at = push.ended_at or push.rang_at
        # The CheckoutRequestID holds the time: a simulator started again with its seed gives other receipts.
        push.receipt = self.new_receipt(at, push.checkout_request_id)
        moved = Moved(
            push.receipt,
            push.amount,
            push.phone,
            push.reference,
            push.merchant.shortcode,
            "STK",
            at,
            push.checkout_request_id,
        )
        self._world.book(moved)
        return moved

    def _plan_callbacks(self, push: Push) -> None:
        for delivery in push.scenario.deliveries:
            if delivery.is_before_answer and self._world.mode == "auto":
                self._deliver(push, delivery)
            else:
                self._timetable.after(delivery.delay_s, partial(self._deliver, push, delivery))

    def _deliver(self, push: Push, delivery: Delivery) -> None:
        body = stk_callback(push, delivery)
        self._courier.send(push.callback_url, body, "STK", push.merchant.shortcode, push.number)
