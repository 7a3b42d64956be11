"""Reading one payment: its status, its receipt, and all that speaks of it."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import and_, exists, func, select
from sqlalchemy.orm import Session

from haven.billing import service as billing
from haven.billing.models import Allocation, Invoice, LedgerAccount, LedgerEntry, LedgerTransaction
from haven.db.session import tenant_of
from haven.errors import Conflict, NotFound
from haven.identity.models import Agency
from haven.leasing.models import Lease, Tenant
from haven.notifications import service as telling
from haven.payments.models import MpesaAttempt, MpesaEvidence, MpesaInbox, Payment
from haven.payments.mpesa.results import RESULT_CODES
from haven.payments.phones import mask_phone
from haven.payments.statuses import PAID, WAITING
from haven.portfolio.models import Property, Unit


def status(session: Session, payment_id: uuid.UUID) -> dict[str, Any]:
    """Where a payment is, for somebody who waits for it: one statement.

    Keys: ``id, status, is_final, method, amount, currency, reference, receipt_number, paid_at, failure_code,
    failure_reason, may_retry, retry_after_s, updated_at, version``. ``failure_reason`` is a sentence for the
    payer; ``may_retry`` and ``retry_after_s`` say whether and when the same phone may be asked again.

    Raises:
        NotFound: there is none in this agency.
    """
    row = session.execute(
        select(
            Payment.id,
            Payment.status,
            Payment.method,
            Payment.amount,
            Payment.currency,
            Payment.reference,
            Payment.receipt_number,
            Payment.paid_at,
            Payment.failure_code,
            Payment.failure_reason,
            Payment.updated_at,
            Payment.version,
        ).where(Payment.agency_id == tenant_of(session).agency_id, Payment.id == payment_id)
    ).one_or_none()
    if row is None:
        raise NotFound(f"There is no payment {payment_id}.")
    found = dict(row._mapping)
    known = RESULT_CODES.get(row.failure_code or "")
    has_failed = row.status in ("FAILED", "CANCELLED")
    return found | {
        "is_final": row.status not in WAITING,
        "receipt_number": _receipt_number(row.receipt_number),
        "may_retry": has_failed and (known is None or known.may_retry),
        "retry_after_s": known.retry_after_s if known is not None and has_failed else 0,
    }


def receipt(session: Session, payment_id: uuid.UUID) -> dict[str, Any]:
    """The receipt of a completed payment, as it is given to the tenant: two statements.

    Keys: ``number, payment_id, status, agency, timezone`` (the agency's), ``tenant, property, unit, lease_id, amount, currency, method,
    reference, phone`` (masked), ``paid_at, allocations [{invoice_id, number, period_start, period_end,
    amount}], unallocated, balance_after``: what was owed on the lease once this payment had been counted
    (below nought: credit), which stays what it was.

    Raises:
        NotFound: there is none in this agency.
        Conflict: it is not completed, so there is nothing to give a receipt for.
    """
    agency_id = tenant_of(session).agency_id
    row = session.execute(
        select(
            Payment.status,
            Payment.receipt_number,
            Payment.lease_id,
            Payment.amount,
            Payment.currency,
            Payment.method,
            Payment.reference,
            Payment.phone,
            Payment.paid_at,
            Payment.unallocated,
            Agency.name.label("agency"),
            Agency.timezone,
            Tenant.full_name.label("tenant"),
            Property.name.label("property"),
            Unit.label.label("unit"),
            _balance_after(agency_id).label("balance_after"),
        )
        .join(Agency, Agency.id == Payment.agency_id)
        .join(Tenant, and_(Tenant.agency_id == Payment.agency_id, Tenant.id == Payment.tenant_id))
        .join(Lease, and_(Lease.agency_id == Payment.agency_id, Lease.id == Payment.lease_id))
        .join(Unit, and_(Unit.agency_id == Lease.agency_id, Unit.id == Lease.unit_id))
        .join(Property, and_(Property.agency_id == Unit.agency_id, Property.id == Unit.property_id))
        .where(Payment.agency_id == agency_id, Payment.id == payment_id)
    ).one_or_none()
    if row is None:
        raise NotFound(f"There is no payment {payment_id}.")
    if row.status not in PAID:
        raise Conflict(f"The payment is {row.status}: there is no receipt before it is completed.")
    found = dict(row._mapping)
    found["number"] = _receipt_number(found.pop("receipt_number"))
    found["phone"] = None if row.phone is None else mask_phone(row.phone)
    return found | {"payment_id": payment_id, "allocations": _allocations(session, payment_id)}


def evidence(session: Session, payment_id: uuid.UUID) -> dict[str, Any]:
    """Why we think of a payment what we think: each push, callback, query and record, oldest first.

    Keys: ``payment_id, status, attempts [...], entries [{at, source, result_code, ...}]``. Phones and the
    provider's ids with phone digits in them are not shown.

    Raises:
        NotFound: there is none in this agency.
    """
    found = session.execute(
        select(Payment.status).where(
            Payment.agency_id == tenant_of(session).agency_id, Payment.id == payment_id
        )
    ).scalar_one_or_none()
    if found is None:
        raise NotFound(f"There is no payment {payment_id}.")
    attempts = _attempts(session, payment_id)
    entries = _notes(session, payment_id) + _callbacks(session, payment_id)
    return {
        "payment_id": payment_id,
        "status": found,
        "attempts": attempts,
        "entries": sorted(entries, key=lambda entry: entry["at"]),
    }


def notifications(session: Session, payment_id: uuid.UUID) -> dict[str, Any]:
    """Who was told what of a payment: two statements. Keys: ``payment_id, notifications [...]``.

    Raises:
        NotFound: there is none in this agency.
    """
    _check_it_is_there(session, payment_id)
    return {"payment_id": payment_id, "notifications": telling.of_payment(session, payment_id)}


def _check_it_is_there(session: Session, payment_id: uuid.UUID) -> None:
    there = exists().where(Payment.agency_id == tenant_of(session).agency_id, Payment.id == payment_id)
    if not session.execute(select(there)).scalar_one():
        raise NotFound(f"There is no payment {payment_id}.")


def _balance_after(agency_id: uuid.UUID) -> Any:
    """The lease's accounts once the payment was posted: ids along one lease rise in the order of events."""
    posted = (
        select(LedgerTransaction.id)
        .where(
            LedgerTransaction.agency_id == agency_id,
            LedgerTransaction.payment_id == Payment.id,
            LedgerTransaction.kind == "PAYMENT",
        )
        .limit(1)
        .correlate(Payment)
        .scalar_subquery()
    )
    return (
        select(func.coalesce(func.sum(LedgerEntry.debit - LedgerEntry.credit), 0))
        .join(
            LedgerAccount,
            and_(
                LedgerAccount.agency_id == LedgerEntry.agency_id, LedgerAccount.id == LedgerEntry.account_id
            ),
        )
        .where(
            LedgerEntry.agency_id == agency_id,
            LedgerAccount.lease_id == Payment.lease_id,
            LedgerEntry.transaction_id <= posted,
        )
        .correlate(Payment)
        .scalar_subquery()
    )


def _allocations(session: Session, payment_id: uuid.UUID) -> list[dict[str, Any]]:
    rows = session.execute(
        select(
            Allocation.invoice_id,
            Invoice.number,
            Invoice.period_start,
            Invoice.period_end,
            Allocation.amount,
        )
        .join(Invoice, and_(Invoice.agency_id == Allocation.agency_id, Invoice.id == Allocation.invoice_id))
        .where(Allocation.agency_id == tenant_of(session).agency_id, Allocation.payment_id == payment_id)
        .order_by(Invoice.due_at, Invoice.id)
    )
    return [dict(row._mapping) | {"number": billing.invoice_number(row.number)} for row in rows]


def _attempts(session: Session, payment_id: uuid.UUID) -> list[dict[str, Any]]:
    rows = session.execute(
        select(
            MpesaAttempt.id,
            MpesaAttempt.state,
            MpesaAttempt.result_code,
            MpesaAttempt.phone,
            MpesaAttempt.amount,
            MpesaAttempt.account_reference,
            MpesaAttempt.created_at,
            MpesaAttempt.sent_at,
            MpesaAttempt.answered_at,
            MpesaAttempt.settled_at,
            MpesaAttempt.next_query_at,
            MpesaAttempt.queries,
        )
        .where(MpesaAttempt.agency_id == tenant_of(session).agency_id, MpesaAttempt.payment_id == payment_id)
        .order_by(MpesaAttempt.id)
    )
    return [dict(row._mapping) | {"phone": mask_phone(row.phone)} for row in rows]


def _notes(session: Session, payment_id: uuid.UUID) -> list[dict[str, Any]]:
    rows = session.execute(
        select(
            MpesaEvidence.id,
            MpesaEvidence.at,
            MpesaEvidence.kind.label("source"),
            MpesaEvidence.result_code,
            MpesaEvidence.detail,
        ).where(
            MpesaEvidence.agency_id == tenant_of(session).agency_id, MpesaEvidence.payment_id == payment_id
        )
    )
    return [dict(row._mapping) for row in rows]


def _callbacks(session: Session, payment_id: uuid.UUID) -> list[dict[str, Any]]:
    rows = session.execute(
        select(
            MpesaInbox.id,
            MpesaInbox.received_at.label("at"),
            MpesaInbox.kind,
            MpesaInbox.state,
            MpesaInbox.outcome,
            MpesaInbox.applied_at,
            MpesaInbox.address,
            func.length(MpesaInbox.body).label("size_bytes"),
        )
        .join(
            MpesaAttempt,
            and_(MpesaAttempt.agency_id == MpesaInbox.agency_id, MpesaAttempt.id == MpesaInbox.attempt_id),
        )
        .where(MpesaInbox.agency_id == tenant_of(session).agency_id, MpesaAttempt.payment_id == payment_id)
    )
    return [
        {
            "id": row.id,
            "at": row.at,
            "source": f"CALLBACK_{row.kind}",
            "result_code": None,
            "detail": {
                "state": row.state,
                "outcome": row.outcome,
                "applied_at": row.applied_at,
                "address": row.address,
                "size_bytes": row.size_bytes,
            },
        }
        for row in rows
    ]


def _receipt_number(number: int | None) -> str | None:
    return None if number is None else billing.receipt_number(number)
