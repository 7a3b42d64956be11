"""How values are stored: a short head, then bytes, compressed when they are many. JSON, never pickle.

Values come back as JSON has them: a ``Decimal``, a ``UUID`` or a date is text afterwards, with all its digits.
"""

from __future__ import annotations

import math
import random
import struct
import time
import zlib
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import orjson

_HEAD: Final = struct.Struct(">BBQIIH")
HEAD_BYTES: Final = _HEAD.size
"""How long the head of a value is that has no parts of its own before its body."""
_FORMAT: Final = 1
_COMPRESSED: Final = 1
_LEVEL: Final = 1
"""zlib's quickest: JSON shrinks to a fifth with it, and to a sixth at ten times the cost."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored value: when it was computed (Unix seconds), how long it is good (s), what it cost to compute (s)."""

    at: float
    ttl_s: float
    cost_s: float
    head: bytes
    body: bytes

    @property
    def size(self) -> int:
        return len(self.head) + len(self.body)

    def age_s(self, now: float | None = None) -> float:
        return max(0.0, (time.time() if now is None else now) - self.at)

    def life_ms(self, stale_s: float) -> int:
        """How long Redis is to keep it, when it may be served for ``stale_s`` after its end."""
        return max(1, int((self.ttl_s + stale_s) * 1000))

    def is_expired(self, now: float | None = None) -> bool:
        return self.age_s(now) >= self.ttl_s

    def is_to_refresh(self, beta: float, now: float | None = None, chance: float | None = None) -> bool:
        """Whether to compute it anew, a little early, at random: more likely the nearer its end and the dearer it was.

        A ``chance`` of 0 tells whether it could be so at all.

        XFetch of Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015;
        ``beta`` over 1 makes it earlier.
        """
        drawn = random.random() if chance is None else chance
        early_s = -self.cost_s * beta * math.log(max(drawn, 1e-12))
        return self.age_s(now) + early_s >= self.ttl_s


def pack(entry: Entry, compress_from: int) -> bytes:
    """The entry as it is stored; its body compressed where that has ``compress_from`` bytes or more and gets smaller."""
    body, flags = entry.body, 0
    if len(body) >= compress_from:
        smaller = zlib.compress(body, _LEVEL)
        if len(smaller) < len(body):
            body, flags = smaller, _COMPRESSED
    head = _HEAD.pack(
        _FORMAT,
        flags,
        round(entry.at * 1000),
        round(entry.ttl_s * 1000),
        min(round(entry.cost_s * 1000), 0xFFFFFFFF),
        len(entry.head),
    )
    return head + entry.head + body


def unpack(stored: bytes | None) -> Entry | None:
    """The entry that ``pack`` made; None for anything else, which is as good as nothing."""
    if stored is None or len(stored) < _HEAD.size:
        return None
    form, flags, at_ms, ttl_ms, cost_ms, length = _HEAD.unpack_from(stored)
    if form != _FORMAT:
        return None
    begin = _HEAD.size + length
    body = stored[begin:]
    if flags & _COMPRESSED:
        try:
            body = zlib.decompress(body)
        except zlib.error:
            return None
    return Entry(at_ms / 1000, ttl_ms / 1000, cost_ms / 1000, stored[_HEAD.size : begin], body)


def to_json(value: Any) -> bytes:
    """``value`` as JSON; what JSON does not know (``Decimal``, ``UUID``, dates) as text.

    Raises:
        TypeError: it is nothing that JSON can hold.
    """
    try:
        return orjson.dumps(value, default=_other, option=orjson.OPT_NON_STR_KEYS)
    except TypeError as error:
        raise (error.__cause__ or error) from None


def from_json(body: bytes) -> Any:
    return orjson.loads(body)


def _other(value: Any) -> str:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"a cached value must be JSON; {type(value).__name__} is not")
