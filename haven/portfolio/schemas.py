"""Bodies and answers of owners, properties and units."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from marshmallow import ValidationError, fields, validate

from haven.api.fields import Body, Email, Line, Money, Phone, Prose, Row, choice

PROPERTY_KIND = ("APARTMENT", "HOUSE", "COMMERCIAL", "MIXED", "LAND")
PROPERTY_STATUS = ("ACTIVE", "INACTIVE", "UNDER_MAINTENANCE")
UNIT_STATUS = ("VACANT", "OCCUPIED", "RESERVED", "OUT_OF_SERVICE")


def _between(low: int, high: int) -> Callable[[Decimal], None]:
    """A range without marshmallow's ``Range``, whose bounds the description would show as text."""

    def check(value: Decimal) -> None:
        if not low <= value <= high:
            raise ValidationError(f"Must be from {low} to {high}.")

    return check


def _percent() -> fields.Decimal:
    return fields.Decimal(
        places=2,
        as_string=True,
        allow_nan=False,
        validate=_between(0, 100),
        metadata={"example": "8.00"},
    )


def _degrees(most: int) -> fields.Decimal:
    return fields.Decimal(
        places=6,
        as_string=True,
        allow_none=True,
        allow_nan=False,
        validate=_between(-most, most),
    )


class PayoutDetails(Body):
    """Where an owner's money goes."""

    method = choice("BANK", "MPESA", required=True)
    bank = Line(longest=100)
    branch = Line(longest=100)
    account_name = Line(longest=100)
    account_number = Line(longest=40)
    phone = Phone()


class OwnerBody(Body):
    """A landlord."""

    full_name = Line(required=True)
    email = Email(allow_none=True)
    phone = Phone(allow_none=True)
    tax_pin = fields.String(
        allow_none=True,
        validate=validate.Regexp(r"^[A-Z]\d{9}[A-Z]\Z", error="Must be a KRA PIN, such as A123456789B."),
    )
    payout_details = fields.Nested(PayoutDetails, allow_none=True)
    management_fee_percent = _percent()


class OwnerRow(Row):
    """A landlord."""

    full_name = fields.String(required=True)
    email = fields.String(required=True, allow_none=True)
    phone = fields.String(required=True, allow_none=True)
    tax_pin = fields.String(required=True, allow_none=True)
    payout_details = fields.Dict(required=True, allow_none=True)
    management_fee_percent = fields.String(required=True)


class PropertyBody(Body):
    """A building or estate."""

    name = Line(required=True)
    code = fields.String(
        required=True,
        validate=validate.Regexp(
            r"^[A-Za-z0-9-]{1,20}\Z", error="Must have 1 to 20 letters, digits or hyphens."
        ),
        metadata={"description": "Unique in the agency."},
    )
    kind = choice(*PROPERTY_KIND, required=True)
    address = Prose(longest=500, allow_none=True)
    location = Line(allow_none=True)
    county = Line(longest=100, allow_none=True)
    latitude = _degrees(90)
    longitude = _degrees(180)
    status = choice(*PROPERTY_STATUS)
    owner_id = fields.UUID(allow_none=True)


class PropertyRow(Row):
    """A building or estate, with how many of its units are let."""

    name = fields.String(required=True)
    code = fields.String(required=True)
    kind = choice(*PROPERTY_KIND, required=True)
    address = fields.String(required=True, allow_none=True)
    location = fields.String(required=True, allow_none=True)
    county = fields.String(required=True, allow_none=True)
    latitude = fields.String(required=True, allow_none=True)
    longitude = fields.String(required=True, allow_none=True)
    status = choice(*PROPERTY_STATUS, required=True)
    owner_id = fields.UUID(required=True, allow_none=True)
    unit_count = fields.Integer(required=True)
    occupied_count = fields.Integer(required=True)


class UnitBody(Body):
    """A flat, house or shop."""

    property_id = fields.UUID(required=True)
    label = Line(longest=50, required=True)
    bedrooms = fields.Integer(strict=True, allow_none=True, validate=validate.Range(0, 100))
    rent_amount = Money(required=True)
    deposit_amount = Money()
    status = choice(*UNIT_STATUS)
    payment_reference = fields.String(
        validate=validate.Regexp(r"^[A-Za-z0-9]{1,12}\Z", error="Must have 1 to 12 letters or digits."),
        metadata={
            "description": "What a tenant types as M-Pesa account number; made from code and label if left out."
        },
    )


class UnitRow(Row):
    """A flat, house or shop."""

    property_id = fields.UUID(required=True)
    label = fields.String(required=True)
    bedrooms = fields.Integer(required=True, allow_none=True)
    rent_amount = Money(required=True)
    deposit_amount = Money(required=True)
    currency = fields.String(required=True)
    status = choice(*UNIT_STATUS, required=True)
    payment_reference = fields.String(required=True)
