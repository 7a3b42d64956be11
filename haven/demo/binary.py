"""Fields of PostgreSQL's binary COPY format: four bytes of length, then the value as the type's ``recv`` reads it.

A field is made once and joined many times. Against text this spares the server the parsing of some 80 million UUIDs,
instants and amounts in a large load: about a third of its time in COPY.
"""

from __future__ import annotations

import struct
from random import Random
from typing import Final

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
TRAILER: Final = b"\xff\xff"
NULL: Final = b"\xff\xff\xff\xff"

_MS_OF_2000: Final = 946_684_800_000
_ID_LENGTH: Final = 16
_VERSION_7: Final = 0x7000
_BLOCK: Final = 4096
_VARIANT: Final = bytes(byte & 0x3F | 0x80 for byte in range(256))

integer: Final = struct.Struct(">ii").pack
"""``integer(4, value)``: an ``integer`` or a ``date`` field."""
_instant: Final = struct.Struct(">iq").pack
_row: Final = struct.Struct(">h").pack


def row(columns: int) -> bytes:
    """What a row of so many columns begins with."""
    return _row(columns)


def instant(ms: int) -> bytes:
    """A ``timestamptz`` field."""
    return _instant(8, (ms - _MS_OF_2000) * 1000)


def text(value: str) -> bytes:
    """A ``text`` field."""
    content = value.encode()
    return len(content).to_bytes(4, "big") + content


def numeric(cents: int) -> bytes:
    """A ``numeric`` field of two decimals: digits to the base 10,000, without zeros at either end."""
    whole, fraction = divmod(abs(cents), 100)
    digits = [fraction * 100]
    while whole:
        whole, digit = divmod(whole, 10_000)
        digits.insert(0, digit)
    weight = len(digits) - 2
    while digits and digits[-1] == 0:
        digits.pop()
    while digits and digits[0] == 0:
        digits.pop(0)
        weight -= 1
    sign = 0x4000 if cents < 0 else 0
    content = struct.pack(f">hhHh{len(digits)}H", len(digits), weight if digits else 0, sign, 2, *digits)
    return len(content).to_bytes(4, "big") + content


class Amounts(dict[int, bytes]):
    """``numeric`` fields by cents; rents repeat, so most are made once."""

    def __missing__(self, cents: int) -> bytes:
        field = self[cents] = numeric(cents)
        return field


class Texts(dict[str, bytes]):
    """``text`` fields by value, for words that repeat."""

    def __missing__(self, value: str) -> bytes:
        field = self[value] = text(value)
        return field


class Ids:
    """UUIDv7 (RFC 9562) fields for rows of any past time: called in order of time, it gives ids in order.

    The 12 bits after the milliseconds count up, so that (up to 4,096) rows of one millisecond keep their order too.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._ms = -1
        self._time = 0
        self._tails: list[bytes] = []

    def at(self, ms: int) -> bytes:
        """The field of a new id; ``field[4:]`` are its 16 bytes."""
        if ms == self._ms:
            self._time += 1
        else:
            self._ms = ms
            self._time = _ID_LENGTH << 64 | ms << 16 | _VERSION_7
        if not self._tails:
            self._refill()
        return self._time.to_bytes(12, "big") + self._tails.pop()

    def _refill(self) -> None:
        block = bytearray(self._rng.randbytes(8 * _BLOCK))
        block[::8] = block[::8].translate(_VARIANT)
        self._tails = [bytes(block[at : at + 8]) for at in range(0, len(block), 8)]
