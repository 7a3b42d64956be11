"""Parsers of what M-Pesa sends to Haven: STK callbacks and C2B notices. Pure: bytes in, a value out.

They hold to the payloads seen in the wild: amounts that are integers, decimals or texts; items named but
without a value, or in another order; text result codes; phones that are plain, masked, hashed or absent.
What decides about money (the ids, the result code, a C2B amount) must be readable or the whole message is
:class:`UnreadableCallback`; anything else that cannot be read is ``None``, never an exception.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from haven.payments.mpesa.eat import moment_of
from haven.payments.mpesa.wire import Json, NotJson, as_amount, as_object, as_text, read_object
from haven.payments.phones import InvalidPhone, mask_phone, msisdn, normalise_phone

MAX_BODY_BYTES: Final = 64 * 1024
"""Bytes of the longest message that is read; the largest one published has under 2 KiB."""
_IDENTIFIER: Final = re.compile(r"[\x21-\x7e]{1,64}", re.ASCII)
_CODE: Final = re.compile(r"[A-Za-z0-9_.\-]{1,32}", re.ASCII)
_RECEIPT: Final = re.compile(r"[A-Za-z0-9]{6,20}", re.ASCII)
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


class UnreadableCallback(ValueError):
    """The body is not the message it should be; ``str()`` says what is missing and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class StkCallback:
    """What M-Pesa says became of one push.

    ``amount``, ``receipt``, ``paid_at`` (UTC) and ``phone`` (E.164) come only with a payment, and each may be
    missing even then: the phone is masked or left out by some versions of the provider.
    """

    merchant_request_id: str
    checkout_request_id: str
    result_code: str
    result_text: str
    amount: Decimal | None
    receipt: str | None
    paid_at: datetime | None
    phone: str | None


@dataclass(frozen=True, slots=True)
class C2bNotice:
    """Money paid to the shortcode, in shillings.

    A validation and a confirmation have the same shape: only the address they come to tells them apart.

    Of the payer there is one of ``phone`` (E.164, older versions), ``phone_hash`` (SHA-256 in lower-case hex, v1)
    or only ``phone_shown`` (masked, v2). ``account`` is what the payer typed; empty for a till.
    """

    receipt: str
    amount: Decimal
    paid_at: datetime | None
    shortcode: str
    account: str
    transaction_type: str
    balance: Decimal | None
    third_party_id: str
    payer_name: str
    phone: str | None
    phone_hash: str | None
    phone_shown: str


def parse_stk_callback(body: bytes) -> StkCallback:
    """The STK callback in a request's body.

    Raises:
        UnreadableCallback: no JSON object, too long, or no CheckoutRequestID or ResultCode in it.
    """
    callback = as_object(as_object(_read(body).get("Body")).get("stkCallback"))
    if not callback:
        raise UnreadableCallback("no Body.stkCallback in it")
    items = _items(callback)
    return StkCallback(
        merchant_request_id=_optional(_IDENTIFIER, callback.get("MerchantRequestID")) or "",
        checkout_request_id=_required(_IDENTIFIER, callback, "CheckoutRequestID"),
        result_code=_required(_CODE, callback, "ResultCode"),
        result_text=as_text(callback.get("ResultDesc")),
        amount=as_amount(items.get("Amount")),
        receipt=_receipt(items.get("MpesaReceiptNumber")),
        paid_at=moment_of(items.get("TransactionDate")),
        phone=_phone(items.get("PhoneNumber")),
    )


def parse_c2b(body: bytes) -> C2bNotice:
    """The C2B validation or confirmation in a request's body.

    Raises:
        UnreadableCallback: no JSON object, too long, or no TransID or TransAmount in it.
    """
    notice = _read(body)
    amount = as_amount(notice.get("TransAmount"))
    if amount is None:
        raise UnreadableCallback("no readable TransAmount in it")
    payer = as_text(notice.get("MSISDN"), 80)
    is_hash = bool(_SHA256.fullmatch(payer))
    phone = None if is_hash else _phone(payer)
    return C2bNotice(
        receipt=_required(_RECEIPT, notice, "TransID"),
        amount=amount,
        paid_at=moment_of(notice.get("TransTime")),
        shortcode=as_text(notice.get("BusinessShortCode"), 16),
        account=as_text(notice.get("BillRefNumber"), 64),
        transaction_type=as_text(notice.get("TransactionType"), 64),
        balance=as_amount(notice.get("OrgAccountBalance")),
        third_party_id=as_text(notice.get("ThirdPartyTransID"), 64),
        payer_name=_name(notice),
        phone=phone,
        phone_hash=payer.lower() if is_hash else None,
        phone_shown=_shown(payer, phone, is_hash),
    )


def phone_hash(phone: str) -> str:
    """The hash C2B v1 sends instead of a number: SHA-256, in hex, of its twelve digits.

    Raises:
        InvalidPhone: not a Kenyan mobile number.
    """
    return hashlib.sha256(msisdn(phone).encode()).hexdigest()


def _read(body: bytes) -> dict[str, Json]:
    if len(body) > MAX_BODY_BYTES:
        raise UnreadableCallback(f"longer than {MAX_BODY_BYTES} bytes")
    try:
        return read_object(body)
    except NotJson as error:
        raise UnreadableCallback("not a JSON object") from error


def _items(callback: dict[str, Json]) -> dict[str, Json]:
    """The metadata by name, never by place: Balance has no value in some, and is missing in others.

    A name said twice with different values is dropped, and so is one with a value that is null or contradicts itself:
    nothing is to be credited on either of them.
    """
    listed = as_object(callback.get("CallbackMetadata")).get("Item")
    rows = listed if isinstance(listed, list) else [listed]
    found: dict[str, Json] = {}
    contradicted: set[str] = set()
    for row in map(as_object, rows):
        name, value = row.get("Name"), row.get("Value")
        if not isinstance(name, str) or "Value" not in row:
            continue
        if value is None or found.get(name, value) != value:
            contradicted.add(name)
        found[name] = value
    return {name: value for name, value in found.items() if name not in contradicted}


def _required(shape: re.Pattern[str], holder: dict[str, Json], name: str) -> str:
    text = _optional(shape, holder.get(name))
    if text is None:
        raise UnreadableCallback(f"no readable {name} in it")
    return text


def _optional(shape: re.Pattern[str], value: Json) -> str | None:
    text = as_text(value, 128)
    return text if shape.fullmatch(text) else None


def _receipt(value: Json) -> str | None:
    """The receipt; None for one that ends in seven zeros, M-Pesa's way to say that no transaction was made."""
    text = _optional(_RECEIPT, value)
    return None if text is None or text.endswith("0000000") else text


def _phone(value: Json) -> str | None:
    try:
        return normalise_phone(as_text(value, 32))
    except InvalidPhone:
        return None


def _shown(payer: str, phone: str | None, is_hash: bool) -> str:
    """The payer as a person may see it: masked by M-Pesa or by Haven; a hash says nothing to a person."""
    if is_hash:
        return ""
    if phone is not None:
        return mask_phone(phone)
    return payer if "*" in payer else mask_phone(payer)


def _name(notice: dict[str, Json]) -> str:
    parts = (as_text(notice.get(part), 64) for part in ("FirstName", "MiddleName", "LastName"))
    return " ".join(part for part in parts if part)
