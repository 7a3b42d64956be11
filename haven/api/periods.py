"""The query parameters ``from`` and ``to`` of a statement: dates, both inclusive, where the agency is."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from marshmallow import ValidationError, fields
from werkzeug.datastructures import MultiDict

from haven.errors import Fault, Invalid

_FIRST: Final = dt.date(1970, 1, 1)
_LAST: Final = dt.date(2999, 12, 31)

PARAMETERS: Final[list[dict[str, Any]]] = [
    {
        "in": "query",
        "name": name,
        "required": False,
        "schema": {"type": "string", "format": "date"},
        "description": description,
    }
    for name, description in (
        (
            "from",
            "The first day, inclusive, where the agency is. The first of the month where it is left out.",
        ),
        ("to", "The last day, inclusive. Today where it is left out."),
    )
]


def read_period(arguments: MultiDict[str, str], today: dt.date) -> tuple[dt.date, dt.date]:
    """The first and the last day that a query string asks for.

    Args:
        today: the agency's.

    Raises:
        Invalid: naming each parameter that is unknown, repeated or wrong, or a period that ends before it begins.
    """
    faults, found = [], {}
    for name in arguments:
        try:
            found[name] = _read(name, arguments.getlist(name))
        except ValidationError as error:
            faults.append(Fault(name, str(error.messages[0])))
    if not faults:
        last = found.get("to", today)
        first = found.get("from", min(last, today).replace(day=1))
        if first <= last:
            return first, last
        faults.append(Fault("from", f"must not be after to, {last}"))
    raise Invalid(f"{faults[0].pointer}: {faults[0].detail}", faults=tuple(faults))


def _read(name: str, texts: list[str]) -> dt.date:
    if name not in ("from", "to"):
        raise ValidationError("is not a parameter of this; it has from, to")
    if len(texts) > 1:
        raise ValidationError("is given more than once")
    day: dt.date = fields.Date().deserialize(texts[0])
    if not _FIRST <= day <= _LAST:
        raise ValidationError(f"must be from {_FIRST} to {_LAST}")
    return day
