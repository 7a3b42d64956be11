"""What a business may tell M-Pesa to do: pay a phone (B2C), take a payment back, say what became of one.

Each is acknowledged at once, which says nothing of its end; that comes later to the ResultURL, or, unknown, to the
QueueTimeOutURL. The last four digits of the phone concerned choose what happens; see docs/mpesa-simulator.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from flask import Request, Response

from haven.payments.mpesa.simulator import identifiers, results
from haven.payments.mpesa.simulator.answers import DarajaError, invalid, json_answer
from haven.payments.mpesa.simulator.api import Api
from haven.payments.mpesa.simulator.gate import field
from haven.payments.mpesa.simulator.options import Merchant
from haven.payments.mpesa.simulator.prompts import MAX_AMOUNT
from haven.payments.mpesa.simulator.results import Ids
from haven.payments.mpesa.simulator.world import Moved

RESULT_AFTER_S: Final = 3.0
TIMED_OUT: Final = "9001"
TIMED_OUT_AND_DONE: Final = "9002"
TOLD_TWICE: Final = "9003"
PAYOUT_REFUSALS: Final = {"0001": "1", "2001": "2001", "2040": "2040", "3003": "SFC_IC0003"}
"""Last four digits of the receiver → result code of a payout that is not made."""
_PAYOUTS: Final = frozenset({"BusinessPayment", "SalaryPayment", "PromotionPayment"})
_PHONE: Final = re.compile(r"254[17][0-9]{8}", re.ASCII)
_AMOUNT: Final = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_RECEIPT: Final = re.compile(r"[A-Z0-9]{10}", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Instruction:
    """An instruction that was taken. ``act`` carries it out and gives the body that tells of it."""

    kind: str
    merchant: Merchant
    ids: Ids
    result_url: str
    timeout_url: str
    phone: str
    act: Callable[[], dict[str, Any]]


class Instructions(Api):
    """B2C, Reversal and Transaction Status."""

    def pay_out(self, request: Request) -> Response:
        """B2C: pay a phone. The caller's OriginatorConversationID makes it happen once, however often it is sent."""
        merchant, body = self._begin(request, "InitiatorName")
        checks = {
            "CommandID": field(body, "CommandID") in _PAYOUTS,
            "Amount": bool(_AMOUNT.fullmatch(field(body, "Amount"))),
            "PartyA": field(body, "PartyA") == merchant.shortcode,
            "PartyB": bool(_PHONE.fullmatch(field(body, "PartyB"))),
        }
        _require(checks)
        ids = self._ids(body, "b2c")
        phone, amount = field(body, "PartyB"), int(field(body, "Amount"))
        return self._take(
            "b2c", merchant, body, ids, phone, partial(self._paid_out, merchant, ids, phone, amount)
        )

    def reverse(self, request: Request) -> Response:
        """Take a payment back. ``RecieverIdentifierType`` is spelt as the real one spells it."""
        merchant, body = self._begin(request, "Initiator")
        checks = {
            "CommandID": field(body, "CommandID") == "TransactionReversal",
            "TransactionID": bool(_RECEIPT.fullmatch(field(body, "TransactionID"))),
            "Amount": bool(_AMOUNT.fullmatch(field(body, "Amount"))),
            "ReceiverParty": field(body, "ReceiverParty") == merchant.shortcode,
            "RecieverIdentifierType": field(body, "RecieverIdentifierType") == "11",
        }
        _require(checks)
        ids = self._ids(body, "reversal")
        receipt, amount = field(body, "TransactionID"), int(field(body, "Amount"))
        act = partial(self._taken_back, merchant, ids, receipt, amount)
        return self._take("reversal", merchant, body, ids, self._payer(receipt), act)

    def look_up(self, request: Request) -> Response:
        """Transaction Status: what became of a receipt."""
        merchant, body = self._begin(request, "Initiator")
        checks = {
            "CommandID": field(body, "CommandID") == "TransactionStatusQuery",
            "TransactionID": bool(_RECEIPT.fullmatch(field(body, "TransactionID"))),
            "PartyA": field(body, "PartyA") == merchant.shortcode,
            "IdentifierType": field(body, "IdentifierType") == "4",
        }
        _require(checks)
        ids = self._ids(body, "transactionstatus")
        receipt = field(body, "TransactionID")
        act = partial(self._found, merchant, ids, receipt)
        return self._take("transactionstatus", merchant, body, ids, self._payer(receipt), act)

    def _begin(self, request: Request, initiator: str) -> tuple[Merchant, dict[str, Any]]:
        """Who calls and with what, once the fields that all three have are right."""
        merchant, _ = self._gate.merchant(request)
        body = self._gate.body(request)
        checks = {
            initiator: bool(field(body, initiator)),
            "SecurityCredential": bool(field(body, "SecurityCredential")),
            "Remarks": 2 <= len(field(body, "Remarks")) <= 100,
            "ResultURL": field(body, "ResultURL").startswith(("http://", "https://")),
            "QueueTimeOutURL": field(body, "QueueTimeOutURL").startswith(("http://", "https://")),
        }
        _require(checks)
        return merchant, body

    def _ids(self, body: dict[str, Any], kind: str) -> Ids:
        """The names of an instruction; one that was given before is refused."""
        given = field(body, "OriginatorConversationID")
        with self._world.lock:
            if given in self._world.instructed:
                raise DarajaError(500, "500.002.1001", "Duplicate OriginatorConversationID.")
            count = len(self._world.instructed)
            originator = given or identifiers.request_id(self._chance.of(kind, count))
            self._world.instructed.add(originator)
        chance = self._chance.of("conversation", kind, count)
        return Ids(originator, f"AG_{datetime.now(UTC):%Y%m%d}_{chance.randrange(16**19, 16**20):020x}")

    def _take(
        self,
        kind: str,
        merchant: Merchant,
        body: dict[str, Any],
        ids: Ids,
        phone: str,
        act: Callable[[], dict[str, Any]],
    ) -> Response:
        """Acknowledge an instruction, and carry it out later."""
        instruction = _Instruction(
            kind, merchant, ids, field(body, "ResultURL"), field(body, "QueueTimeOutURL"), phone, act
        )
        self._timetable.after(RESULT_AFTER_S, partial(self._carry_out, instruction))
        return json_answer(
            {
                "ConversationID": ids.conversation,
                "OriginatorConversationID": ids.originator,
                "ResponseCode": "0",
                "ResponseDescription": "Accept the service request successfully.",
            }
        )

    def _carry_out(self, instruction: _Instruction) -> None:
        ending = instruction.phone[-4:]
        if ending == TIMED_OUT_AND_DONE:
            instruction.act()
        if ending in {TIMED_OUT, TIMED_OUT_AND_DONE}:
            body = results.timed_out(instruction.ids, instruction.kind)
            return self._send(instruction, instruction.timeout_url, body, "QUEUE_TIMEOUT")
        body = instruction.act()
        for _ in range(2 if ending == TOLD_TWICE else 1):
            self._send(instruction, instruction.result_url, body, "RESULT")
        return None

    def _send(self, instruction: _Instruction, url: str, body: dict[str, Any], kind: str) -> None:
        self._courier.send(url, results.dump(body), kind, instruction.merchant.shortcode, None)

    # Carrying them out

    def _paid_out(self, merchant: Merchant, ids: Ids, phone: str, amount: int) -> dict[str, Any]:
        now = datetime.now(UTC)
        receipt = self._prompts.new_receipt(now, "b2c", ids.originator)
        code = PAYOUT_REFUSALS.get(phone[-4:])
        if code is not None or amount > MAX_AMOUNT:
            # A payout that fails has a receipt all the same; a reversal that fails has none (both are published).
            return results.refused(ids, code or "1", receipt, "b2c")
        paid = Moved(receipt, amount, phone, "", merchant.shortcode, "B2C", now, None)
        with self._world.lock:
            self._world.paid_out.append(paid)
        return results.paid_out(ids, paid)

    def _taken_back(self, merchant: Merchant, ids: Ids, receipt: str, amount: int) -> dict[str, Any]:
        now = datetime.now(UTC)
        with self._world.lock:
            original = self._world.payment(receipt, merchant.shortcode)
            if original is None or original.amount != amount:
                return results.refused(ids, "R000002", results.no_transaction(now), "reversal")
            if receipt in self._world.taken_back:
                return results.refused(ids, "R000001", results.no_transaction(now), "reversal")
            own = self._prompts.new_receipt(now, "reversal", receipt)
            self._world.taken_back[receipt] = own
            self._world.balances[merchant.shortcode] -= amount
        return results.taken_back(ids, own, original, now)

    def _found(self, merchant: Merchant, ids: Ids, receipt: str) -> dict[str, Any]:
        with self._world.lock:
            moved = self._world.payment(receipt, merchant.shortcode)
            is_reversed = receipt in self._world.taken_back
        if moved is None:
            return results.refused(
                ids, "R000002", results.no_transaction(datetime.now(UTC)), "transactionstatus"
            )
        return results.found(ids, moved, is_reversed=is_reversed)

    def _payer(self, receipt: str) -> str:
        """The phone of a payment; empty for one that is not known."""
        with self._world.lock:
            return next((row.phone for row in self._world.moved if row.receipt == receipt), "")


def _require(checks: dict[str, bool]) -> None:
    """Refuse with the name of the first field that is not right."""
    wrong = next((name for name, is_right in checks.items() if not is_right), None)
    if wrong is not None:
        raise invalid(wrong)
