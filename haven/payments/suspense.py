"""Money that names no lease: in suspense until a person, or a later word of M-Pesa, says whose it is."""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from collections.abc import Collection
from typing import Final, NamedTuple

from sqlalchemy import exists, select, text, update
from sqlalchemy.orm import Session

from haven.billing import service as billing
from haven.db.session import tenant_of
from haven.db.statements import Statement
from haven.payments.models import Payment, UnmatchedReceipt

# The number of the lock of all receipts of the agency whose transaction it is.
_ALL: Final = "hashtextextended('mpesa-receipts/' || current_setting('haven.agency_id'), 0)"
HELD_RECEIPT: Final = f"(SELECT pg_advisory_xact_lock_shared({_ALL}) AS among, pg_advisory_xact_lock(:receipt_lock) AS lock) AS held"
"""What takes the lock ``:receipt_lock`` as part of a statement: while rows are read, so before any of them is locked.

And shares in the lock of all the agency's receipts, which ``lock_all_receipts`` takes."""
_LOCK_RECEIPT: Final = Statement(f"SELECT * FROM {HELD_RECEIPT}")  # noqa: S608  nobody's text
_LOCK_RECEIPTS: Final = text(
    f"WITH among AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared({_ALL}))"  # noqa: S608  nobody's text
    " SELECT count(pg_advisory_xact_lock(lock)) FROM"
    " (SELECT lock FROM among, unnest(CAST(:locks AS bigint[])) AS one(lock) ORDER BY lock) AS each_once"
)
_LOCK_ALL_RECEIPTS: Final = text(f"SELECT pg_advisory_xact_lock({_ALL})")


def lock_receipt(session: Session, receipt: str) -> None:
    """Let nobody else book this receipt of M-Pesa's until the transaction ends.

    A receipt is a payment's or it waits unmatched; no index spans both tables, so whoever writes it down takes this
    lock, and before any lock of a row.
    """
    _LOCK_RECEIPT.run(session, receipt_lock=receipt_lock(session, receipt))


def lock_receipts(session: Session, receipts: Collection[str]) -> None:
    """The same of some receipts, at most a few hundred: PostgreSQL has room for so many locks, not for a million."""
    if receipts:
        locks = sorted(receipt_lock(session, receipt) for receipt in receipts)
        session.execute(_LOCK_RECEIPTS, {"locks": locks})


def lock_all_receipts(session: Session) -> None:
    """The same of every receipt of the agency, by one lock; before any other lock of the transaction."""
    session.execute(_LOCK_ALL_RECEIPTS)


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


def standings(session: Session, receipts: Collection[str]) -> tuple[set[str], set[str]]:
    """Which of the receipts are on a payment, and which wait. True until the transaction ends, if they are locked."""
    if not receipts:
        return set(), set()
    agency_id = tenant_of(session).agency_id
    taken = select(Payment.reference).where(
        Payment.agency_id == agency_id, Payment.method == "MPESA", Payment.reference.in_(receipts)
    )
    waiting = select(UnmatchedReceipt.receipt).where(
        UnmatchedReceipt.agency_id == agency_id,
        UnmatchedReceipt.receipt.in_(receipts),
        UnmatchedReceipt.payment_id.is_(None),
    )
    return {one for one in session.execute(taken).scalars() if one}, set(session.execute(waiting).scalars())


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
