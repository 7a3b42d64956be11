"""Answers of ``/dashboard``."""

from __future__ import annotations

from marshmallow import Schema, fields

from haven.api.fields import Money, choice
from haven.insight.activity import KINDS


def _count(description: str) -> fields.Integer:
    return fields.Integer(required=True, metadata={"minimum": 0, "description": description})


def _money(description: str) -> Money:
    return Money(required=True, metadata={"description": description})


def _per_cent(description: str) -> fields.Float:
    described = f"Per cent, two decimals: {description} Null where there is nothing to measure by."
    return fields.Float(required=True, allow_none=True, metadata={"description": described, "example": 94.12})


class Period(Schema):
    """The month, where the agency is; both days inclusive."""

    month = fields.String(required=True, metadata={"pattern": r"^\d{4}-\d{2}$", "example": "2026-11"})
    first_day = fields.Date(required=True, data_key="from")
    last_day = fields.Date(required=True, data_key="to")


class Ageing(Schema):
    """What is owed, by how many days it is past its due date."""

    current = _money("Not yet due; no arrears.")
    days_1_to_30 = _money("1 to 30 days past due.")
    days_31_to_60 = _money("31 to 60 days past due.")
    days_61_to_90 = _money("61 to 90 days past due.")
    over_90_days = _money("More than 90 days past due.")
    credits = _money("Received and not yet allocated; in none of the others.")


class Expiring(Schema):
    """How many leases in force end soon; each number holds the ones before it."""

    within_30_days = _count("Their last day is at most 30 days after `as_of`.")
    within_60_days = _count("At most 60 days.")
    within_90_days = _count("At most 90 days.")


class Day(Schema):
    """What was received on a day where the agency is."""

    date = fields.Date(required=True)
    count = _count("Payments.")
    amount = _money("Their sum.")


class Stats(Schema):
    """The dashboard's figures: those of the agency, or of one property."""

    period = fields.Nested(Period, required=True)
    as_of = fields.Date(
        required=True,
        metadata={
            "description": "The day of occupancy, leases and arrears: today, or the last of a month that is over."
        },
    )
    timezone = fields.String(required=True, metadata={"example": "Africa/Nairobi"})
    currency = fields.String(required=True, metadata={"example": "KES"})
    properties = _count("Properties.")
    units = _count("Units, those out of service included.")
    occupied = _count("Units in service with a lease in force.")
    vacant = _count("Units in service without one.")
    occupancy_rate = _per_cent("occupied of the units in service.")
    active_leases = _count("Leases in force.")
    expiring_leases = fields.Nested(Expiring, required=True)
    invoiced = _money("Invoices issued in the month, without those voided, less their credit notes.")
    collected = _money("Payments received in the month, without those reversed; no deposit that was applied.")
    collection_rate = _per_cent("of the invoices due in the month, what was paid by its end.")
    collected_to_invoiced = _per_cent("collected of invoiced, which may be of different months.")
    arrears = _money("What is owed past its due date.")
    arrears_ageing = fields.Nested(Ageing, required=True)
    payments_by_day = fields.List(
        fields.Nested(Day),
        required=True,
        metadata={"description": "Each day up to `as_of`; together they are `collected`."},
    )


class EventRow(Schema):
    """One event, and what it is about."""

    at = fields.AwareDateTime(required=True)
    kind = choice(*(event.kind for event in KINDS.values()), required=True)
    entity = choice(*dict.fromkeys(event.entity for event in KINDS.values()), required=True)
    id = fields.UUID(
        required=True, metadata={"description": "Of the payment, invoice, credit note or lease."}
    )
    number = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "As people read it.", "example": "RCT-000042"},
    )
    amount = _money("Of a lease: its rent.")
    method = fields.String(required=True, allow_none=True, metadata={"description": "Of a payment."})
    lease_id = fields.UUID(required=True)
    tenant_id = fields.UUID(required=True)
    tenant = fields.String(required=True, metadata={"description": "Full name."})
    unit = fields.String(required=True, metadata={"description": "Label."})
    property_id = fields.UUID(required=True)
    property = fields.String(required=True, metadata={"description": "Name."})
