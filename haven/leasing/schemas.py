"""Bodies and answers of tenants and leases."""

from __future__ import annotations

from marshmallow import fields, validate

from haven.api.fields import Body, Email, Line, Money, Phone, Prose, Row, choice
from haven.notifications.models import TENANT_KINDS

TENANT_STATUS = ("ACTIVE", "FORMER", "PROSPECT")
LEASE_STATUS = ("DRAFT", "ACTIVE", "ENDED", "TERMINATED")
OPT_OUTS = tuple(
    part
    for channel in ("EMAIL", "SMS")
    for part in (channel, *(f"{channel}:{kind}" for kind in TENANT_KINDS))
)
LATE_FEE_KIND = ("NONE", "FLAT", "PERCENT")


class TenantBody(Body):
    """A person or firm that rents."""

    full_name = Line(required=True)
    email = Email(allow_none=True)
    phone = Phone(allow_none=True)
    national_id = Line(longest=30, allow_none=True)
    status = choice(*TENANT_STATUS)
    notes = Prose(allow_none=True)
    language = choice(
        "en", "sw", allow_none=True, metadata={"description": "Written to in this; null: the agency's."}
    )
    opt_outs = fields.List(
        choice(*OPT_OUTS),
        validate=validate.Length(max=len(OPT_OUTS)),
        metadata={"description": "What is not sent: a channel, or one kind by it."},
    )


class TenantRow(Row):
    """A person or firm that rents, with what he owes."""

    full_name = fields.String(required=True)
    email = fields.String(required=True, allow_none=True)
    phone = fields.String(required=True, allow_none=True)
    national_id = fields.String(required=True, allow_none=True)
    status = choice(*TENANT_STATUS, required=True)
    notes = fields.String(required=True, allow_none=True)
    language = choice("en", "sw", required=True, allow_none=True)
    opt_outs = fields.List(fields.String(), required=True)
    balance = Money(
        required=True, metadata={"description": "Open invoices less credit; below nought: in credit."}
    )
    currency = fields.String(required=True)


class LateFee(Body):
    """What a late invoice costs, once: a flat amount, or per cent of the balance then."""

    kind = choice(*LATE_FEE_KIND, required=True)
    amount = Money()


class LeaseBody(Body):
    """A tenancy of a unit by one tenant."""

    unit_id = fields.UUID(required=True)
    tenant_id = fields.UUID(required=True)
    start_date = fields.Date(required=True)
    end_date = fields.Date(allow_none=True)
    rent_amount = Money(sign="positive", metadata={"description": "The unit's rent where it is left out."})
    deposit_amount = Money(metadata={"description": "The unit's deposit where it is left out."})
    billing_day = fields.Integer(strict=True, validate=validate.Range(1, 28))
    grace_days = fields.Integer(strict=True, validate=validate.Range(0, 90))
    late_fee = fields.Nested(LateFee)


class LeaseRow(Row):
    """A tenancy of a unit by one tenant."""

    unit_id = fields.UUID(required=True)
    tenant_id = fields.UUID(required=True)
    start_date = fields.Date(required=True)
    end_date = fields.Date(required=True, allow_none=True)
    rent_amount = Money(required=True)
    deposit_amount = Money(required=True)
    deposit_held = Money(
        required=True, metadata={"description": "What has been paid of it, less what was used or refunded."}
    )
    currency = fields.String(required=True)
    billing_day = fields.Integer(required=True)
    grace_days = fields.Integer(required=True)
    late_fee = fields.Nested(LateFee, required=True)
    status = choice(*LEASE_STATUS, required=True)
    activated_at = fields.AwareDateTime(required=True, allow_none=True)
    terminated_at = fields.AwareDateTime(required=True, allow_none=True)
    termination_reason = fields.String(required=True, allow_none=True)


class TerminateBody(Body):
    """When and why a lease ends."""

    date = fields.Date(required=True)
    reason = Line(longest=500, required=True)
