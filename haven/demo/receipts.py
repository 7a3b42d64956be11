"""References of payments as Kenyans know them: M-Pesa receipt codes and banks' transfer numbers."""

from __future__ import annotations

import string
from typing import Final

from haven.demo.calendar import date_of, local_day

_DIGITS: Final = string.digits + string.ascii_uppercase
_PAIRS: Final = [a + b for a in _DIGITS for b in _DIGITS]
_PAIR: Final = 36**2
_SPACE: Final = 36**7
_STRIDE: Final = 33_478_920_431
"""Odd, and no multiple of 3: prime to 36⁷, so that different numbers give different endings."""
_DAYS: Final = "123456789" + string.ascii_uppercase
_FIRST_YEAR: Final = 2017
_FIRST_LETTER: Final = "L"

_prefixes: dict[int, str] = {}


def day_prefix(day: int) -> str:
    """The first three characters of a receipt of that day: year (L is 2017), month (A to L), day (1 to V)."""
    if day not in _prefixes:
        date = date_of(day)
        letter = (ord(_FIRST_LETTER) - ord("A") + date.year - _FIRST_YEAR) % 26
        _prefixes[day] = (
            string.ascii_uppercase[letter] + string.ascii_uppercase[date.month - 1] + _DAYS[date.day - 1]
        )
    return _prefixes[day]


def mpesa_receipt(paid_at_ms: int, number: int) -> str:
    """A receipt code of ten characters; different ``number`` (from 1), different code."""
    rest, last = divmod(number * _STRIDE % _SPACE, 36)
    rest, third = divmod(rest, _PAIR)
    first, second = divmod(rest, _PAIR)
    return day_prefix(local_day(paid_at_ms)) + _PAIRS[first] + _PAIRS[second] + _PAIRS[third] + _DIGITS[last]


def bank_reference(paid_at_ms: int, number: int) -> str:
    """A bank's funds-transfer number: FT, year, day of the year, and five characters."""
    date = date_of(local_day(paid_at_ms))
    rest, last = divmod(number * _STRIDE % 36**5, 36)
    first, second = divmod(rest, _PAIR)
    return f"FT{date:%y}{date:%j}{_PAIRS[first]}{_PAIRS[second]}{_DIGITS[last]}"
