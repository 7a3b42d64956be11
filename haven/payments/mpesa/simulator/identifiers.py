"""Ids, receipts and tokens that look like M-Pesa's own, from a seed."""

from __future__ import annotations

import random
import string
from datetime import datetime
from typing import Final

from haven.payments.mpesa.eat import EAT
from haven.payments.mpesa.receipts import receipt_prefix

_RECEIPT_CHARACTERS: Final = string.digits + string.ascii_uppercase
_LETTERS_AND_DIGITS: Final = string.ascii_letters + string.digits


class Chance:
    """Chance that repeats itself: one stream for each subject, so the order of requests changes nothing."""

    def __init__(self, seed: str) -> None:
        self._seed = seed

    def of(self, *subject: object) -> random.Random:
        """The stream of a subject, always from its beginning."""
        return random.Random("\x1f".join((self._seed, *map(str, subject))))


def checkout_request_id(now: datetime, phone: str) -> str:
    """``ws_CO_``, the Nairobi time to the millisecond, and the last nine digits of the payer, as published."""
    local = now.astimezone(EAT)
    return f"ws_CO_{local:%d%m%Y%H%M%S}{local.microsecond // 1000}{phone[-9:]}"


def merchant_request_id(chance: random.Random) -> str:
    """In the form used since about 2024: ``2654-4b64-97ff-b827b542881d3130``."""
    groups = "-".join(f"{chance.randrange(0x1000, 0x10000):04x}" for _ in range(3))
    return f"{groups}-{chance.randrange(16**11, 16**12):012x}{chance.randrange(1, 10_000)}"


def request_id(chance: random.Random) -> str:
    """The requestId of an error: ``1c5b-4ba8-815c-ac45c57a3db01495926``."""
    return merchant_request_id(chance)


def receipt(now: datetime, chance: random.Random) -> str:
    """A receipt of that day; it never ends in seven zeros, which would mean that no transaction was made."""
    tail = "".join(chance.choice(_RECEIPT_CHARACTERS) for _ in range(6))
    return f"{receipt_prefix(now)}{tail}{chance.choice(_RECEIPT_CHARACTERS[1:])}"


def access_token(chance: random.Random) -> str:
    """Twenty-eight letters and digits."""
    return "".join(chance.choice(_LETTERS_AND_DIGITS) for _ in range(28))
