"""The bodies M-Pesa sends: STK callbacks in each shape seen, C2B notices."""

from __future__ import annotations

import hashlib
import json
import random
from typing import Any, Final

from haven.payments.mpesa.eat import stamp
from haven.payments.mpesa.simulator.scenarios import Delivery, Shape
from haven.payments.mpesa.simulator.world import Moved, Push

UNKNOWN_CHECKOUT_ID: Final = "ws_CO_010120200000001700000000"

CALLBACK_WORDS: Final = {
    "0": "The service request is processed successfully.",
    "1": "The balance is insufficient for the transaction",
    "3": "The amount is above the maximum limit of the transaction.",
    "4": "Declined due to limit rule: would exceed the daily transfer limit.",
    "8": "Declined due to limit rule: would exceed the maximum balance.",
    "17": "Rule limited.",
    "26": "System busy. The service request is rejected.",
    "1019": "Transaction has expired",
    "1025": "An error occurred while sending a push request",
    "1031": "Request cancelled by user",
    "1032": "Request cancelled by user",
    "1037": "No response from user.",
    "2001": "The initiator information is invalid.",
    "2028": "The request is not permitted according to product assignment.",
    "8006": "The security credential is locked.",
    "9999": "An error occurred while sending a push request",
    "SFC_IC0003": "The operator does not exist.",
    "E3008": "The user has a bad debt contract.",
}
_QUERY_WORDS: Final = {
    **CALLBACK_WORDS,
    "1037": "DS timeout user cannot be reached.",
    "1032": "Request cancelled by user",
}
_NAMES: Final = (
    "AMINA",
    "BRIAN",
    "WANJIRU",
    "OTIENO",
    "KAMAU",
    "ACHIENG",
    "MWANGI",
    "NJERI",
    "KIPCHOGE",
    "HALIMA",
)


def words_of_callback(code: str) -> str:
    """The ResultDesc of a callback."""
    return CALLBACK_WORDS.get(code, "The service request failed.")


def words_of_query(code: str) -> str:
    """The ResultDesc of a query, which has other words for the same thing."""
    return _QUERY_WORDS.get(code, "The service request failed.")


def stk_callback(push: Push, delivery: Delivery) -> bytes:
    """The callback of a push that has ended."""
    if delivery.is_garbled:
        return b'{"Body":{"stkCallback":{"MerchantRequestID":'
    code = delivery.result or push.result_code or "1037"
    callback: dict[str, Any] = {
        "MerchantRequestID": push.merchant_request_id,
        "CheckoutRequestID": UNKNOWN_CHECKOUT_ID if delivery.has_unknown_id else push.checkout_request_id,
        "ResultCode": int(code) if code.isdigit() else code,
        "ResultDesc": words_of_callback(code),
    }
    if code == "0":
        callback["CallbackMetadata"] = {"Item": _items(push, delivery.extra_shillings)}
    return _dump({"Body": {"stkCallback": callback}})


def c2b_notice(moved: Moved, version: int, chance: random.Random, balance: str) -> bytes:
    """A C2B validation (``balance`` is empty) or confirmation. Version 1 hashes the payer, version 2 masks it."""
    names = {"FirstName": chance.choice(_NAMES), "MiddleName": "", "LastName": chance.choice(_NAMES)}
    if chance.random() < 0.2:
        names = {"FirstName": names["FirstName"]}  # the other keys are missing in some (published)
    payer = hashlib.sha256(moved.phone.encode()).hexdigest() if version == 1 else _masked(moved.phone)
    return _dump(
        {
            "TransactionType": "Pay Bill",
            "TransID": moved.receipt,
            "TransTime": stamp(moved.at),
            "TransAmount": f"{moved.amount}.00",
            "BusinessShortCode": moved.shortcode,
            "BillRefNumber": moved.account,
            "InvoiceNumber": chance.choice(("", "0", None)),
            "OrgAccountBalance": balance,
            "ThirdPartyTransID": chance.choice(("", None)),
            "MSISDN": payer,
            **names,
        }
    )


def _items(push: Push, extra_shillings: int) -> list[dict[str, Any]]:
    """The metadata, in the shape the scenario wants."""
    shape, amount, moment = push.scenario.shape, push.amount + extra_shillings, push.ended_at or push.rang_at
    date: int | str = int(stamp(moment))
    items: dict[str, dict[str, Any]] = {
        "Amount": {"Name": "Amount", "Value": float(amount)},
        "MpesaReceiptNumber": {"Name": "MpesaReceiptNumber", "Value": push.receipt},
        "TransactionDate": {"Name": "TransactionDate", "Value": date},
        "PhoneNumber": {"Name": "PhoneNumber", "Value": int(push.phone)},
    }
    if shape is Shape.INTEGER_AMOUNT:
        items["Amount"]["Value"] = amount
    elif shape is Shape.TEXT_DATE:
        items["Amount"]["Value"] = f"{amount}.00"
        items["TransactionDate"]["Value"] = str(date)
    elif shape is Shape.MASKED_PHONE:
        items["PhoneNumber"]["Value"] = _masked(push.phone)
    elif shape is Shape.NO_PHONE:
        del items["PhoneNumber"]
    elif shape is Shape.NO_RECEIPT:
        del items["MpesaReceiptNumber"]
    return _with_balance(shape, amount, list(items.values()))


def _with_balance(shape: Shape, amount: int, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if shape is Shape.OLD_BALANCE:
        items.insert(2, {"Name": "Balance"})
    elif shape is Shape.BALANCE_MAP:
        balance = f"{{Amount={{CurrencyCode=KES, MinimumAmount={amount * 100}, BasicAmount={amount}.00}}}}"
        items.insert(2, {"Name": "Balance", "Value": balance})
    elif shape is Shape.SHUFFLED:
        items.reverse()
    return items


def _masked(phone: str) -> str:
    return f"{phone[:4]} ***** {phone[-3:]}"


def _dump(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
