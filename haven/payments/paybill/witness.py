"""The one place where money that M-Pesa has moved is booked, whoever tells of it: each receipt once.

A C2B confirmation and a row of M-Pesa's own list are the same to it. Locks: the receipt, then the lease, then the
push and its payment.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Literal

import structlog
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from haven.billing import service as billing
from haven.db.session import tenant_of
from haven.operations.alerts import PAYMENTS_NEED_REVIEW, raise_alert
from haven.payments.models import MpesaAttempt, Payment, UnmatchedReceipt
from haven.payments.paybill.matching import place_of
from haven.payments.paybill.seen import Seen
from haven.payments.paybill.twins import find_twin, lacks_receipt
from haven.payments.statuses import PAID, complete, lock_attempt, note_evidence, settle
from haven.payments.suspense import lock_receipt

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sighting:
    """What came of it. ``SETTLED``: it was news; ``KNOWN``: it was not; ``MISMATCHED``: the books say otherwise."""

    result: Literal["SETTLED", "KNOWN", "MISMATCHED"]
    outcome: str
    payment_id: uuid.UUID | None = None


def witness(session: Session, seen: Seen, now: dt.datetime) -> Sighting:
    """Book money that was seen, unless it is booked: to its push, else to its lease, else into suspense."""
    if not seen.is_money:
        return Sighting("KNOWN", "Nothing moved: the amount is nought, or the receipt one of no transaction.")
    lock_receipt(session, seen.receipt)
    return (
        _booked(session, seen)
        or _waiting(session, seen)
        or _for_push(session, seen, now)
        or _for_lease(session, seen, now)
        or _hold(session, seen)
    )


def record(session: Session, lease: billing.LockedLease, seen: Seen) -> Payment:
    """A new payment of a locked lease: completed, numbered, allocated to the oldest invoices, and posted."""
    payment = Payment(
        agency_id=tenant_of(session).agency_id,
        lease_id=lease.id,
        tenant_id=lease.tenant_id,
        amount=seen.amount,
        currency=lease.currency,
        method="MPESA",
        status="COMPLETED",
        paid_at=seen.paid_at,
        reference=seen.receipt,
        phone=seen.payer.phone,
        receipt_number=billing.take(session, "RECEIPT"),
    )
    session.add(payment)
    session.flush()
    settle(session, lease, payment)
    return payment


def _booked(session: Session, seen: Seen) -> Sighting | None:
    """The receipt is a payment's."""
    payment = session.execute(
        select(Payment.id, Payment.amount, Payment.status).where(
            Payment.agency_id == tenant_of(session).agency_id,
            Payment.method == "MPESA",
            Payment.reference == seen.receipt,
        )
    ).one_or_none()
    if payment is None:
        return None
    agrees = payment.amount == seen.amount
    note_evidence(
        session, payment.id, seen.source, **seen.evidence(says="the same" if agrees else "another amount")
    )
    if agrees:
        return Sighting("KNOWN", "A duplicate: this receipt is booked.", payment.id)
    why = f"It says {seen.amount}, but the receipt is booked with {payment.amount}: it needs a look."
    return _mismatch(session, seen, why, payment.id)


def _waiting(session: Session, seen: Seen) -> Sighting | None:
    """The receipt waits for a person."""
    amount = session.execute(
        select(UnmatchedReceipt.amount).where(
            UnmatchedReceipt.agency_id == tenant_of(session).agency_id,
            UnmatchedReceipt.receipt == seen.receipt,
        )
    ).scalar_one_or_none()
    if amount is None:
        return None
    if amount == seen.amount:
        return Sighting("KNOWN", "A duplicate: this receipt waits among the unmatched ones.")
    why = f"It says {seen.amount}, but the receipt waits unmatched with {amount}: it needs a look."
    return _mismatch(session, seen, why)


def _mismatch(session: Session, seen: Seen, why: str, payment_id: uuid.UUID | None = None) -> Sighting:
    """The books say otherwise: reported, never corrected."""
    log.error("amount_differs", receipt=seen.receipt, source=seen.source)
    raise_alert(session, PAYMENTS_NEED_REVIEW, f"receipt:{seen.receipt}", source=seen.source, why=why)
    return Sighting("MISMATCHED", why, payment_id)


def _for_push(session: Session, seen: Seen, now: dt.datetime) -> Sighting | None:
    """The money was asked of a phone: it completes that payment, or tells the receipt of one known to be paid."""
    twin = find_twin(session, seen)
    if twin is None:
        return None
    lease = billing.lock_lease(session, twin.lease_id, now)
    attempt, payment = lock_attempt(session, twin.attempt_id)
    # While the lease was waited for, a callback may have said which receipt is this push's.
    if not lacks_receipt(attempt, payment):
        return None
    was = payment.status
    if was in PAID:
        payment.reference = seen.receipt
        outcome = f"The payment was known to be {was}; now its receipt is known."
    else:
        complete(session, lease, payment, paid_at=seen.paid_at, receipt=seen.receipt)
        outcome = "Paid." if was in ("PENDING", "PROCESSING") else f"Paid after it was {was}."
    _settle(attempt, now, was)
    session.flush()
    note_evidence(
        session,
        payment.id,
        seen.source,
        attempt_id=twin.attempt_id,
        **seen.evidence(says="paid", matched_by="PUSH"),
    )
    return Sighting("SETTLED", outcome, payment.id)


def _settle(attempt: MpesaAttempt, now: dt.datetime, was: str) -> None:
    if was in PAID:
        return
    if was in ("FAILED", "CANCELLED"):
        log.error("paid_after_failure", attempt=str(attempt.id), was=was)
    attempt.state = "PAID"
    attempt.result_code = None
    attempt.settled_at = now
    attempt.next_query_at = None


def _for_lease(session: Session, seen: Seen, now: dt.datetime) -> Sighting | None:
    """The account, the payer or the amount says whose money it is."""
    found = place_of(session, seen)
    if found is None:
        return None
    # A second lease may be locked here, where a push was first thought to be the one. Should two events ever hold
    # each other up so, the database ends one, and it is applied again.
    lease = billing.lock_lease(session, found.lease_id, now)
    payment = record(session, lease, seen)
    note_evidence(session, payment.id, seen.source, **seen.evidence(says="paid", matched_by=found.matched_by))
    return Sighting("SETTLED", f"Paid; the lease was found by {found.matched_by}.", payment.id)


def _hold(session: Session, seen: Seen) -> Sighting:
    """Nothing says whose it is: it waits in suspense."""
    session.execute(
        insert(UnmatchedReceipt).values(
            agency_id=tenant_of(session).agency_id,
            receipt=seen.receipt,
            amount=seen.amount,
            received_at=seen.paid_at,
            account_typed=seen.account,
            payer=seen.payer.shown,
            payer_name=seen.payer_name or None,
            payer_phone=seen.payer.phone,
            payer_hash=seen.payer.digest,
            source=seen.source,
            inbox_id=seen.inbox_id,
        )
    )
    billing.post(session, [billing.suspense_posting(seen.receipt, seen.paid_at, seen.amount)])
    log.warning("receipt_unmatched", receipt=seen.receipt, source=seen.source)
    return Sighting("SETTLED", "It names no lease: it waits among the unmatched receipts.")
