"""What M-Pesa's result codes mean, as data.

Sources: Safaricom's Daraja pages for the documented codes; published sandbox measurements for 4999 and
E3008; single writers for 26, 1001, 1031, 2029 and 9999. ``ResultDesc`` is never read for meaning: one
payment has different words in its callback and in its query. A code that is not in the table is **not
final**: the payment stays pending, is asked about again and is shown to a person; it never fails on a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Outcome(StrEnum):
    """What became of a push."""

    PAID = "PAID"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"
    PENDING = "PENDING"


@dataclass(frozen=True, slots=True)
class ResultCode:
    """One row of the table.

    Attributes:
        code: the provider's code, as text (``SFC_IC0003`` is real).
        outcome: what became of the push.
        meaning: the provider's sense of it, for staff.
        words: a sentence for the person paying.
        may_retry: whether the same payer may be asked again at all.
        retry_after_s: seconds to wait before asking again; 0: at once.
        is_alarm: the set-up is at fault (shortcode, limits), so staff must act.
    """

    code: str
    outcome: Outcome
    meaning: str
    words: str
    may_retry: bool = True
    retry_after_s: int = 0
    is_alarm: bool = False

    @property
    def is_final(self) -> bool:
        """Whether the code settles the attempt; a code that does not is asked about again."""
        return self.outcome is not Outcome.PENDING


_LANDLORD = "The payment could not be taken. Please tell your landlord's office; nothing was charged."
_WAITING = "The payment is still being processed. Please wait before paying again."

_TABLE: Final = (
    ResultCode("0", Outcome.PAID, "Processed.", "Payment received. Thank you.", may_retry=False),
    ResultCode(
        "1",
        Outcome.FAILED,
        "Balance insufficient.",
        "Your M-PESA balance is too low. Top up and try again.",
    ),
    ResultCode(
        "2",
        Outcome.FAILED,
        "Below the minimum amount of the paybill (KES 1).",
        "The amount is below the minimum M-PESA accepts.",
    ),
    ResultCode(
        "3",
        Outcome.FAILED,
        "Above the maximum of one transaction (KES 250,000).",
        "The amount is above M-PESA's limit for one payment. Pay it in parts.",
    ),
    ResultCode(
        "4",
        Outcome.FAILED,
        "Would exceed the payer's daily limit (KES 500,000).",
        "This would pass your M-PESA limit for the day. Pay a part today or try tomorrow.",
        retry_after_s=86_400,
    ),
    ResultCode(
        "8",
        Outcome.FAILED,
        "Would exceed the balance limit of the paybill or till.",
        _LANDLORD,
        is_alarm=True,
    ),
    ResultCode(
        "17",
        Outcome.FAILED,
        "Rule limited: the same amount to the same payer within two minutes.",
        "M-PESA refuses the same amount twice within two minutes. Wait two minutes and try again.",
        retry_after_s=120,
    ),
    ResultCode("26", Outcome.PENDING, "System busy; unclear whether it went on.", _WAITING, may_retry=False),
    ResultCode(
        "1001",
        Outcome.FAILED,
        "Subscriber locked: another transaction of the payer is open.",
        "Your phone has another M-PESA request open. Finish it, wait a minute and try again.",
        retry_after_s=60,
    ),
    ResultCode("1019", Outcome.TIMEOUT, "Transaction expired.", "The request expired. Please try again."),
    ResultCode(
        "1025",
        Outcome.FAILED,
        "Prompt too long (over 182 characters) or not sent.",
        "The request could not be sent to your phone. Please try again.",
        is_alarm=True,
    ),
    ResultCode(
        "1031", Outcome.CANCELLED, "Cancelled by the payer.", "You cancelled the request on your phone."
    ),
    ResultCode(
        "1032", Outcome.CANCELLED, "Cancelled by the payer.", "You cancelled the request on your phone."
    ),
    ResultCode(
        "1037",
        Outcome.TIMEOUT,
        "The phone did not answer, or could not be reached.",
        "No answer came from your phone. Make sure that it is on and has signal, then try again.",
    ),
    ResultCode(
        "2001",
        Outcome.FAILED,
        "Wrong PIN, or the number is not on M-PESA.",
        "The PIN was wrong. Try again; three wrong PINs lock the line.",
    ),
    ResultCode(
        "2028",
        Outcome.FAILED,
        "TransactionType or PartyB wrong for the shortcode.",
        _LANDLORD,
        is_alarm=True,
    ),
    ResultCode("2029", Outcome.FAILED, "Till and paybill do not match.", _LANDLORD, is_alarm=True),
    ResultCode("4999", Outcome.PENDING, "Still being processed.", _WAITING, may_retry=False),
    ResultCode(
        "8006",
        Outcome.FAILED,
        "The payer's security credential is locked.",
        "Your M-PESA PIN is locked. Call Safaricom on 100 or 200.",
        may_retry=False,
    ),
    ResultCode("9999", Outcome.PENDING, "Error while sending the push.", _WAITING, may_retry=False),
    ResultCode(
        "SFC_IC0003",
        Outcome.FAILED,
        "Operator does not exist: TransactionType or PartyB wrong.",
        _LANDLORD,
        is_alarm=True,
    ),
    ResultCode(
        "E3008",
        Outcome.FAILED,
        "The payer has a bad debt contract (sandbox, real numbers).",
        "M-PESA refused this line. Please use another number.",
    ),
)

RESULT_CODES: Final = MappingProxyType({row.code: row for row in _TABLE})
"""Every known code, as text, and its row."""


def result_code(code: str) -> ResultCode:
    """The row of a code; an unknown one gets a row that is pending, not to be charged again, and an alarm."""
    known = RESULT_CODES.get(code.strip())
    if known is not None:
        return known
    meaning = "A code Haven does not know: not final, ask again and let a person look."
    return ResultCode(code, Outcome.PENDING, meaning, _WAITING, may_retry=False, is_alarm=True)


def outcome_of(code: str) -> Outcome:
    """What became of a push with that result code; ``PENDING`` for a code that is unknown or not final."""
    return result_code(code).outcome
