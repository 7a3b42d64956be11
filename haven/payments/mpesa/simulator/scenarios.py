"""What each simulated phone does, by the last four digits of its number: a table, and nothing else.

Where there is a result code, the digits are the code. ``docs/mpesa-simulator.md`` shows the same table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class PushAnswer(StrEnum):
    """How the push itself is answered, once it has been accepted and the phone rings."""

    NORMAL = "normal"
    SLOW = "slow"
    CUT = "cut"
    HTML_ERROR = "html_error"
    JSON_ERROR = "json_error"
    GARBLED = "garbled"


class QueryManner(StrEnum):
    """How a status query is answered."""

    NORMAL = "normal"
    IN_FLIGHT_500 = "in_flight_500"
    TOO_EARLY = "too_early"
    THROTTLED = "throttled"
    WRONGLY_FAILED = "wrongly_failed"
    FLICKERING = "flickering"
    HTML_ERROR = "html_error"


class Shape(StrEnum):
    """How the metadata of a paid callback is written; each has been seen or warned of."""

    CURRENT = "current"
    OLD_BALANCE = "old_balance"
    BALANCE_MAP = "balance_map"
    INTEGER_AMOUNT = "integer_amount"
    TEXT_DATE = "text_date"
    SHUFFLED = "shuffled"
    MASKED_PHONE = "masked_phone"
    NO_PHONE = "no_phone"
    NO_RECEIPT = "no_receipt"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A push that is refused at once; the phone does not ring. An empty ``code`` is an HTML page.

    ``pushes``: how many pushes to a phone are refused before one is taken; 0 for all of them.
    """

    status: int
    code: str = ""
    message: str = ""
    pushes: int = 0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One callback. ``delay_s`` runs from the end of the ringing.

    ``result`` replaces the true result code; ``extra_shillings`` are added to the amount that is reported.
    """

    delay_s: float = 1.0
    result: str | None = None
    is_before_answer: bool = False
    has_unknown_id: bool = False
    is_garbled: bool = False
    extra_shillings: int = 0


@dataclass(frozen=True, slots=True)
class Scenario:
    """The course of a push. ``ring_s`` is None for a person's three to eight seconds."""

    name: str
    ending: str
    summary: str
    result: str = "0"
    ring_s: float | None = None
    refusal: Refusal | None = None
    answer: PushAnswer = PushAnswer.NORMAL
    deliveries: tuple[Delivery, ...] = (Delivery(),)
    shape: Shape = Shape.CURRENT
    query: QueryManner = QueryManner.NORMAL


RING_TIMEOUT_S: Final = 26.0
"""Seconds from a push to the callback of a phone that does not answer (measured three times)."""

DEFAULT: Final = Scenario("paid", "", "Pays after 3 to 8 seconds. Every number that is not in this table.")

_INTERNAL: Final = "500.001.1001"
_BUSY: Final = "Unable to lock subscriber, a transaction is already in process for the current subscriber"

_RESULTS: Final = (
    Scenario("insufficient_balance", "0001", "Fails with 1: the balance is too low.", "1"),
    Scenario("over_maximum", "0003", "Fails with 3: above the maximum of one transaction.", "3"),
    Scenario("over_daily_limit", "0004", "Fails with 4: above the payer's limit of the day.", "4"),
    Scenario("paybill_full", "0008", "Fails with 8: above the balance limit of the paybill.", "8"),
    Scenario("rule_limited", "0017", "Fails with 17: same amount again within two minutes.", "17", 1.0),
    Scenario("system_busy", "0026", "Ends with 26, which does not settle it.", "26", 2.0),
    Scenario("expired", "1019", "Fails with 1019: expired.", "1019", 40.0),
    Scenario("push_error", "1025", "Fails with 1025: the prompt could not be sent.", "1025", 1.0),
    Scenario("cancelled_old_code", "1031", "Cancelled with 1031, the undocumented sibling of 1032.", "1031"),
    Scenario("cancelled", "1032", "The payer cancels: 1032.", "1032"),
    Scenario("no_answer", "1037", "Nobody answers: 1037 after 26 seconds.", "1037", RING_TIMEOUT_S),
    Scenario("wrong_pin", "2001", "Wrong PIN: 2001.", "2001"),
    Scenario("wrong_party", "2028", "Fails with 2028: TransactionType or PartyB is wrong.", "2028", 1.0),
    Scenario("operator_unknown", "3003", "Fails with the text code SFC_IC0003.", "SFC_IC0003", 1.0),
    Scenario("bad_debt", "3008", "Fails with the text code E3008.", "E3008", 1.0),
    Scenario("unknown_code", "7777", "Ends with 7777, a code that is in no table.", "7777"),
    Scenario("credential_locked", "8006", "Fails with 8006: the PIN is locked.", "8006"),
    Scenario("sending_error", "9999", "Ends with 9999, which does not settle it.", "9999", 2.0),
)

