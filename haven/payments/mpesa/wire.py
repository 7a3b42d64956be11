"""Reading JSON from the provider: hostile or odd bodies become one error or an empty value, nothing else."""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Final, TypeAlias

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | Decimal | bool | None"

_CENT: Final = Decimal("0.01")
_LARGEST: Final = Decimal("999999999999.99")
"""Shillings; more than Kenya's money in circulation, so a larger number is not an amount."""
_UNSTORABLE: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_NUMBER: Final = re.compile(r"([0-9]{1,13}|[0-9]{1,3}(,[0-9]{3}){1,4})(\.[0-9]{1,6})?", re.ASCII)
"""A comma is only ever one of thousands: "1,5" may be meant as one and a half."""


class NotJson(ValueError):
    """The bytes are not a JSON object."""


def read_object(body: bytes) -> dict[str, Json]:
    """The JSON object in ``body``; numbers with a point are Decimal, never float.

    A name said twice with different values is null: to JSON the last one wins, but nothing is to be credited on
    either of them.

    Raises:
        NotJson: anything else: HTML, an empty body, broken text, NaN, nesting without end.
    """
    try:
        # InvalidOperation: 1e99999999999999999999 is a number to JSON and none to Decimal.
        value = json.loads(body, object_pairs_hook=_agreed, parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, RecursionError, InvalidOperation) as error:
        raise NotJson("not JSON") from error
    if not isinstance(value, dict):
        raise NotJson("not a JSON object")
    return value


def as_object(value: Json) -> dict[str, Json]:
    """``value`` where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_text(value: Json, longest: int = 500) -> str:
    """A text or whole number as text, without control characters, cut at ``longest``; anything else is empty.

    ``0``, ``"0"`` and ``0.0`` are all ``"0"``: result codes come as each of them.
    """
    if isinstance(value, bool):
        return ""
    if isinstance(value, Decimal):
        value = int(value) if value.adjusted() < 15 and value == value.to_integral_value() else ""
    if isinstance(value, int):
        return str(value) if abs(value) < 10**40 else ""
    return _UNSTORABLE.sub("", value).strip()[:longest] if isinstance(value, str) else ""


def as_amount(value: Json) -> Decimal | None:
    """Shillings, to the cent: ``1``, ``1.0``, ``"1.00"``; None when it is no amount or has parts of a cent."""
    number = _number(value)
    if number is None or not 0 <= number <= _LARGEST:
        return None
    cents = number.quantize(_CENT)
    return cents if cents == number else None


def _number(value: Json) -> Decimal | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, Decimal):
        return value if value.is_finite() else None
    if isinstance(value, int):
        return Decimal(value) if abs(value) < 10**13 else None
    text = value.strip() if isinstance(value, str) else ""
    return Decimal(text.replace(",", "")) if _NUMBER.fullmatch(text) else None


def _agreed(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """The members of an object; null for those that contradict themselves."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    contradicted = {name for name, value in pairs if found[name] != value}
    return found | dict.fromkeys(contradicted)


def _refuse(constant: str) -> Json:
    raise ValueError(f"{constant} is not JSON")
