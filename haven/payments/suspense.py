"""Money that names no lease: in suspense until a person, or a later word of M-Pesa, says whose it is."""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from typing import Final, NamedTuple

from sqlalchemy import BigInteger, bindparam, exists, func, select, update
from sqlalchemy.orm import Session

from haven.billing import service as billing
from haven.db.session import tenant_of
from haven.payments.models import Payment, UnmatchedReceipt

HELD_RECEIPT: Final = select(
    func.pg_advisory_xact_lock(bindparam("receipt_lock", type_=BigInteger())).label("lock")
).subquery("held")
"""What takes the lock ``receipt_lock`` as part of a statement: while rows are read, so before any of them is locked."""
_LOCK_RECEIPT: Final = select(HELD_RECEIPT)


def lock_receipt(session: Session, receipt: str) -> None:
    """Let nobody else book this receipt of M-Pesa's until the transaction ends.

    A receipt is a payment's or it waits unmatched; no index spans both tables, so whoever writes it down takes this
    lock, and before any lock of a row.
    """
    session.execute(_LOCK_RECEIPT, {"receipt_lock": receipt_lock(session, receipt)})


def receipt_lock(session: Session, receipt: str) -> int:
    """The number of the advisory lock of a receipt."""
    name = f"mpesa-receipt/{tenant_of(session).agency_id}/{receipt}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


class Standing(NamedTuple):
    """Where a receipt is: on a payment, or waiting for a person. Neither: nobody has booked it."""

    is_taken: bool
    waits: bool


def standing(session: Session, receipt: str) -> Standing:
    """Where the receipt is. True until the transaction ends, if it is locked."""
    agency_id = tenant_of(session).agency_id
    is_taken = exists().where(
        Payment.agency_id == agency_id, Payment.method == "MPESA", Payment.reference == receipt
    )
    waits = exists().where(
        UnmatchedReceipt.agency_id == agency_id,
        UnmatchedReceipt.receipt == receipt,
        UnmatchedReceipt.payment_id.is_(None),
    )
    return Standing(*session.execute(select(is_taken, waits)).one())


def claim(session: Session, receipt: str, payment_id: uuid.UUID, now: dt.datetime | None = None) -> bool:
    """Where the receipt waits unmatched, it is this payment's from now on and leaves suspense; whether it waited.

    The payment's own posting is the caller's to write.
    """
    amount = session.execute(
        update(UnmatchedReceipt)
        .where(
            UnmatchedReceipt.agency_id == tenant_of(session).agency_id,
            UnmatchedReceipt.receipt == receipt,
            UnmatchedReceipt.payment_id.is_(None),
        )
        .values(payment_id=payment_id)
        .returning(UnmatchedReceipt.amount)
    ).scalar_one_or_none()
    if amount is None:
        return False
    billing.post(session, [billing.matched_posting(receipt, now or dt.datetime.now(dt.UTC), amount)])
    return True
