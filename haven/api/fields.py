"""The field types of Haven's bodies: money, phones, choices, names; and the base of all schemas."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from haven.payments.phones import InvalidPhone, normalise_phone

_LARGEST = Decimal("999999999999.99")
# No exponent, no NaN, no infinity: Decimal would take them.
_MONEY = re.compile(r"[+-]?\d{1,18}(?:\.\d{1,2})?", re.ASCII)


class Body(Schema):
    """A body in which unknown fields are refused."""

    class Meta:
        unknown = RAISE


class Money(fields.Field[Decimal]):
    """Shillings and cents: text with at most two decimals, or a whole number. Never a float."""

    default_error_messages = {  # noqa: RUF012
        "invalid": 'Must be money as text with at most two decimals, such as "25000.00".',
        "negative": "Must not be below 0.00.",
        "positive": "Must be above 0.00.",
        "large": "Must be at most 999999999999.99.",
    }

    def __init__(self, *, sign: str = "not_negative", **options: Any) -> None:
        """``sign``: ``not_negative``, ``positive`` or ``any``."""
        described = {"type": "string", "pattern": r"^-?\d{1,12}(\.\d{1,2})?$", "example": "25000.00"}
        options["metadata"] = described | options.get("metadata", {})
        super().__init__(**options)
        self.sign = sign

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Decimal:  # noqa: ARG002
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise self.make_error("invalid")
        if not _MONEY.fullmatch(str(value).strip()):
            raise self.make_error("invalid")
        amount = Decimal(value)
        if abs(amount) > _LARGEST:
            raise self.make_error("large")
        if self.sign == "positive" and amount <= 0:
            raise self.make_error("positive")
        if self.sign == "not_negative" and amount < 0:
            raise self.make_error("negative")
        return amount.quantize(Decimal("0.01"))

    def _serialize(self, value: Decimal | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:  # noqa: ARG002
        return None if value is None else f"{value:.2f}"


class Line(fields.String):
    """One line of text: trimmed, not empty, without control characters, at most ``longest`` characters."""

    def __init__(self, longest: int = 200, shortest: int = 1, **options: Any) -> None:
        checks = options.pop("validate", [])
        checks = checks if isinstance(checks, list) else [checks]
        super().__init__(validate=[validate.Length(shortest, longest), _no_control, *checks], **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        return super()._deserialize(value, attr, data, **kwargs).strip()


class Prose(fields.String):
    """Text of several lines, at most ``longest`` characters."""

    def __init__(self, longest: int = 4000, **options: Any) -> None:
        super().__init__(validate=[validate.Length(max=longest), _no_nul], **options)


class Email(fields.Email):
    """An e-mail address, in lower case."""

    def __init__(self, **options: Any) -> None:
        super().__init__(validate=[validate.Length(max=254), _no_control], **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        return super()._deserialize(value, attr, data, **kwargs).strip().lower()


class Phone(fields.String):
    """A Kenyan mobile phone; any usual way of writing it in, E.164 out."""

    def __init__(self, **options: Any) -> None:
        options["metadata"] = {"example": "+254712345678"} | options.get("metadata", {})
        super().__init__(**options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        try:
            return normalise_phone(super()._deserialize(value, attr, data, **kwargs))
        except InvalidPhone as error:
            raise ValidationError(str(error)) from None


def choice(*values: str, **options: Any) -> fields.String:
    """One of ``values``."""
    return fields.String(validate=validate.OneOf(values), **options)


def _no_nul(text: str) -> None:
    if "\x00" in text:
        raise ValidationError("Must not hold the NUL character.")


def _no_control(text: str) -> None:
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValidationError("Must be one line without control characters.")


class Row(Schema):
    """What every row has."""

    id = fields.UUID(required=True, dump_only=True)
    created_at = fields.AwareDateTime(required=True, dump_only=True)
    updated_at = fields.AwareDateTime(required=True, dump_only=True)
    version = fields.Integer(
        required=True, dump_only=True, metadata={"description": "Rises with each change; makes the ETag."}
    )

    class Meta:
        unknown = RAISE
