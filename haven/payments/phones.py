"""Kenyan mobile numbers: one spelling inside Haven, a masked one for people and logs.

Inside Haven a number is always E.164 (``+2547XXXXXXXX`` or ``+2541XXXXXXXX``). M-Pesa wants the same
digits without the plus sign; see :func:`msisdn`.
"""

from __future__ import annotations

import re
from typing import Final

import phonenumbers
from phonenumbers import PhoneNumberType

REGION: Final = "KE"
_MAX_TEXT: Final = 32
"""A longer text is no phone number; it is refused before it is looked at (source: E.164 has 15 digits)."""
_SEPARATORS: Final = re.compile(r"[\s\-.()\u2010-\u2015\u00a0]+")
_SHAPE: Final = re.compile(r"(?:\+|00)?[0-9]{9,12}", re.ASCII)
_MOBILE: Final = frozenset({PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE})


class InvalidPhone(ValueError):
    """The text is not a Kenyan mobile number; the message says what to write instead."""


def normalise_phone(text: str) -> str:
    """The number as E.164: ``normalise_phone("0712 345 678")`` is ``"+254712345678"``.

    Takes 07…, 01…, 7…, 1…, 254…, +254… and 00254…, with spaces, dashes, dots and brackets.

    Args:
        text: what a person typed or a provider sent.

    Raises:
        InvalidPhone: not a number, not Kenyan, or not a mobile line.
    """
    digits = _digits_of(text)
    try:
        number = phonenumbers.parse(digits, REGION)
    except phonenumbers.NumberParseException as error:
        raise InvalidPhone(_not_a_number()) from error
    if number.country_code != 254:
        raise InvalidPhone("Only Kenyan mobile numbers (+254…) can be used.")
    if not phonenumbers.is_valid_number(number) or phonenumbers.number_type(number) not in _MOBILE:
        raise InvalidPhone("This is not a Kenyan mobile number; write one like 0712 345 678 or 0110 345 678.")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def msisdn(phone: str) -> str:
    """The twelve digits M-Pesa takes: ``msisdn("0712345678")`` is ``"254712345678"``.

    Raises:
        InvalidPhone: as :func:`normalise_phone`.
    """
    return normalise_phone(phone).removeprefix("+")


def mask_phone(phone: str) -> str:
    """The number with its middle hidden: ``+254712345678`` is shown as ``+2547*****678``.

    Any text is taken and never shown whole, so a log line may mask what it has not checked. A Kenyan
    number shows its first five and last three characters; anything else only its last two.
    """
    if len(phone) == 13 and phone.startswith("+254"):
        return f"{phone[:5]}{'*' * 5}{phone[-3:]}"
    shown = phone[-2:] if len(phone) > 4 else ""
    return "*" * (len(phone) - len(shown)) + shown


def _digits_of(text: str) -> str:
    """The digits, with a plus sign when a country code is given; InvalidPhone when there is anything else."""
    if len(text) > _MAX_TEXT:
        raise InvalidPhone(_not_a_number())
    compact = _SEPARATORS.sub("", text)
    if not _SHAPE.fullmatch(compact):
        raise InvalidPhone(_not_a_number())
    if compact.startswith("00"):
        return "+" + compact[2:]
    if compact.startswith("254") and len(compact) == 12:
        return "+" + compact
    return compact


def _not_a_number() -> str:
    return "This is not a phone number; write one like 0712 345 678 or +254 712 345 678."
