"""Payments that a person records or undoes: cash, bank, card, cheque, and M-Pesa by its receipt."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from haven.billing import service as billing
from haven.billing.models import Invoice
from haven.db.base import new_id
from haven.db.rows import Planned, change, locked, planned, the_one
from haven.db.session import tenant_of
from haven.errors import Conflict, Invalid, NotFound
from haven.payments.doubles import lacking_receipt
from haven.payments.locks import lock_payment
from haven.payments.models import Payment
from haven.payments.resolving import end_alerts
from haven.payments.statuses import WAITING, note_evidence, settle
from haven.payments.suspense import lock_receipt, standing

METHODS: Final = ("MPESA", "CASH", "BANK", "CARD", "CHEQUE")
_RECEIPT: Final = re.compile(r"[A-Z0-9]{6,20}", re.ASCII)
_CLOCK_SKEW: Final = dt.timedelta(minutes=5)
_CHANGEABLE: Final = frozenset({"reference", "phone", "invoice_id"})
_UNDECIDED: Final = (*WAITING, "NEEDS_REVIEW")


def create(session: Session, body: Mapping[str, Any], now: dt.datetime | None = None) -> uuid.UUID:
    """Record money that has been received: the payment is COMPLETED at once, pays invoices and is posted.

    Args:
        body: ``amount`` and ``method``, ``lease_id`` or ``invoice_id`` or both; if wanted ``paid_at`` (now),
            ``reference`` (for MPESA the receipt, which must be there) and ``phone`` (E.164). The named
            invoice is paid first, then the lease's oldest; what is left over is credit.

    Raises:
        Invalid: a value breaks a rule.
        Conflict: the invoice is a draft or void, the receipt waits among the unmatched ones, or it may be that of
            a payment which M-Pesa has told of without its receipt.
        IntegrityError: the M-Pesa receipt is on another payment (``payment_receipt_key``; a 409 to the
        caller).
    """
    now = now or dt.datetime.now(dt.UTC)
    received = checked(body, now)
    if received.receipt is not None:
        lock_receipt(session, received.receipt)
        check_does_not_wait(standing(session, received.receipt).waits)
    lease_id = lease_of(session, received.lease_id, received.invoice_id)
    lease = _lock_named_lease(session, lease_id, now)
    if received.receipt is not None:
        check_is_not_counted(lacking_receipt(session, lease.id, received.amount))
    payment = Payment(
        agency_id=tenant_of(session).agency_id,
        id=new_id(),
        **row_of(received, lease, billing.take(session, "RECEIPT")),
    )
    session.add(payment)
    session.flush()
    if received.receipt is not None:
        note_evidence(
            session, payment.id, "MANUAL", receipt=received.receipt, recorded_by=tenant_of(session).actor
        )
    settle(session, lease, payment)
    return payment.id


def update(session: Session, payment_id: uuid.UUID, changes: Mapping[str, Any], version: int | None) -> None:
    """Change the given fields of a payment that is not decided yet: ``invoice_id``, ``phone``, ``reference``.

    Raises:
        NotFound, VersionMismatch: see ``haven.db.rows.locked``.
        Conflict: the payment is decided: what is recorded of money does not change; reverse it.
        Invalid: the field cannot be changed, or the invoice is of another lease.
    """
    payment = locked(session, Payment, payment_id, version)
    change(payment, the_one(plan_changes(session, [(payment, changes)])))
    session.flush()


def plan_changes(session: Session, wanted: Sequence[tuple[Any, Mapping[str, Any]]]) -> list[Planned]:
    """What is set of locked payments: one statement, where one names an invoice."""
    invoices = invoices_named(session, {changes.get("invoice_id") for _, changes in wanted})
    return [planned(_changes, payment, changes, invoices) for payment, changes in wanted]


def reverse(
    session: Session,
    payment_id: uuid.UUID,
    reason: str,
    version: int | None = None,
    now: dt.datetime | None = None,
) -> None:
    """Undo a completed payment: what it paid is owed again, and the ledger has its opposite.

    Raises:
        NotFound: there is none in this agency.
        VersionMismatch: it has another version.
        Conflict: it is not completed, or reversed already.
        Invalid: no reason is given.
    """
    now = now or dt.datetime.now(dt.UTC)
    if not reason.strip():
        raise Invalid.field("reason", "must say why")
    lease = billing.lock_lease(session, _lease_of_payment(session, payment_id), now)
    payment = lock_payment(session, payment_id, version)
    if payment.status == "REVERSED":
        raise Conflict("The payment is already reversed.")
    if payment.status != "COMPLETED":
        raise Conflict(f"The payment is {payment.status}: only a completed one can be reversed.")
    payment.status = "REVERSED"
    payment.reversed_at = now
    payment.reversal_reason = reason.strip()
    session.flush()
    shares = billing.release_payment(session, lease, payment_id)
    billing.mirror_payment(session, payment_id, now, f"Payment reversed: {reason.strip()}")
    billing.post(session, billing.owner_postings(session, {share.invoice_id for share in shares}, now))
    end_alerts(session, payment_id, payment.reference)
    session.expire(payment)


def check_amount(amount: Decimal) -> None:
    """Refuse what is no sum of money to be paid."""
    if not amount.is_finite() or amount <= 0:
        raise Invalid.field("amount", "must be above 0.00")
    if amount != round(amount, 2):
        raise Invalid.field("amount", "must have at most two decimals")


@dataclass(frozen=True, slots=True)
class Received:
    """Money that somebody records, as far as it can be judged by itself; ``receipt`` is M-Pesa's, of that method only."""

    amount: Decimal
    method: str
    paid_at: dt.datetime
    reference: str | None
    receipt: str | None
    phone: str | None
    lease_id: uuid.UUID | None
    invoice_id: uuid.UUID | None


