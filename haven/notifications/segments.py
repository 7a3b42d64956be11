"""How many SMS a text is paid as: 3GPP TS 23.038 (alphabets) and TS 23.040 (parts of a long message)."""

from __future__ import annotations

from typing import Final

_BASIC: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED: Final = frozenset("^{}\\[~]|€\f")
"""Of two septets each: an escape goes before."""
_GSM7: Final = (160, 153)
_UCS2: Final = (70, 67)
"""Units of one message alone, and of each part of a longer one, which loses six octets to its header."""


def is_gsm7(text: str) -> bool:
    """Whether every character is in the GSM 7-bit alphabet; else all are sent as UCS-2, and fewer go into an SMS."""
    return all(character in _BASIC or character in _EXTENDED for character in text)


def segments(text: str) -> int:
    """The number of SMS that ``text`` is sent in, at least one."""
    widths, (alone, part) = _widths(text)
    if sum(widths) <= alone:
        return 1
    count, room = 1, part
    for width in widths:
        # No character is cut in two: what does not fit goes into the next part whole.
        if width > room:
            count, room = count + 1, part
        room -= width
    return count


def _widths(text: str) -> tuple[list[int], tuple[int, int]]:
    if is_gsm7(text):
        return [2 if character in _EXTENDED else 1 for character in text], _GSM7
    return [2 if ord(character) > 0xFFFF else 1 for character in text], _UCS2
