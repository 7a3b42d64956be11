"""Parsers of what M-Pesa answers to Haven's calls. Pure: status, headers and bytes in, a value out.

Errors come in three shapes: ``{"requestId", "errorCode", "errorMessage"}`` (Daraja), ``{"fault": {…}}`` (the Apigee
gateway) and HTML or nothing (whatever stands before it). None of them raises.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

from haven.payments.mpesa.results import Outcome, outcome_of
from haven.payments.mpesa.wire import Json, NotJson, as_amount, as_object, as_text, read_object

AUTHENTICATION_CODES: Final = frozenset({"400.003.01", "401.002.01", "401.003.01", "404.001.03"})
"""The token is not good (any more): fetch a new one once, and call once more."""
CONFIGURATION_CODES: Final = frozenset(
    {"400.008.01", "400.008.02", "404.001.01", "404.003.01", "404.001.04", "405.001"}
)
"""The address, the credentials or the method is wrong: staff must act."""
THROTTLED_CODES: Final = frozenset({"500.003.02", "500.003.03"})
"""Too many calls; the call was not carried out."""
INTERNAL_CODE: Final = "500.001.1001"
"""One code for many things; the words tell them apart (`Unable to lock subscriber`, `Wrong credentials`, …)."""
DEFAULT_RETRY_AFTER_S: Final = 60
_TOKEN_ECHO: Final = re.compile(r"(access\s+token)\b.*", re.IGNORECASE | re.DOTALL)
_CHECKOUT_PHONE: Final = re.compile(r"(ws_CO_[0-9]{14})[0-9]+")
_DARAJA_CODE: Final = re.compile(r"[45][0-9]{2}\.")
_LONG_LIFE_S: Final = 86_400


class FaultKind(StrEnum):
    """What an error answer says about the call."""

    AUTHENTICATION = "AUTHENTICATION"
    CONFIGURATION = "CONFIGURATION"
    BUSY = "BUSY"
    THROTTLED = "THROTTLED"
    REJECTED = "REJECTED"
    UNCLEAR = "UNCLEAR"


@dataclass(frozen=True, slots=True)
class Fault:
    """An error answer: ``code`` is the provider's or ``HTTP 503``; ``message`` has no token in it.

    ``retry_after_s``: seconds the provider wants left alone, None where it does not say.
    """

    code: str
    message: str
    kind: FaultKind
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An OAuth token and its life in seconds from now."""

    value: str
    life_s: int


@dataclass(frozen=True, slots=True)
class PushAccepted:
    """M-Pesa took the push and the phone is about to ring."""

    merchant_request_id: str
    checkout_request_id: str


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """What a status query said. ``state`` is ``PAID``, ``FAILED`` or ``PENDING``; a query never has a receipt.

    ``code`` is the result code, or the error code of a query without one. ``retry_after_s``: see :class:`Fault`.
    """

    state: str
    code: str
    text: str
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class PulledTransaction:
    """One row of Pull Transactions. The zone of ``paid_at`` is not documented: match it within three hours.

    ``payer`` is what M-Pesa tells of the number: whole, masked, hashed or cut.
    """

    receipt: str
    amount: Decimal
    paid_at: datetime | None
    account: str
    kind: str
    payer: str = ""


@dataclass(frozen=True, slots=True)
class PulledPage:
    """One page of Pull Transactions; ``listed`` counts its rows with those that cannot be read."""

    rows: tuple[PulledTransaction, ...]
    listed: int


def redact(text: str) -> str:
    """The text without tokens and without the phone digits inside a CheckoutRequestID, for logs and errors.

    401.002.01 echoes the access token it refuses.
    """
    return _CHECKOUT_PHONE.sub(r"\1…", _TOKEN_ECHO.sub(r"\1 [removed]", text))[:300]