def checked(body: Mapping[str, Any], now: dt.datetime) -> Received:
    """What a body says.

    Raises:
        Invalid: a value breaks a rule.
    """
    method, amount = body["method"], body["amount"]
    if method not in METHODS:
        raise Invalid.field("method", f"must be one of {', '.join(METHODS)}")
    check_amount(amount)
    paid_at = _paid_at(body.get("paid_at"), now)
    receipt = _receipt(body.get("reference")) if method == "MPESA" else None
    reference = receipt or body.get("reference")
    named = body.get("lease_id"), body.get("invoice_id")
    return Received(amount, method, paid_at, reference, receipt, body.get("phone"), *named)


def row_of(received: Received, lease: billing.LockedLease, receipt_number: int) -> dict[str, Any]:
    """The columns of the completed payment that it becomes."""
    return {
        "lease_id": lease.id,
        "tenant_id": lease.tenant_id,
        "invoice_id": received.invoice_id,
        "amount": received.amount,
        "currency": lease.currency,
        "method": received.method,
        "status": "COMPLETED",
        "paid_at": received.paid_at,
        "reference": received.reference,
        "phone": received.phone,
        "receipt_number": receipt_number,
    }


Invoices = Mapping[uuid.UUID, tuple[uuid.UUID, str]]
"""Invoice → its lease and status."""


def lease_of(session: Session, lease_id: uuid.UUID | None, invoice_id: uuid.UUID | None) -> uuid.UUID:
    """The lease that a payment is for, named by its id or by an issued invoice of it.

    Raises:
        Invalid, Conflict: see ``lease_named``.
    """
    return lease_named(lease_id, invoice_id, invoices_named(session, {invoice_id}))


def invoices_named(session: Session, ids: Collection[uuid.UUID | None]) -> Invoices:
    """Those of the invoices that are there: one statement, none for none."""
    wanted = [one for one in ids if one is not None]
    if not wanted:
        return {}
    found = select(Invoice.id, Invoice.lease_id, Invoice.status).where(
        Invoice.agency_id == tenant_of(session).agency_id, Invoice.id.in_(wanted)
    )
    return {row.id: (row.lease_id, row.status) for row in session.execute(found)}


def lease_named(lease_id: uuid.UUID | None, invoice_id: uuid.UUID | None, invoices: Invoices) -> uuid.UUID:
    """The lease that a payment is for.

    Raises:
        Invalid: neither is named, there is no such invoice, or it is of another lease.
        Conflict: the invoice is a draft or void.
    """
    if invoice_id is None:
        if lease_id is None:
            raise Invalid.field("lease_id", "name a lease or an invoice")
        return lease_id
    if invoice_id not in invoices:
        raise Invalid.field("invoice_id", "there is no invoice with this id")
    paid_lease_id, status = invoices[invoice_id]
    if lease_id is not None and paid_lease_id != lease_id:
        raise Invalid.field("invoice_id", "is of another lease")
    if status in ("DRAFT", "VOID"):
        raise Conflict("The invoice is a draft or void: it cannot be paid.")
    return paid_lease_id


def check_does_not_wait(waits: bool) -> None:
    """Refuse a receipt that is among the unmatched ones."""
    if waits:
        raise Conflict("This M-Pesa receipt is among the unmatched ones: match it there.")


def check_is_not_counted(number: str | None) -> None:
    """Refuse what may be the money of ``number``, whose receipt is not known (``doubles.lacking_receipt``)."""
    if number is not None:
        raise Conflict(
            f"{number} is an M-Pesa payment of the same amount whose receipt is not known yet, and this may be it:"
            f" wait for its receipt, or reverse {number} and record this one in its place."
        )


def _changes(payment: Any, changes: Mapping[str, Any], invoices: Invoices) -> dict[str, Any]:
    unknown = sorted(changes.keys() - _CHANGEABLE)
    if unknown:
        raise Invalid.field(unknown[0], "cannot be changed")
    if payment.status not in _UNDECIDED:
        raise Conflict(f"The payment is {payment.status}: what is recorded of money does not change.")
    if "reference" in changes and payment.method == "MPESA":
        raise Conflict("The reference of an M-Pesa payment is its receipt: only M-Pesa gives it.")
    if changes.get("invoice_id") is not None:
        lease_named(payment.lease_id, changes["invoice_id"], invoices)
    return dict(changes)


def _paid_at(given: dt.datetime | None, now: dt.datetime) -> dt.datetime:
    if given is None:
        return now
    if given.tzinfo is None:
        raise Invalid.field("paid_at", "must have a time zone")
    if given > now + _CLOCK_SKEW:
        raise Invalid.field("paid_at", "must not be in the future")
    return min(given, now)


def _receipt(given: str | None) -> str:
    receipt = (given or "").strip().upper()
    if not _RECEIPT.fullmatch(receipt):
        raise Invalid.field("reference", "must be the M-Pesa receipt, such as SGL4A1B2C3")
    return receipt


def _lock_named_lease(session: Session, lease_id: uuid.UUID, now: dt.datetime) -> billing.LockedLease:
    try:
        return billing.lock_lease(session, lease_id, now)
    except NotFound:
        raise Invalid.field("lease_id", "there is no lease with this id") from None


def _lease_of_payment(session: Session, payment_id: uuid.UUID) -> uuid.UUID:
    lease_id = session.execute(
        select(Payment.lease_id).where(
            Payment.agency_id == tenant_of(session).agency_id, Payment.id == payment_id
        )
    ).scalar_one_or_none()
    if lease_id is None:
        raise NotFound(f"There is no payment {payment_id}.")
    return lease_id
