"""What of a page of M-Pesa's list the books have already, noted as evidence once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import exists, insert, select
from sqlalchemy.orm import Session

from haven.db.session import tenant_of
from haven.payments.models import MpesaEvidence, Payment, UnmatchedReceipt
from haven.payments.paybill.seen import Seen


def note_page(session: Session, rows: Sequence[Seen]) -> set[str]:
    """The receipts among ``rows`` that are booked, or wait unmatched, with the amount that the list says.

    A payment that the list speaks of for the first time gets that as evidence. At most three statements.
    """
    if not rows:
        return set()
    agency_id = tenant_of(session).agency_id
    seen = {row.receipt: row for row in rows}
    is_noted = exists().where(
        MpesaEvidence.agency_id == Payment.agency_id,
        MpesaEvidence.payment_id == Payment.id,
        MpesaEvidence.kind == "PULL",
    )
    payments = session.execute(
        select(Payment.id, Payment.reference, Payment.amount, is_noted.label("is_noted")).where(
            Payment.agency_id == agency_id, Payment.method == "MPESA", Payment.reference.in_(seen)
        )
    ).all()
    booked = [row for row in payments if row.amount == seen[row.reference].amount]
    waiting = session.execute(
        select(UnmatchedReceipt.receipt, UnmatchedReceipt.amount).where(
            UnmatchedReceipt.agency_id == agency_id, UnmatchedReceipt.receipt.in_(seen)
        )
    ).all()
    news = [row for row in booked if not row.is_noted]
    if news:
        session.execute(
            insert(MpesaEvidence),
            [
                {
                    "agency_id": agency_id,
                    "payment_id": row.id,
                    "kind": "PULL",
                    "at": dt.datetime.now(dt.UTC),
                    "detail": seen[row.reference].evidence(says="the same"),
                }
                for row in news
            ],
        )
    agreeing = {row.receipt for row in waiting if row.amount == seen[row.receipt].amount}
    return {row.reference for row in booked} | agreeing