def read_fault(status: int, headers: Mapping[str, str], body: bytes) -> Fault:
    """The error in an answer that is not a success, whatever its shape."""
    wait_s = _retry_after(headers)
    try:
        answer = read_object(body)
    except NotJson:
        return Fault(f"HTTP {status}", f"no readable answer (HTTP {status})", _kind_of_status(status), wait_s)
    gateway = as_object(answer.get("fault"))
    if gateway:
        return _gateway_fault(status, gateway, wait_s)
    code = as_text(answer.get("errorCode"), 32)
    message = redact(as_text(answer.get("errorMessage")))
    if not code:
        return Fault(f"HTTP {status}", message or f"HTTP {status}", _kind_of_status(status), wait_s)
    kind = _kind_of_code(status, code, message.lower())
    return Fault(code, message, kind, wait_s)


def is_outage(status: int, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether an answer says that M-Pesa is not there: a 5xx that is not Daraja's own, nor for too many calls.

    Daraja answers 500 to a busy subscriber, wrong credentials and a query that comes early: those are answers.
    """
    if status < 500:
        return False
    fault = read_fault(status, headers, body)
    return fault.kind is FaultKind.UNCLEAR and not _DARAJA_CODE.match(fault.code)


def read_token(body: bytes) -> AccessToken | None:
    """The token of an OAuth answer; ``expires_in`` is a number or a text; None when there is no token."""
    answer = _object(body)
    value = as_text(answer.get("access_token"), 2048)
    life = as_text(answer.get("expires_in"), 10)
    if not value or not value.isascii():
        return None
    return AccessToken(value, min(int(life), _LONG_LIFE_S) if life.isascii() and life.isdigit() else 3599)


def read_push(body: bytes) -> PushAccepted | Fault | None:
    """The answer to a push with HTTP 200: accepted, refused by its ResponseCode, or None: not readable."""
    answer = _object(body)
    code = as_text(answer.get("ResponseCode"), 32)
    checkout = as_text(answer.get("CheckoutRequestID"), 64)
    if code == "0" and checkout:
        return PushAccepted(as_text(answer.get("MerchantRequestID"), 64), checkout)
    if code and code != "0":
        return Fault(code, redact(as_text(answer.get("ResponseDescription"))), FaultKind.REJECTED)
    return None


def read_query(body: bytes, checkout_request_id: str) -> QueryAnswer:
    """The answer to a status query with HTTP 200. Anything but a final code about this very push is pending."""
    answer = _object(body)
    code = as_text(answer.get("ResultCode"), 32)
    text = redact(as_text(answer.get("ResultDesc")))
    if as_text(answer.get("CheckoutRequestID"), 64) not in {"", checkout_request_id}:
        return QueryAnswer("PENDING", "OTHER_PUSH", "The answer is about another push.")
    if not code:
        return QueryAnswer("PENDING", "NO_RESULT", "The answer has no result code.")
    return QueryAnswer(_QUERY_STATES.get(outcome_of(code), "FAILED"), code, text)


def read_pulled(body: bytes) -> tuple[PulledTransaction, ...]:
    """The rows of a Pull answer: a list inside a list; rows without a receipt or an amount are left out."""
    return _pulled_rows(_object(body))


def read_pulled_page(body: bytes) -> PulledPage | Fault:
    """The answer to a Pull query with HTTP 200: a page, perhaps empty (code 1001), or why there is none."""
    answer = _object(body)
    code = as_text(answer.get("ResponseCode"), 32)
    if code not in ("1000", "1001", "0"):
        message = redact(as_text(answer.get("ResponseMessage"))) or "no list of transactions in the answer"
        return Fault(code or "UNREADABLE", message, FaultKind.UNCLEAR)
    listed = sum(1 for row in _flattened(answer.get("Response")) if as_object(row))
    return PulledPage(_pulled_rows(answer), listed)


def read_registration(status: int, headers: Mapping[str, str], body: bytes) -> bool | Fault:
    """The answer to a registration of addresses or of Pull: True: taken; False: it had been taken before.

    Keys are misspelt (``OriginatorCoversationID``), written with spaces (``Response Status``) or missing, so only the
    code and, where there is none, the words count.
    """
    answer = _object(body)
    code = next((as_text(answer[key], 32) for key in _REGISTRATION_CODES if key in answer), "")
    words = " ".join(as_text(answer.get(key)) for key in _REGISTRATION_WORDS).lower()
    if code == "1001" or "already registered" in words:
        return False
    if status == 200 and code in ("0", "1000"):
        return True
    if status == 200:
        return Fault(code or "UNREADABLE", redact(words).strip() or "no readable answer", FaultKind.UNCLEAR)
    return read_fault(status, headers, body)


def _pulled_rows(answer: dict[str, Json]) -> tuple[PulledTransaction, ...]:
    found = (_pulled(as_object(row)) for row in _flattened(answer.get("Response")))
    return tuple(row for row in found if row is not None)


_REGISTRATION_CODES: Final = ("ResponseCode", "Response Status", "ResponseStatus", "Response Code")
_REGISTRATION_WORDS: Final = (
    "ResponseDescription",
    "Response Description",
    "ResponseMessage",
    "errorMessage",
)


_QUERY_STATES: Final = {Outcome.PAID: "PAID", Outcome.PENDING: "PENDING"}


def _object(body: bytes) -> dict[str, Json]:
    try:
        return read_object(body)
    except NotJson:
        return {}


def _gateway_fault(status: int, fault: dict[str, Json], wait_s: int | None) -> Fault:
    code = as_text(as_object(fault.get("detail")).get("errorcode"), 100)
    message = redact(as_text(fault.get("faultstring")))
    lowered = f"{code} {message}".lower()
    if status == 429 or "ratelimit" in lowered or "spike" in lowered:
        return Fault(code or "HTTP 429", message, FaultKind.THROTTLED, wait_s or DEFAULT_RETRY_AFTER_S)
    if "access_token" in lowered or "access token" in lowered:
        return Fault(code, message, FaultKind.AUTHENTICATION, wait_s)
    return Fault(code or f"HTTP {status}", message, _kind_of_status(status), wait_s)


def _kind_of_code(status: int, code: str, message: str) -> FaultKind:
    if code in AUTHENTICATION_CODES:
        return FaultKind.AUTHENTICATION
    if code in CONFIGURATION_CODES:
        return FaultKind.CONFIGURATION
    if code in THROTTLED_CODES or status == 429 or "spike arrest" in message:
        return FaultKind.THROTTLED
    if code == INTERNAL_CODE:
        return _kind_of_internal(message)
    return FaultKind.REJECTED if status < 500 else FaultKind.UNCLEAR


def _kind_of_internal(message: str) -> FaultKind:
    """500.001.1001 means what its words say; prefixes such as ``[STK] - `` vary, so they are searched."""
    if "unable to lock subscriber" in message:
        return FaultKind.BUSY
    if "merchant does not exist" in message or "wrong credentials" in message:
        return FaultKind.CONFIGURATION
    return FaultKind.UNCLEAR


def _kind_of_status(status: int) -> FaultKind:
    """Without a readable body: a gateway refuses with 4xx before it passes a call on; 5xx may come after."""
    if status == 401:
        return FaultKind.AUTHENTICATION
    if status == 429:
        return FaultKind.THROTTLED
    if 300 <= status < 400 or status in {403, 404, 405}:
        return FaultKind.CONFIGURATION
    return FaultKind.UNCLEAR


def _retry_after(headers: Mapping[str, str]) -> int | None:
    """Seconds of a Retry-After header, at most an hour; its date form is not read."""
    text = headers.get("Retry-After") or headers.get("retry-after") or ""
    return min(int(text), 3600) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _flattened(value: Json) -> list[Json]:
    rows = value if isinstance(value, list) else []
    return [row for part in rows for row in (part if isinstance(part, list) else [part])]


def _pulled(row: dict[str, Json]) -> PulledTransaction | None:
    receipt, amount = as_text(row.get("transactionId"), 32), as_amount(row.get("amount"))
    if not receipt or amount is None:
        return None
    return PulledTransaction(
        receipt=receipt,
        amount=amount,
        paid_at=_iso(as_text(row.get("trxDate"), 40)),
        account=as_text(row.get("billreference"), 64),
        kind=as_text(row.get("transactiontype"), 64),
        payer=as_text(row.get("msisdn"), 80),
    )


def _iso(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
