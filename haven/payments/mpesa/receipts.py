"""M-Pesa receipt numbers: ten characters whose first three write the Nairobi date.

The year is a letter (L = 2017 … U = 2026), the month A to L, the day 1 to 9 then A to V. This holds for
20 of 22 published receipt and date pairs, the other two being doctored samples: so an odd receipt is a
reason to look, never a reason to refuse money.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

from haven.payments.mpesa.eat import EAT

_YEAR_OF_A: Final = 2006
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DAYS: Final = "123456789ABCDEFGHIJKLMNOPQRSTUV"
_RECEIPT: Final = re.compile(r"[A-Z0-9]{10}", re.ASCII)


def receipt_prefix(moment: datetime) -> str:
    """The three characters that begin a receipt of that day in Nairobi: ``NLJ`` on 19 December 2019."""
    day = moment.astimezone(EAT)
    year = _LETTERS[(day.year - _YEAR_OF_A) % len(_LETTERS)]
    return f"{year}{_LETTERS[day.month - 1]}{_DAYS[day.day - 1]}"


def is_odd_receipt(receipt: str, paid_at: datetime | None) -> bool:
    """Whether a receipt looks unlike M-Pesa's: a flag for a person, never a reason to refuse the payment.

    A receipt written within two hours of midnight may bear either day.
    """
    if not _RECEIPT.fullmatch(receipt):
        return True
    if paid_at is None:
        return False
    hours = (timedelta(hours=-2), timedelta(0), timedelta(hours=2))
    return receipt[:3] not in {receipt_prefix(paid_at + shift) for shift in hours}
