"""How payments are listed and shown."""

from __future__ import annotations

from typing import Final

from marshmallow import fields
from sqlalchemy import Text, cast, func, literal, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from haven.api.fields import Money
from haven.api.listing import Filter, Listing
from haven.billing.models import Allocation
from haven.payments.models import Payment, ReconciliationRun, UnmatchedReceipt

_share = func.jsonb_build_object("invoice_id", Allocation.invoice_id, "amount", cast(Allocation.amount, Text))
_allocations = (
    select(func.coalesce(func.jsonb_agg(aggregate_order_by(_share, Allocation.id)), func.jsonb_build_array()))
    .where(Allocation.agency_id == Payment.agency_id, Allocation.payment_id == Payment.id)
    .correlate(Payment)
    .scalar_subquery()
)
_receipt_number = literal("RCT-").concat(func.lpad(cast(Payment.receipt_number, Text), 6, "0"))
_COLUMNS: Final = (
    "lease_id tenant_id invoice_id amount currency method status paid_at reference phone failure_code failure_reason"
    " unallocated reversed_at reversal_reason id created_at updated_at version"
).split()

PAYMENTS: Final = Listing(
    "payment",
    Payment.id,
    {name: getattr(Payment, name) for name in _COLUMNS}
    | {"receipt_number": _receipt_number, "allocations": _allocations},
    filters={
        "lease_id": Filter(Payment.lease_id, fields.UUID()),
        "tenant_id": Filter(Payment.tenant_id, fields.UUID()),
        "invoice_id": Filter(Payment.invoice_id, fields.UUID()),
        "status": Filter(Payment.status, fields.String()),
        "method": Filter(Payment.method, fields.String()),
        "reference": Filter(Payment.reference, fields.String()),
        "phone": Filter(Payment.phone, fields.String()),
        "paid_at": Filter(Payment.paid_at, fields.AwareDateTime(), ordered=True),
        "amount": Filter(Payment.amount, Money(), ordered=True),
    },
    sorts={"paid_at": Payment.paid_at, "amount": Payment.amount},
    search=Payment.search,
)

_UNMATCHED_COLUMNS: Final = (
    "id receipt amount received_at account_typed payer payer_name source created_at".split()
)

UNMATCHED: Final = Listing(
    "unmatched receipt",
    UnmatchedReceipt.id,
    {name: getattr(UnmatchedReceipt, name) for name in _UNMATCHED_COLUMNS},
    filters={"receipt": Filter(UnmatchedReceipt.receipt, fields.String())},
    always=(UnmatchedReceipt.payment_id.is_(None),),
)

_RUN_COLUMNS: Final = (
    "id kind status since until checked settled mismatched unanswered mismatches error created_at finished_at"
).split()

RECONCILIATIONS: Final = Listing(
    "reconciliation",
    ReconciliationRun.id,
    {name: getattr(ReconciliationRun, name) for name in _RUN_COLUMNS},
)
