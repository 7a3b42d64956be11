"""STK push and STK query ("M-Pesa Express"): the two calls, checked and answered as the real ones are."""

from __future__ import annotations

import re
import socket
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from flask import Request, Response

from haven.payments.mpesa.simulator.answers import (
    DarajaError,
    html_answer,
    invalid,
    json_answer,
    refusal_answer,
    throttled_answer,
)
from haven.payments.mpesa.simulator.bodies import words_of_query
from haven.payments.mpesa.simulator.courier import Timetable
from haven.payments.mpesa.simulator.gate import Gate, field
from haven.payments.mpesa.simulator.identifiers import Chance
from haven.payments.mpesa.simulator.options import Merchant
from haven.payments.mpesa.simulator.prompts import Prompts
from haven.payments.mpesa.simulator.scenarios import PushAnswer, QueryManner
from haven.payments.mpesa.simulator.world import Push, PushState, World

SLOW_ANSWER_S: Final = 15.0
_MINUTE: Final = timedelta(seconds=60)
_PHONE: Final = re.compile(r"254[17][0-9]{8}", re.ASCII)
_PARTY: Final = re.compile(r"[0-9]{5,7}", re.ASCII)
_AMOUNT: Final = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_REFERENCE: Final = re.compile(r"[A-Za-z0-9]{1,12}", re.ASCII)
_TYPES: Final = frozenset({"CustomerPayBillOnline", "CustomerBuyGoodsOnline"})
_LOCKED: Final = "Unable to lock subscriber, a transaction is already in process for the current subscriber"


class Express:
    """The two calls of M-Pesa Express."""

    def __init__(
        self, world: World, chance: Chance, gate: Gate, prompts: Prompts, timetable: Timetable
    ) -> None:
        self._world = world
        self._chance = chance
        self._gate = gate
        self._prompts = prompts
        self._timetable = timetable
        self._refused: dict[str, int] = {}

    def push(self, request: Request) -> Response:
        """Ring a phone, unless something is wrong with the request or its scenario refuses it."""
        merchant, token = self._gate.merchant(request)
        body = self._gate.body(request)
        self._gate.check_signature(body, merchant)
        check_push(body)
        refused = self._refusal(field(body, "PhoneNumber"), token)
        if refused is not None:
            return refused
        push = self._prompts.ring(
            merchant,
            field(body, "PhoneNumber"),
            int(field(body, "Amount")),
            field(body, "AccountReference"),
            field(body, "TransactionDesc"),
            field(body, "CallBackURL"),
        )
        if push is None:
            raise DarajaError(500, "500.001.1001", _LOCKED)
        return self._answer(push, request)

    def query(self, request: Request) -> Response:
        """What became of a push, in the manner of its scenario."""
        merchant, _ = self._gate.merchant(request)
        body = self._gate.body(request)
        self._gate.check_signature(body, merchant)
        if not self._may_query(merchant):
            return throttled_answer()
        with self._world.lock:
            push = self._world.by_checkout.get(field(body, "CheckoutRequestID"))
            if push is not None:
                push.queries += 1
        if push is None or push.merchant != merchant:
            raise invalid("CheckoutRequestID")
        return self._state_of(push)

    def forget(self) -> None:
        """Start counting refusals anew."""
        with self._world.lock:
            self._refused.clear()

    def _refusal(self, phone: str, token: str) -> Response | None:
        with self._world.lock:
            refusal = self._world.scenario(phone).refusal
            count = self._refused.get(phone, 0)
            if refusal is None or (refusal.pushes and count >= refusal.pushes):
                return None
            self._refused[phone] = count + 1
        if refusal.code == "401.002.01":
            self._gate.end_token(token)
        return refusal_answer(self._world, self._chance, refusal, token)

    def _answer(self, push: Push, request: Request) -> Response:
        """The answer to an accepted push: the good one, or one that hides that the phone rings."""
        manner = push.scenario.answer
        if manner is PushAnswer.SLOW:
            time.sleep(self._timetable.scaled(SLOW_ANSWER_S))
        elif manner is PushAnswer.CUT:
            _cut(request)
        elif manner is PushAnswer.HTML_ERROR:
            return html_answer(500)
        elif manner is PushAnswer.JSON_ERROR:
            raise DarajaError(500, "500.003.1001", "Internal Server Error")
        elif manner is PushAnswer.GARBLED:
            return Response('{"MerchantRequestID":"', 200, content_type="application/json")
        return json_answer(
            {
                "MerchantRequestID": push.merchant_request_id,
                "CheckoutRequestID": push.checkout_request_id,
                "ResponseCode": "0",
                "ResponseDescription": "Success. Request accepted for processing",
                "CustomerMessage": "Success. Request accepted for processing",
            }
        )

    def _may_query(self, merchant: Merchant) -> bool:
        """The rate limit of queries, where one is set."""
        limit = self._world.options.queries_per_minute
        if not limit:
            return True
        now = datetime.now(UTC)
        with self._world.lock:
            recent = self._world.queried_at.setdefault(merchant.shortcode, deque())
            while recent and recent[0] <= now - _MINUTE:
                recent.popleft()
            if len(recent) >= limit:
                return False
            recent.append(now)
            return True

    def _state_of(self, push: Push) -> Response:
        manner, is_ringing = push.scenario.query, push.state is PushState.RINGING
        if manner is QueryManner.HTML_ERROR:
            return html_answer(503)
        if manner is QueryManner.THROTTLED and push.queries > 1:
            return throttled_answer()
        if is_ringing and manner is QueryManner.IN_FLIGHT_500:
            raise DarajaError(500, "500.001.1001", "The transaction is being processed")
        if is_ringing and manner is QueryManner.TOO_EARLY:
            raise invalid("CheckoutRequestID")
        if not is_ringing and manner is QueryManner.FLICKERING and push.queries % 2 == 0:
            raise DarajaError(500, "500.001.1001", "The transaction does not Exist")
        if is_ringing:
            return _query_answer(push, "4999", "The transaction is still under processing")
        code = "1032" if manner is QueryManner.WRONGLY_FAILED else push.result_code or "1037"
        return _query_answer(push, code, words_of_query(code))


