"""The text of a CSV cell as the value that JSON would have: money, dates and choices as people write them."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, Final
from zoneinfo import ZoneInfo

from marshmallow import Schema, fields, validate

from haven.api.fields import Money

CELL_LONGEST: Final = 65_536
_PREFIX: Final = re.compile(r"'(?=[=+\-@\t\r])")
_CURRENCY: Final = re.compile(r"^(?:kes|kshs?|sh)\.?\s*|\s*/[=-]$", re.IGNORECASE)
_GROUPED: Final = re.compile(r"[+-]?\d{1,3}(?:[, \u00a0\u202f'\u2019]\d{3})+(?:\.\d+)?", re.ASCII)
_DAY_FIRST: Final = re.compile(r"(\d{1,2})[/.\-](\d{1,2})[/.\-](\d{4})(?P<rest>[ T].+)?", re.ASCII)


def plain(text: str) -> str:
    """The text without what Haven's own exports put before a formula, and without blanks around it."""
    return _PREFIX.sub("", text.strip(), count=1) if text.startswith("'") else text.strip()


def kinds_of(schema: Schema) -> dict[str, str]:
    """Field → how its cell is read.

    ``money``, ``integer``, ``date``, ``instant``, ``choice``, ``word`` (a choice in small letters), ``list``, ``reference``
    or ``text``.
    """
    kinds = {name: _kind(field) for name, field in schema.fields.items()}
    return kinds | {"version": "integer", "late_fee_amount": "money", "late_fee_kind": "choice"}


def value_of(text: str, kind: str, zone: ZoneInfo) -> Any:
    """What the cell means; text that means nothing of its kind is given back as it is, for the schema to refuse.

    Args:
        zone: whose midnight a date without a time is, where a moment is wanted.
    """
    if kind in ("money", "integer"):
        return _number(text, kind)
    if kind == "date":
        return _date(text)
    if kind == "instant":
        return _instant(text, zone)
    if kind == "choice":
        return re.sub(r"[\s-]+", "_", text).upper().replace("M_PESA", "MPESA")
    if kind == "word":
        return text.lower()
    if kind == "list":
        return [one for one in re.split(r"[\s,;\[\]{}'\"]+", text) if one]
    return text


def _kind(field: fields.Field[Any]) -> str:
    if isinstance(field, Money | fields.Decimal):
        return "money"
    if isinstance(field, fields.Integer):
        return "integer"
    if isinstance(field, fields.Date):
        return "date"
    if isinstance(field, fields.AwareDateTime):
        return "instant"
    if isinstance(field, fields.UUID):
        return "reference"
    if isinstance(field, fields.List):
        return "list"
    choices = [one for rule in field.validators if isinstance(rule, validate.OneOf) for one in rule.choices]
    if not choices:
        return "text"
    return "word" if all(str(one).islower() for one in choices) else "choice"


def _number(text: str, kind: str) -> Any:
    bare = _CURRENCY.sub("", text) if kind == "money" else text
    if _GROUPED.fullmatch(bare):
        bare = re.sub(r"[^\d.+-]", "", bare)
    if kind == "integer":
        whole = re.fullmatch(r"([+-]?\d{1,9})(?:\.0+)?", bare, re.ASCII)
        return int(whole[1]) if whole else text
    return bare


def _date(text: str) -> str:
    found = _DAY_FIRST.fullmatch(text)
    if found is None:
        # A spreadsheet shows a day as midnight of it.
        return text.removesuffix(" 00:00:00").removesuffix("T00:00:00")
    if found["rest"] and found["rest"].strip(" T") not in ("00:00", "00:00:00"):
        return text
    return f"{found[3]}-{int(found[2]):02}-{int(found[1]):02}"


def _instant(text: str, zone: ZoneInfo) -> str:
    found = _DAY_FIRST.fullmatch(text)
    if found is not None:
        text = f"{found[3]}-{int(found[2]):02}-{int(found[1]):02}{found['rest'] or ''}"
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return text
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).isoformat()
