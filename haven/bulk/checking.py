"""The rules of one row: the marshmallow schema of the single endpoint, with a short way for what is plainly good.

The short way says yes or nothing: a row of which it is not sure goes to the schema, which alone refuses and words errors.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from marshmallow import Schema, ValidationError, fields, validate

from haven.api.fields import Email, Line, Money, Phone, Prose
from haven.api.problems import faults_of
from haven.payments.phones import InvalidPhone, normalise_phone

Check = Callable[[Any], Any]
_UNSURE: Final = object()
_EMAIL: Final = re.compile(
    r"[a-z0-9_+-]{1,64}(?:\.[a-z0-9_+-]{1,64}){0,4}@[a-z0-9]{1,60}(?:\.[a-z0-9]{1,60}){0,3}\.[a-z]{2,10}",
    re.ASCII,
)
_PHONE: Final = re.compile(r"(?:\+254|254|0)?([17]\d{8})", re.ASCII)
_MONEY: Final = re.compile(r"\d{1,12}(?:\.\d{1,2})?", re.ASCII)
_CENT: Final = Decimal("0.01")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_INSTANT: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:Z|\+\d{2}:\d{2})", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


class Rules:
    """What loads rows of one schema.

    Args:
        partial: only the fields that are there, as in a merge patch.
    """

    def __init__(self, schema: type[Schema], *, partial: bool = False) -> None:
        self._loader = schema(partial=partial)
        self._required = () if partial else tuple(n for n, f in self._loader.fields.items() if f.required)
        self._checks = {name: _check_of(field) for name, field in self._loader.fields.items()}

    def load(self, values: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """The values as the service takes them, and (pointer, rule) of each that is refused."""
        loaded = self._plainly_good(values)
        if loaded is not None:
            return loaded, []
        try:
            return self._loader.load(values), []
        except ValidationError as error:
            return {}, [(fault.pointer.strip("/"), fault.detail) for fault in faults_of(error.messages)]

    def _plainly_good(self, values: dict[str, Any]) -> dict[str, Any] | None:
        for name in self._required:
            if name not in values:
                return None
        loaded = {}
        for name, value in values.items():
            check = self._checks.get(name)
            result = _UNSURE if check is None else check(value)
            if result is _UNSURE:
                return None
            loaded[name] = result
        return loaded


def _check_of(field: fields.Field[Any]) -> Check | None:
    check: Check | None = None
    if type(field) is Line and len(field.validators) == 2:
        check = _line(field)
    elif type(field) is Prose and len(field.validators) == 2:
        check = _prose(field)
    elif type(field) is Email:
        check = _email
    elif type(field) is Phone:
        check = _phone
    elif type(field) is Money and not field.validators:
        check = _money(field)
    elif type(field) is fields.UUID and not field.validators:
        check = _uuid
    elif type(field) is fields.Date and not field.validators and field.format is None:
        check = _date
    elif type(field) is fields.AwareDateTime and not field.validators and field.format is None:
        check = _instant
    elif type(field) is fields.String and len(field.validators) == 1:
        check = _choice(field)
    return _or_none(check) if check and field.allow_none else check


def _or_none(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _longest(field: fields.Field[Any]) -> int:
    rule = next(rule for rule in field.validators if isinstance(rule, validate.Length))
    return rule.max or 0


def _line(field: Line) -> Check:
    longest = _longest(field)

    def check(value: Any) -> Any:
        if not isinstance(value, str):
            return _UNSURE
        line = value.strip()
        return line if 1 <= len(line) <= longest and not _CONTROL.search(line) else _UNSURE

    return check


def _prose(field: Prose) -> Check:
    longest = _longest(field)
    return lambda value: (
        value if isinstance(value, str) and len(value) <= longest and "\x00" not in value else _UNSURE
    )


def _choice(field: fields.String) -> Check | None:
    rule = field.validators[0]
    if not isinstance(rule, validate.OneOf):
        return None
    choices = frozenset(rule.choices)
    return lambda value: value if isinstance(value, str) and value in choices else _UNSURE


def _email(value: Any) -> Any:
    return value if isinstance(value, str) and len(value) <= 254 and _EMAIL.fullmatch(value) else _UNSURE


def _money(field: Money) -> Check:
    least = Decimal("0.01") if field.sign == "positive" else Decimal(0)

    def check(value: Any) -> Any:
        if not isinstance(value, str) or not _MONEY.fullmatch(value):
            return _UNSURE
        amount = Decimal(value)
        return amount.quantize(_CENT) if amount >= least else _UNSURE

    return check


def _uuid(value: Any) -> Any:
    return uuid.UUID(value) if isinstance(value, str) and _UUID.fullmatch(value) else _UNSURE


def _date(value: Any) -> Any:
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        return _UNSURE
    try:
        return dt.date.fromisoformat(value)
    except ValueError:
        return _UNSURE


def _instant(value: Any) -> Any:
    if not isinstance(value, str) or not _INSTANT.fullmatch(value):
        return _UNSURE
    try:
        return dt.datetime.fromisoformat(value)
    except ValueError:
        return _UNSURE


def _phone(value: Any) -> Any:
    found = _PHONE.fullmatch(value.replace(" ", "")) if isinstance(value, str) and len(value) <= 32 else None
    if found is None or not _is_mobile(found[1][:4]):
        return _UNSURE
    return f"+254{found[1]}"


@lru_cache(maxsize=2048)
def _is_mobile(prefix: str) -> bool:
    """Whether numbers that begin so are mobile lines: operators are given whole ranges, by the first digits."""
    try:
        normalise_phone(f"{prefix}12345")
    except InvalidPhone:
        return False
    return True
