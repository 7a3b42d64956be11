"""A person decides what became of a payment that nothing else could decide, and alerts end with what they tell of."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from haven.billing import service as billing
from haven.db.session import tenant_of
from haven.errors import Conflict, Invalid, NotFound, VersionMismatch
from haven.operations.alerts import PAYMENTS_NEED_REVIEW, resolve_alert, resolve_alerts
from haven.payments.models import MpesaAttempt, MpesaInbox, Payment
from haven.payments.statuses import MayBeRecorded, ReceiptTaken, complete, fail, note_evidence
from haven.payments.suspense import lock_receipt

_RECEIPT: Final = re.compile(r"[A-Z0-9]{6,20}", re.ASCII)
DECIDED: Final = "DECIDED"
"""The failure code of what a person has decided."""
_WORDS: Final = "We have looked into it: this payment did not reach us."


def resolve(
    session: Session,
    payment_id: uuid.UUID,
    *,
    outcome: str,
    note: str,
    receipt: str | None = None,
    version: int | None = None,
    now: dt.datetime | None = None,
) -> None:
    """Decide a payment that needs review. Its money is booked, or not, as if the provider had said so.

    Args:
        outcome: COMPLETED or FAILED.
        note: why, for the evidence.
        receipt: M-Pesa's, where it is known; only with COMPLETED.

    Raises:
        NotFound: there is none in this agency.
        VersionMismatch: it has another version.
        Conflict: it does not need review, the receipt is on another payment, or the money may be in the books already.
        Invalid: the receipt is none, or given with FAILED.
    """
    now = now or dt.datetime.now(dt.UTC)
    lease_id, method = _found(session, payment_id)
    receipt = _receipt(receipt, outcome, method)
    if receipt is not None and method == "MPESA":
        lock_receipt(session, receipt)
    lease = billing.lock_lease(session, lease_id, now)
    payment = _lock(session, payment_id, version)
    if payment.status != "NEEDS_REVIEW":
        raise Conflict(f"The payment is {payment.status}: only one that NEEDS_REVIEW waits for a decision.")
    by = tenant_of(session).actor
    note_evidence(
        session, payment_id, "MANUAL", decision=outcome, decided_by=by, note=note.strip(), receipt=receipt
    )
    # First, for the payment's row is read again once it is settled.
    end_alerts(session, payment_id, receipt)
    if outcome == "COMPLETED":
        _complete(session, lease, payment, receipt, now)
    else:
        fail(session, payment, code=DECIDED, words=_WORDS)
    _settle_attempts(session, payment_id, "PAID" if outcome == "COMPLETED" else "FAILED", now)


def end_alerts(session: Session, payment_id: uuid.UUID, receipt: str | None) -> None:
    """Alerts of callbacks about a payment, and of its receipt, are over: a person has settled it."""
    inbox = session.scalars(
        select(MpesaInbox.id)
        .join(
            MpesaAttempt,
            (MpesaAttempt.agency_id == MpesaInbox.agency_id) & (MpesaAttempt.id == MpesaInbox.attempt_id),
        )
        .where(MpesaAttempt.agency_id == tenant_of(session).agency_id, MpesaAttempt.payment_id == payment_id)
    )
    subjects = [f"inbox:{one}" for one in inbox.all()]
    subjects += [] if receipt is None else [f"receipt:{receipt}"]
    resolve_alerts(session, PAYMENTS_NEED_REVIEW, subjects)


def end_receipt_alert(session: Session, receipt: str) -> None:
    """The alert of a receipt that was told of with another amount is over: a person has placed its money."""
    resolve_alert(session, PAYMENTS_NEED_REVIEW, f"receipt:{receipt}")


def _complete(
    session: Session, lease: billing.LockedLease, payment: Payment, receipt: str | None, now: dt.datetime
) -> None:
    try:
        complete(session, lease, payment, paid_at=now, receipt=receipt)
    except ReceiptTaken:
        raise Conflict(f"The receipt {receipt} is already on another payment.") from None
    except MayBeRecorded as error:
        raise Conflict(f"{error} Give the receipt with the decision.") from None


def _found(session: Session, payment_id: uuid.UUID) -> tuple[uuid.UUID, str]:
    row = session.execute(
        select(Payment.lease_id, Payment.method).where(
            Payment.agency_id == tenant_of(session).agency_id, Payment.id == payment_id
        )
    ).one_or_none()
    if row is None:
        raise NotFound(f"There is no payment {payment_id}.")
    return row.lease_id, row.method


def _receipt(given: str | None, outcome: str, method: str) -> str | None:
    if given is None:
        return None
    if outcome != "COMPLETED":
        raise Invalid.field("receipt", "is given only where the payment is COMPLETED")
    receipt = given.strip().upper() if method == "MPESA" else given.strip()
    if method == "MPESA" and not _RECEIPT.fullmatch(receipt):
        raise Invalid.field("receipt", "must be the M-Pesa receipt, such as SGL4A1B2C3")
    return receipt


def _lock(session: Session, payment_id: uuid.UUID, version: int | None) -> Payment:
    payment = session.execute(
        select(Payment)
        .where(Payment.agency_id == tenant_of(session).agency_id, Payment.id == payment_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).scalar_one()
    if version is not None and payment.version != version:
        raise VersionMismatch(f"The payment is at version {payment.version}, not {version}: read it again.")
    return payment


def _settle_attempts(session: Session, payment_id: uuid.UUID, state: str, now: dt.datetime) -> None:
    """Pushes that waited for the decision."""
    session.execute(
        update(MpesaAttempt)
        .where(
            MpesaAttempt.agency_id == tenant_of(session).agency_id,
            MpesaAttempt.payment_id == payment_id,
            MpesaAttempt.state == "NEEDS_REVIEW",
        )
        .values(state=state, settled_at=now, next_query_at=None)
    )