def check_push(body: dict[str, Any]) -> None:
    """The fields of a push beyond its signature; the first wrong one is named."""
    wrong = next((name for name, is_right in _CHECKS.items() if not is_right(field(body, name))), None)
    if wrong is not None:
        raise invalid(wrong)


def _is_address(text: str) -> bool:
    try:
        address = urlsplit(text)
        return address.scheme in {"http", "https"} and bool(address.hostname) and (address.port or 1) > 0
    except ValueError:
        return False


_CHECKS: Final[dict[str, Callable[[str], bool]]] = {
    "TransactionType": _TYPES.__contains__,
    "Amount": lambda text: bool(_AMOUNT.fullmatch(text)),
    "PartyA": lambda text: bool(_PHONE.fullmatch(text)),
    "PartyB": lambda text: bool(_PARTY.fullmatch(text)),
    "PhoneNumber": lambda text: bool(_PHONE.fullmatch(text)),
    "CallBackURL": _is_address,
    "AccountReference": lambda text: bool(_REFERENCE.fullmatch(text)),
    "TransactionDesc": lambda text: len(text) <= 13,
}


def _query_answer(push: Push, code: str, words: str) -> Response:
    return json_answer(
        {
            "ResponseCode": "0",
            "ResponseDescription": "The service request has been accepted successsfully",
            "MerchantRequestID": push.merchant_request_id,
            "CheckoutRequestID": push.checkout_request_id,
            "ResultCode": code,
            "ResultDesc": words,
        }
    )


def _cut(request: Request) -> None:
    """End the connection under the caller; what is answered afterwards goes nowhere."""
    connection = request.environ.get("gunicorn.socket")
    if isinstance(connection, socket.socket):
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return
