"""Bodies and answers of invoices and credit notes."""

from __future__ import annotations

from marshmallow import Schema, ValidationError, fields, validate

from haven.api.fields import Body, Line, Money, Row, choice

INVOICE_STATUS = ("DRAFT", "OPEN", "PARTIALLY_PAID", "PAID", "OVERDUE", "VOID")
CREDITABLE = ("RENT", "UTILITY", "LATE_FEE", "OTHER", "DEPOSIT")
LINE_KIND = ("RENT", "DEPOSIT", "UTILITY", "LATE_FEE", "OTHER", "CREDIT")
MAX_LINES = 200


class InvoiceLineBody(Body):
    """A charge, or, below nought, a credit."""

    kind = choice(*LINE_KIND, required=True)
    description = Line(required=True)
    amount = Money(sign="any", required=True)


class InvoiceBody(Body):
    """A draft invoice."""

    lease_id = fields.UUID(required=True)
    period_start = fields.Date(required=True)
    period_end = fields.Date(required=True)
    due_at = fields.Date(metadata={"description": "The lease's billing day where it is left out."})
    lines = fields.List(fields.Nested(InvoiceLineBody), required=True, validate=validate.Length(1, MAX_LINES))


class InvoiceRow(Row):
    """A demand for rent and other charges."""

    lease_id = fields.UUID(required=True)
    tenant_id = fields.UUID(required=True)
    number = fields.String(required=True, allow_none=True, metadata={"example": "INV-000042"})
    period_start = fields.Date(required=True)
    period_end = fields.Date(required=True)
    issued_at = fields.AwareDateTime(required=True, allow_none=True)
    due_at = fields.Date(required=True)
    currency = fields.String(required=True)
    lines = fields.List(fields.Nested(InvoiceLineBody), required=True)
    total = Money(required=True)
    credited = Money(required=True, metadata={"description": "What credit notes have taken off it."})
    paid = Money(required=True)
    balance = Money(required=True, metadata={"description": "total less credited less paid."})
    status = choice(*INVOICE_STATUS, required=True)
    late_fee_of = fields.UUID(
        required=True,
        allow_none=True,
        metadata={"description": "The invoice whose lateness this one charges."},
    )
    voided_at = fields.AwareDateTime(required=True, allow_none=True)
    void_reason = fields.String(required=True, allow_none=True)


class VoidBody(Body):
    """Why an invoice is void."""

    reason = Line(longest=500, required=True)


def _month(text: str) -> None:
    year, _, month = text.partition("-")
    if not (len(year) == 4 and len(month) == 2 and (year + month).isdigit() and 1 <= int(month) <= 12):
        raise ValidationError("Must be a month, such as 2026-11.")


class RunBody(Body):
    """The month whose rent is billed."""

    period = fields.String(required=True, validate=_month, metadata={"example": "2026-11"})


class CreditBody(Body):
    """What is taken off an issued invoice."""

    amount = Money(sign="positive", required=True)
    reason = Line(longest=500, required=True)
    kind = choice(
        *CREDITABLE,
        metadata={
            "description": "The kind of charge it is taken off. Left out: rent first, a deposit last of all."
        },
    )


class CreditNoteLineRow(Schema):
    """How much is taken off the charges of one kind."""

    kind = choice("CREDIT", required=True)
    charge_kind = choice(*CREDITABLE, required=True)
    description = fields.String(required=True)
    amount = Money(sign="any", required=True, metadata={"description": "Below nought."})


class CreditNoteRow(Schema):
    """A document that takes something off an issued invoice."""

    id = fields.UUID(required=True)
    number = fields.String(required=True, metadata={"example": "CN-000042"})
    invoice_id = fields.UUID(required=True)
    lease_id = fields.UUID(required=True)
    tenant_id = fields.UUID(required=True)
    issued_at = fields.AwareDateTime(required=True)
    currency = fields.String(required=True)
    lines = fields.List(fields.Nested(CreditNoteLineRow), required=True)
    amount = Money(required=True)
    reason = fields.String(required=True)
    created_at = fields.AwareDateTime(required=True)
