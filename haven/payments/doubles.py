"""Money that may be in the books already, under a payment of its own.

A status query says that a push was paid and gives no receipt. A tenant shows the message of M-Pesa, and a person
records it. Nothing says that the two are the same money, so whichever comes second is not counted on a guess.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from decimal import Decimal

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from haven.billing import service as billing
from haven.db.session import tenant_of
from haven.payments.models import MpesaAttempt, Payment


def recorded_since(session: Session, payment: Payment) -> str | None:
    """The receipt number of a payment that may be the money of ``payment``, a push whose receipt is not known.

    One of the same lease and amount, with an M-Pesa receipt, that no push of its own stands behind, made since the
    phone was asked. One that has been reversed counts: its money was in the books. Reads
    payment(agency_id, lease_id, paid_at); the lease must be locked.
    """
    has_push = exists().where(
        MpesaAttempt.agency_id == Payment.agency_id, MpesaAttempt.payment_id == Payment.id
    )
    number = session.execute(
        select(Payment.receipt_number)
        .where(
            Payment.agency_id == payment.agency_id,
            Payment.lease_id == payment.lease_id,
            Payment.method == "MPESA",
            Payment.amount == payment.amount,
            Payment.reference.is_not(None),
            Payment.paid_at.is_not(None),
            Payment.created_at >= payment.created_at,
            Payment.id != payment.id,
            ~has_push,
        )
        .order_by(Payment.id)
        .limit(1)
    ).scalar_one_or_none()
    return None if number is None else billing.receipt_number(number)


def lacking_receipt(session: Session, lease_id: uuid.UUID, amount: Decimal) -> str | None:
    """The receipt number of a completed M-Pesa payment of a locked lease whose own receipt is still to come."""
    number = session.execute(
        select(Payment.receipt_number)
        .where(
            Payment.agency_id == tenant_of(session).agency_id,
            Payment.lease_id == lease_id,
            Payment.method == "MPESA",
            Payment.status == "COMPLETED",
            Payment.amount == amount,
            Payment.reference.is_(None),
        )
        .order_by(Payment.id)
        .limit(1)
    ).scalar_one_or_none()
    return None if number is None else billing.receipt_number(number)


def lacking_receipts(
    session: Session, lease_ids: Collection[uuid.UUID]
) -> dict[tuple[uuid.UUID, Decimal], str]:
    """The same of many locked leases: (lease, amount) → receipt number."""
    if not lease_ids:
        return {}
    found = session.execute(
        select(Payment.lease_id, Payment.amount, Payment.receipt_number)
        .where(
            Payment.agency_id == tenant_of(session).agency_id,
            Payment.lease_id.in_(lease_ids),
            Payment.method == "MPESA",
            Payment.status == "COMPLETED",
            Payment.reference.is_(None),
            Payment.receipt_number.is_not(None),
        )
        .order_by(Payment.id.desc())
    )
    return {(row.lease_id, row.amount): billing.receipt_number(row.receipt_number) for row in found}
