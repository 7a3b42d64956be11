"""Bodies and answers of payments."""

from __future__ import annotations

from marshmallow import Schema, fields

from haven.api.fields import Body, Line, Money, Phone, Row, choice
from haven.notifications.models import STATUSES as NOTIFICATION_STATUS
from haven.notifications.models import TENANT_KINDS as NOTIFICATION_KINDS

METHOD = ("MPESA", "CASH", "BANK", "CARD", "CHEQUE")
SHOWN_METHOD = (*METHOD, "DEPOSIT")
"""A payment by DEPOSIT is made where a deposit pays arrears; nobody records one by hand."""
PAYMENT_STATUS = ("PENDING", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED", "REVERSED", "NEEDS_REVIEW")


class AllocationRow(Schema):
    """Which invoice the payment pays, and how much of it."""

    invoice_id = fields.UUID(required=True)
    amount = Money(required=True)


class PaymentBody(Body):
    """Money received by hand: cash, bank, card, cheque, or an M-Pesa receipt that somebody shows."""

    lease_id = fields.UUID(metadata={"description": "May be left out where invoice_id is given."})
    invoice_id = fields.UUID(
        allow_none=True, metadata={"description": "Pay this one first; else the oldest open."}
    )
    amount = Money(sign="positive", required=True)
    method = choice(*METHOD, required=True)
    paid_at = fields.AwareDateTime(metadata={"description": "Now where it is left out; not in the future."})
    reference = Line(longest=64, allow_none=True, metadata={"description": "Receipt, slip or cheque number."})
    phone = Phone(allow_none=True)


class PaymentPatch(Body):
    """What may change of a payment that is not decided yet. Money received is corrected by reversing it."""

    reference = Line(longest=64, allow_none=True)
    invoice_id = fields.UUID(allow_none=True)


class PaymentRow(Row):
    """Money received, or asked for, for one lease."""

    lease_id = fields.UUID(required=True)
    tenant_id = fields.UUID(required=True)
    invoice_id = fields.UUID(required=True, allow_none=True)
    amount = Money(required=True)
    currency = fields.String(required=True)
    method = choice(*SHOWN_METHOD, required=True)
    status = choice(*PAYMENT_STATUS, required=True)
    paid_at = fields.AwareDateTime(required=True, allow_none=True)
    reference = fields.String(required=True, allow_none=True)
    phone = fields.String(required=True, allow_none=True)
    failure_code = fields.String(required=True, allow_none=True)
    failure_reason = fields.String(required=True, allow_none=True)
    receipt_number = fields.String(required=True, allow_none=True, metadata={"example": "RCT-000042"})
    allocations = fields.List(fields.Nested(AllocationRow), required=True)
    unallocated = Money(required=True)
    reversed_at = fields.AwareDateTime(required=True, allow_none=True)
    reversal_reason = fields.String(required=True, allow_none=True)


class StkPushBody(Body):
    """Ask a tenant's phone for rent."""

    invoice_id = fields.UUID()
    lease_id = fields.UUID()
    phone = Phone(required=True)
    amount = Money(
        sign="positive", required=True, metadata={"description": "Whole shillings, at most 250000."}
    )


class ReverseBody(Body):
    """Why a payment is reversed."""

    reason = Line(longest=500, required=True)


class ResolveBody(Body):
    """What a person decides of a payment that needs review."""

    outcome = choice("COMPLETED", "FAILED", required=True)
    receipt = Line(
        longest=60, metadata={"description": "M-Pesa's receipt, where it is known; with COMPLETED only."}
    )
    note = Line(longest=500, required=True, metadata={"description": "Why: it is kept with the evidence."})


class StatusRow(Schema):
    """Where a payment stands, for whoever waits for it."""

    id = fields.UUID(required=True)
    status = choice(*PAYMENT_STATUS, required=True)
    is_final = fields.Boolean(required=True)
    method = choice(*SHOWN_METHOD, required=True)
    amount = Money(required=True)
    currency = fields.String(required=True)
    reference = fields.String(required=True, allow_none=True)
    receipt_number = fields.String(required=True, allow_none=True)
    paid_at = fields.AwareDateTime(required=True, allow_none=True)
    failure_code = fields.String(required=True, allow_none=True)
    failure_reason = fields.String(required=True, allow_none=True)
    may_retry = fields.Boolean(
        required=True, metadata={"description": "Whether the phone may be asked again."}
    )
    retry_after_s = fields.Integer(required=True, metadata={"description": "Seconds to wait before."})
    updated_at = fields.AwareDateTime(required=True)
    version = fields.Integer(required=True)


class ReceiptAllocation(Schema):
    """What of a payment went to which invoice."""

    invoice_id = fields.UUID(required=True)
    number = fields.String(required=True)
    period_start = fields.Date(required=True)
    period_end = fields.Date(required=True)
    amount = Money(required=True)


class Receipt(Schema):
    """The receipt of a completed payment."""

    number = fields.String(required=True, metadata={"example": "RCT-000042"})
    payment_id = fields.UUID(required=True)
    status = choice(*PAYMENT_STATUS, required=True)
    agency = fields.String(required=True)
    timezone = fields.String(required=True, metadata={"example": "Africa/Nairobi"})
    tenant = fields.String(required=True)
    property = fields.String(required=True)
    unit = fields.String(required=True)
    lease_id = fields.UUID(required=True)
    amount = Money(required=True)
    currency = fields.String(required=True)
    method = choice(*SHOWN_METHOD, required=True)
    reference = fields.String(required=True, allow_none=True)
    phone = fields.String(required=True, allow_none=True, metadata={"description": "Masked."})
    paid_at = fields.AwareDateTime(required=True)
    allocations = fields.List(fields.Nested(ReceiptAllocation), required=True)
    unallocated = Money(required=True)
    balance_after = Money(required=True)


class EvidenceEntry(Schema):
    """One thing that was said of a payment."""

    id = fields.UUID(required=True)
    at = fields.AwareDateTime(required=True)
    source = fields.String(required=True)
    result_code = fields.String(required=True, allow_none=True)
    detail = fields.Dict(required=True)


class AttemptRow(Schema):
    """One push to a phone."""

    id = fields.UUID(required=True)
    state = fields.String(required=True)
    result_code = fields.String(required=True, allow_none=True)
    phone = fields.String(required=True)
    amount = Money(required=True)
    account_reference = fields.String(required=True)
    created_at = fields.AwareDateTime(required=True)
    sent_at = fields.AwareDateTime(required=True, allow_none=True)
    answered_at = fields.AwareDateTime(required=True, allow_none=True)
    settled_at = fields.AwareDateTime(required=True, allow_none=True)
    next_query_at = fields.AwareDateTime(required=True, allow_none=True)
    queries = fields.Integer(required=True)


class Evidence(Schema):
    """Why we think of a payment what we think."""

    payment_id = fields.UUID(required=True)
    status = choice(*PAYMENT_STATUS, required=True)
    attempts = fields.List(fields.Nested(AttemptRow), required=True)
    entries = fields.List(fields.Nested(EvidenceEntry), required=True)


class NotificationRow(Schema):
    """What one person was told, and what became of it."""

    id = fields.UUID(required=True)
    kind = choice(*NOTIFICATION_KINDS, required=True)
    channel = choice("EMAIL", "SMS", required=True)
    recipient = fields.String(required=True)
    language = fields.String(required=True)
    subject = fields.String(required=True)
    body = fields.String(required=True)
    status = choice(*NOTIFICATION_STATUS, required=True)
    tries = fields.Integer(required=True)
    last_error = fields.String(required=True, allow_none=True)
    created_at = fields.AwareDateTime(required=True)
    sent_at = fields.AwareDateTime(required=True, allow_none=True)
    delivered_at = fields.AwareDateTime(
        required=True,
        allow_none=True,
        metadata={
            "description": "When the network said that the phone has the SMS; null: it has not said so."
        },
    )
    segments = fields.Integer(required=True, allow_none=True)


class Notifications(Schema):
    """Who was told what of a payment."""

    payment_id = fields.UUID(required=True)
    notifications = fields.List(fields.Nested(NotificationRow), required=True)


class Replayed(Schema):
    """What came of applying a callback again."""

    id = fields.UUID(required=True)
    outcome = fields.String(required=True)


class Suggestion(Schema):
    """A lease that the money may be for."""

    lease_id = fields.UUID(required=True)
    lease_status = fields.String(required=True)
    tenant = fields.String(required=True)
    unit = fields.String(required=True)
    payment_reference = fields.String(required=True)
    balance = Money(required=True, metadata={"description": "What the lease owes."})
    reasons = fields.List(
        choice("ACCOUNT", "PAYER", "PAYER_MASK", "BALANCE"),
        required=True,
        metadata={
            "description": "A word that was typed is the unit's reference; the payer's phone is the tenant's;"
            " it may be, by what M-Pesa shows of it; the lease owes just this."
        },
    )


class UnmatchedRow(Schema):
    """Money that came to the paybill and names no lease."""

    id = fields.UUID(required=True)
    receipt = fields.String(required=True)
    amount = Money(required=True)
    received_at = fields.AwareDateTime(required=True)
    account_typed = fields.String(required=True)
    payer = fields.String(required=True, allow_none=True, metadata={"description": "Masked."})
    payer_name = fields.String(required=True, allow_none=True)
    source = choice("C2B", "PULL", required=True)
    created_at = fields.AwareDateTime(required=True)
    suggestions = fields.List(
        fields.Nested(Suggestion),
        required=True,
        metadata={"description": "At most five, the likeliest first."},
    )


class MatchBody(Body):
    """The lease that the money is for."""

    lease_id = fields.UUID(required=True)


class C2bRegisterBody(Body):
    """Whether to ask M-Pesa for its list of transactions (Pull) as well."""

    nominated_number = Phone(
        metadata={
            "description": "The phone named with the paybill at M-Pesa; with it, Pull is registered too."
        }
    )


class C2bAddressRow(Schema):
    """Addresses that M-Pesa calls when the paybill is paid. They are secret, work for good, and are shown this once."""

    id = fields.UUID(required=True)
    shortcode = fields.String(required=True, allow_none=True)
    confirmation_url = fields.String(required=True)
    validation_url = fields.String(required=True)
    state = choice(
        "REGISTERED",
        "ALREADY_REGISTERED",
        "REFUSED",
        "UNKNOWN",
        required=True,
        metadata={
            "description": "ALREADY_REGISTERED: M-Pesa keeps the addresses it had; those go on working."
        },
    )
    pull_state = choice("NOT_ASKED", "REGISTERED", "ALREADY_REGISTERED", "REFUSED", "UNKNOWN", required=True)
    detail = fields.String(required=True, allow_none=True, metadata={"description": "Why it was not taken."})


class Mismatch(Schema):
    """Where the books and M-Pesa's list differ."""

    receipt = fields.String(required=True, allow_none=True)
    why = fields.String(required=True)


class ReconciliationRow(Schema):
    """One comparison of the books with M-Pesa's own list."""

    id = fields.UUID(required=True)
    kind = choice("RECENT", "NIGHTLY", required=True)
    status = choice("RUNNING", "DONE", "FAILED", required=True)
    since = fields.AwareDateTime(required=True)
    until = fields.AwareDateTime(required=True)
    checked = fields.Integer(required=True, metadata={"description": "Rows of M-Pesa's list."})
    settled = fields.Integer(required=True, metadata={"description": "News that was booked."})
    mismatched = fields.Integer(
        required=True, metadata={"description": "Differences: reported, never corrected."}
    )
    unanswered = fields.Integer(
        required=True, metadata={"description": "Requests and payments that the list did not settle."}
    )
    mismatches = fields.List(
        fields.Nested(Mismatch), required=True, metadata={"description": "The first 100."}
    )
    error = fields.String(required=True, allow_none=True)
    created_at = fields.AwareDateTime(required=True)
    finished_at = fields.AwareDateTime(required=True, allow_none=True)
