"""A payer with a prompt open who pays the paybill by hand, and then answers the prompt as well: two sums, two receipts.

The payment by hand looks just like the other telling of the push's, and completes it. When the push's own callback then
comes with a receipt of its own, that is a second payment of the same lease.
"""

from __future__ import annotations

import datetime as dt

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from haven.billing import service as billing
from haven.payments.models import MpesaAttempt, MpesaEvidence, Payment
from haven.payments.paybill.payers import payer_of
from haven.payments.paybill.seen import Seen
from haven.payments.paybill.witness import record
from haven.payments.statuses import note_evidence
from haven.payments.suspense import claim


def was_found_by_paybill(session: Session, payment: Payment) -> bool:
    """Whether the payment's receipt came as a payment to the paybill, which was taken for the push's."""
    noted = exists().where(
        MpesaEvidence.agency_id == payment.agency_id,
        MpesaEvidence.payment_id == payment.id,
        MpesaEvidence.kind.in_(("C2B", "PULL")),
        MpesaEvidence.detail["matched_by"].astext == "PUSH",
        MpesaEvidence.detail["receipt"].astext == payment.reference,
    )
    return bool(session.execute(select(noted)).scalar_one())


def record_besides(
    session: Session, lease: billing.LockedLease, attempt: MpesaAttempt, receipt: str, paid_at: dt.datetime
) -> Payment:
    """The payment that the push's own callback tells of, where the push has another receipt already.

    Args:
        receipt: locked, and on no payment.
    """
    seen = Seen("C2B", receipt, attempt.amount, paid_at, attempt.account_reference, payer_of(attempt.phone))
    payment = record(session, lease, seen)
    claim(session, receipt, payment.id)
    note = seen.evidence(says="paid", matched_by="CALLBACK")
    note_evidence(session, payment.id, "PUSH", attempt_id=attempt.id, code="0", **note)
    return payment