_REFUSALS: Final = (
    Scenario(
        "busy",
        "1001",
        "Refused: 500.001.1001, the subscriber is locked.",
        refusal=Refusal(500, _INTERNAL, _BUSY),
    ),
    Scenario(
        "invalid_phone",
        "4000",
        "Refused: 400.002.02, invalid PhoneNumber.",
        refusal=Refusal(400, "400.002.02", "Bad Request - Invalid PhoneNumber"),
    ),
    Scenario(
        "token_refused_once",
        "4011",
        "The first push: 401.002.01 with the token echoed, and the token dies. The next is taken.",
        refusal=Refusal(401, "401.002.01", "Error Occurred - Invalid Access Token - {token}", pushes=1),
    ),
    Scenario(
        "token_refused",
        "4012",
        "Always 404.001.03, invalid access token.",
        refusal=Refusal(404, "404.001.03", "Invalid Access Token"),
    ),
    Scenario(
        "throttled",
        "4029",
        "Refused: 429 with the gateway's fault envelope and Retry-After.",
        refusal=Refusal(
            429, "policies.ratelimit.SpikeArrestViolation", "Spike arrest violation. Allowed rate : 5pm"
        ),
    ),
    Scenario(
        "gateway_down", "5003", "Refused: HTTP 503 with an HTML page; does not ring.", refusal=Refusal(503)
    ),
    Scenario(
        "no_merchant",
        "5005",
        "Refused: 500.001.1001, the merchant does not exist.",
        refusal=Refusal(500, _INTERNAL, "[MerchantValidate] - Merchant does not exist"),
    ),
    Scenario(
        "wrong_credentials",
        "5006",
        "Refused: 500.001.1001, wrong credentials.",
        refusal=Refusal(500, _INTERNAL, "[MerchantValidate] - Wrong credentials"),
    ),
    Scenario(
        "provider_busy",
        "5007",
        "Refused: 500.003.02, the system is busy.",
        refusal=Refusal(500, "500.003.02", "System is busy. Please try again in few minutes."),
    ),
)

_ANSWERS: Final = (
    Scenario(
        "slow_answer", "5015", "Rings and pays; the push is answered after 15 s.", answer=PushAnswer.SLOW
    ),
    Scenario(
        "cut_answer",
        "5016",
        "Rings and pays; the connection is cut instead of an answer.",
        answer=PushAnswer.CUT,
    ),
    Scenario(
        "html_error",
        "5017",
        "Rings and pays; the answer is HTTP 500 with HTML.",
        answer=PushAnswer.HTML_ERROR,
    ),
    Scenario(
        "internal_error", "5018", "Rings and pays; the answer is 500.003.1001.", answer=PushAnswer.JSON_ERROR
    ),
    Scenario(
        "garbled_answer", "5019", "Rings and pays; the answer is half a JSON text.", answer=PushAnswer.GARBLED
    ),
)

