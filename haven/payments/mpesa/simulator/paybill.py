"""Payments a payer starts at the phone's M-Pesa menu (C2B), their addresses, and the list of them (Pull)."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from flask import Request, Response

from haven.payments.mpesa.eat import EAT
from haven.payments.mpesa.simulator import identifiers
from haven.payments.mpesa.simulator.answers import DarajaError, invalid, json_answer
from haven.payments.mpesa.simulator.api import Api
from haven.payments.mpesa.simulator.bodies import c2b_notice
from haven.payments.mpesa.simulator.gate import field
from haven.payments.mpesa.simulator.options import Merchant
from haven.payments.mpesa.simulator.prompts import MAX_AMOUNT
from haven.payments.mpesa.simulator.world import C2bUrls, Delivered, Moved

VALIDATION_TIMEOUT_S: Final = 8.0
PULL_HORIZON: Final = timedelta(hours=48)
_PHONE: Final = re.compile(r"254[17][0-9]{8}", re.ASCII)
_AMOUNT: Final = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


class Paybill(Api):
    """C2B and Pull Transactions."""

    def register(self, request: Request, version: int) -> Response:
        """Take the two addresses of a shortcode; as in the sandbox, they may be changed at will, unless told not to."""
        merchant, _ = self._gate.merchant(request)
        body = self._gate.body(request)
        self._check_shortcode(body, merchant)
        response_type = field(body, "ResponseType")
        if response_type not in {"Completed", "Cancelled"}:
            raise invalid("ResponseType")
        urls = C2bUrls(field(body, "ConfirmationURL"), field(body, "ValidationURL"), response_type, version)
        if not urls.confirmation.startswith(("http://", "https://")):
            raise invalid("ConfirmationURL")
        with self._world.lock:
            if self._world.options.register_once and merchant.shortcode in self._world.c2b_urls:
                raise DarajaError(500, "500.003.1001", "Urls are already registered")
            self._world.c2b_urls[merchant.shortcode] = urls
        return json_answer({**self._ids("register", merchant), "ResponseDescription": "Success"})

    def simulate(self, request: Request) -> Response:
        """A payer pays to the shortcode by hand."""
        merchant, _ = self._gate.merchant(request)
        body = self._gate.body(request)
        self._check_shortcode(body, merchant)
        phone, amount = field(body, "Msisdn"), field(body, "Amount")
        if not _PHONE.fullmatch(phone):
            raise invalid("Msisdn")
        if not _AMOUNT.fullmatch(amount) or int(amount) > MAX_AMOUNT:
            raise invalid("Amount")
        self.pay(merchant, phone, int(amount), field(body, "BillRefNumber")[:20])
        return json_answer(
            {
                **self._ids("simulate", merchant),
                "ResponseDescription": "Accept the service request successfully.",
            }
        )

    def pay(self, merchant: Merchant, phone: str, amount: int, account: str) -> str:
        """Start a payment by hand and give its receipt; whether it goes through is for the validation to say."""
        now = datetime.now(UTC)
        with self._world.lock:
            count = len(self._world.receipts)
        receipt = self._prompts.new_receipt(now, "c2b", phone, now.isoformat(), count)
        moved = Moved(receipt, amount, phone, account, merchant.shortcode, "C2B", now, None)
        self._timetable.after(1.0, partial(self._carry_out, moved))
        return receipt

    def register_pull(self, request: Request) -> Response:
        """Let a shortcode list its transactions."""
        merchant, _ = self._gate.merchant(request)
        body = self._gate.body(request)
        self._check_shortcode(body, merchant)
        with self._world.lock:
            is_new = merchant.shortcode not in self._world.pullers
            self._world.pullers.add(merchant.shortcode)
        return json_answer(
            {
                "ResponseRefID": self._request_id("pull", merchant),
                "Response Status": "1000" if is_new else "1001",
                "ShortCode": merchant.shortcode,
                "Response Description": "Success" if is_new else "ShortCode already Registered",
            }
        )

    def pull(self, request: Request) -> Response:
        """The transactions of the last 48 hours between two Nairobi times, from a row on."""
        merchant, _ = self._gate.merchant(request)
        body = self._gate.body(request)
        self._check_shortcode(body, merchant)
        since, until = _nairobi(body, "StartDate"), _nairobi(body, "EndDate")
        offset = field(body, "OffSetValue") or "0"
        if not offset.isascii() or not offset.isdigit():
            raise invalid("OffSetValue")
        since = max(since, datetime.now(UTC) - PULL_HORIZON)
        with self._world.lock:
            if merchant.shortcode not in self._world.pullers:
                raise DarajaError(400, "400.002.02", "Bad Request - ShortCode not registered for Pull")
            found = [
                row
                for row in self._world.moved
                if row.shortcode == merchant.shortcode and since <= row.at <= until
            ]
        return self._pulled(merchant, found[int(offset) : int(offset) + self._world.options.pull_page])

    def _pulled(self, merchant: Merchant, rows: list[Moved]) -> Response:
        return json_answer(
            {
                "ResponseRefID": self._request_id("pull", merchant),
                "ResponseCode": "1000" if rows else "1001",
                "ResponseMessage": "Success" if rows else "No transactions found",
                "Response": [[_pull_row(row) for row in rows]],
            }
        )

    def _carry_out(self, moved: Moved) -> None:
        """Ask the ValidationURL where that is switched on, book the money, and confirm it."""
        with self._world.lock:
            urls = self._world.c2b_urls.get(moved.shortcode)
        if urls is not None and urls.validation and self._world.options.c2b_validation:
            body = c2b_notice(moved, urls.version, self._chance.of("c2b", moved.receipt), "")
            # Not quicker than a second, so that a fast simulator still leaves the receiver time to answer.
            timeout_s = max(self._timetable.scaled(VALIDATION_TIMEOUT_S), 1.0)
            said = self._courier.ask(urls.validation, body, moved.shortcode, timeout_s)
            if not _is_allowed(said, urls.response_type):
                return
        moved = replace(moved, at=datetime.now(UTC))
        self._world.book(moved)
        self._prompts.confirm_c2b(moved)

    def _check_shortcode(self, body: dict[str, Any], merchant: Merchant) -> None:
        if field(body, "ShortCode") != merchant.shortcode:
            raise invalid("ShortCode")

    def _ids(self, kind: str, merchant: Merchant) -> dict[str, Any]:
        # The key is misspelt by the real one.
        return {"OriginatorCoversationID": self._request_id(kind, merchant), "ResponseCode": "0"}

    def _request_id(self, kind: str, merchant: Merchant) -> str:
        return identifiers.request_id(self._chance.of(kind, merchant.shortcode, len(self._world.moved)))


def _is_allowed(said: Delivered, response_type: str) -> bool:
    """Whether a payment goes through: as the receiver says, or as was registered when it says nothing clear."""
    try:
        answer = json.loads(said.answer) if said.status == 200 else None
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or "ResultCode" not in answer:
        return response_type == "Completed"
    return str(answer["ResultCode"]) == "0"


def _pull_row(row: Moved) -> dict[str, Any]:
    return {
        "transactionId": row.receipt,
        "trxDate": row.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "msisdn": int(row.phone),
        "sender": "MPESA",
        "transactiontype": "c2b-pay-bill-debit",
        "billreference": row.account,
        "amount": f"{row.amount}.00",
        "organizationname": "Daraja Pull API Test",
    }


def _nairobi(body: dict[str, Any], name: str) -> datetime:
    try:
        moment = datetime.strptime(field(body, name), "%Y-%m-%d %H:%M:%S").replace(tzinfo=EAT)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise invalid(name) from error
