"""Numbers that go with people: phones, identity cards, tax PINs. Shaped as real ones are; no two alike in an agency."""

from __future__ import annotations

import string
from random import Random
from typing import Final

SAFARICOM: Final = (
    *range(700, 730),
    *(740, 741, 742, 743, 745, 746, 748, 757, 758, 759, 768, 769),
    *range(790, 800),
    *range(110, 116),
)
"""Prefixes of Safaricom lines, after +254: those that can pay by M-Pesa."""

_LINES: Final = 1_000_000
_IDENTITY_CARDS: Final = (20_000_000, 41_000_000)
_PINS: Final = 12_000_000
_STRIDE: Final = 7_368_787
"""A prime: stepping by it visits every number of a space once before any comes again."""


class Numbers:
    """Gives the next phone, identity card and PIN, scattered over their spaces."""

    def __init__(self, rng: Random) -> None:
        self._count = rng.randrange(_LINES)

    def _next(self, space: int) -> int:
        self._count += 1
        return self._count * _STRIDE % space

    def phone(self) -> str:
        """A Safaricom mobile in E.164: ``+2547…`` or ``+2541…``."""
        prefix, line = divmod(self._next(len(SAFARICOM) * _LINES), _LINES)
        return f"+254{SAFARICOM[prefix]}{line:06d}"

    def national_id(self) -> str:
        """Eight digits, as on an identity card."""
        low, high = _IDENTITY_CARDS
        return str(low + self._next(high - low))

    def tax_pin(self) -> str:
        """A personal PIN as the revenue authority writes it: a letter, nine digits, a letter."""
        number = self._next(_PINS)
        return f"A{number:09d}{string.ascii_uppercase[number % 26]}"