_CALLBACKS: Final = (
    Scenario("callback_never", "8801", "Pays; no callback. Only a query tells.", deliveries=()),
    Scenario(
        "callback_twice", "8802", "Pays; the callback comes twice.", deliveries=(Delivery(), Delivery(1.5))
    ),
    Scenario(
        "callback_before_answer",
        "8803",
        "Pays at once; the callback comes before the answer to the push.",
        ring_s=0.0,
        deliveries=(Delivery(0.0, is_before_answer=True),),
    ),
    Scenario(
        "callback_late", "8804", "Pays; the callback comes two minutes later.", deliveries=(Delivery(120.0),)
    ),
    Scenario(
        "callback_unknown_id",
        "8805",
        "Pays; the callback names a CheckoutRequestID nobody knows.",
        deliveries=(Delivery(has_unknown_id=True),),
    ),
    Scenario(
        "callback_wrong_amount",
        "8806",
        "Pays; the callback reports ten shillings more.",
        deliveries=(Delivery(extra_shillings=10),),
    ),
    Scenario("masked_phone", "8807", "Pays; PhoneNumber is masked.", shape=Shape.MASKED_PHONE),
    Scenario("no_phone", "8808", "Pays; there is no PhoneNumber.", shape=Shape.NO_PHONE),
    Scenario(
        "old_balance", "8809", "Pays; Balance is there without a value (to 2023).", shape=Shape.OLD_BALANCE
    ),
    Scenario("balance_map", "8810", "Pays; Balance is a Java map as text.", shape=Shape.BALANCE_MAP),
    Scenario("text_date", "8811", "Pays; TransactionDate and Amount are texts.", shape=Shape.TEXT_DATE),
    Scenario("integer_amount", "8812", "Pays; Amount is an integer.", shape=Shape.INTEGER_AMOUNT),
    Scenario("shuffled", "8813", "Pays; the metadata is in another order.", shape=Shape.SHUFFLED),
    Scenario("no_receipt", "8814", "Pays; MpesaReceiptNumber is missing.", shape=Shape.NO_RECEIPT),
    Scenario(
        "paid_then_failed",
        "8815",
        "Pays; a 1037 callback comes three seconds after the good one.",
        deliveries=(Delivery(), Delivery(4.0, "1037")),
    ),
    Scenario(
        "failed_then_paid",
        "8816",
        "A 1037 callback, then five seconds later the good one.",
        deliveries=(Delivery(1.0, "1037"), Delivery(6.0)),
    ),
    Scenario(
        "garbled_then_paid",
        "8817",
        "A callback that is no JSON, then the good one.",
        deliveries=(Delivery(is_garbled=True), Delivery(2.0)),
    ),
)

_QUERIES: Final = (
    Scenario(
        "query_in_flight_500",
        "6601",
        "Pays; a query in flight answers HTTP 500.",
        query=QueryManner.IN_FLIGHT_500,
    ),
    Scenario(
        "query_too_early", "6602", "Pays; a query in flight: 400, invalid id.", query=QueryManner.TOO_EARLY
    ),
    Scenario(
        "query_throttled", "6603", "Pays; one query is answered, the others 429.", query=QueryManner.THROTTLED
    ),
    Scenario(
        "query_wrongly_failed",
        "6604",
        "Pays, with a callback; a query says 1032 all the same (seen in the sandbox).",
        query=QueryManner.WRONGLY_FAILED,
    ),
    Scenario(
        "query_flickering",
        "6605",
        "Pays; every other query after the end says that there is no such transaction.",
        query=QueryManner.FLICKERING,
    ),
    Scenario("query_html", "6606", "Pays; queries answer HTTP 503 with HTML.", query=QueryManner.HTML_ERROR),
)

SCENARIOS: Final = MappingProxyType(
    {row.name: row for row in (DEFAULT, *_RESULTS, *_REFUSALS, *_ANSWERS, *_CALLBACKS, *_QUERIES)}
)
"""Every scenario by its name."""

_BY_ENDING: Final = MappingProxyType({row.ending: row for row in SCENARIOS.values() if row.ending})


def scenario_of(phone: str) -> Scenario:
    """The scenario a number is born with."""
    return _BY_ENDING.get(phone[-4:], DEFAULT)
