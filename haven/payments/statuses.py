"""How a payment's status changes, and what follows from it.

PENDING and PROCESSING wait for the provider. COMPLETED is money received; nothing but an explicit reversal
leaves it (a trigger of the database holds to that too). FAILED and CANCELLED can still become COMPLETED when
evidence of the money comes late. NEEDS_REVIEW waits for a person.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from sqlalchemy import insert, select
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from haven.billing import service as billing
from haven.db.session import tenant_of
from haven.db.statements import Statement
from haven.errors import NotFound, VersionMismatch
from haven.notifications import service as notifications
from haven.operations.alerts import PAID_AFTER_FAILURE, PAYMENTS_NEED_REVIEW, raise_alert, resolve_alert
from haven.payments import funnel
from haven.payments.doubles import recorded_since
from haven.payments.models import MpesaAttempt, MpesaEvidence, Payment
from haven.payments.suspense import HELD_RECEIPT, claim, receipt_lock, standing

WAITING: Final = ("PENDING", "PROCESSING")
"""Statuses of a payment that has not been decided."""
PAID: Final = ("COMPLETED", "REVERSED")
"""Statuses of a payment whose money has come, and perhaps gone back by a reversal."""
OPEN_ATTEMPT: Final = ("SENDING", "ACCEPTED", "UNKNOWN")
"""States of an attempt whose outcome is not known yet."""


class ReceiptTaken(Exception):
    """The M-Pesa receipt is on another payment."""


class MayBeRecorded(Exception):
    """The receipt is not known, and a payment that may be the same money is in the books; ``str()`` says which."""


def lock_attempt(session: Session, attempt_id: uuid.UUID) -> tuple[MpesaAttempt, Payment]:
    """The attempt and its payment, both locked, the payment first.

    Raises:
        NotFound: there is none in this agency.
    """
    row = session.execute(
        select(MpesaAttempt, Payment)
        .join(
            Payment, (Payment.agency_id == MpesaAttempt.agency_id) & (Payment.id == MpesaAttempt.payment_id)
        )
        .where(MpesaAttempt.agency_id == tenant_of(session).agency_id, MpesaAttempt.id == attempt_id)
        .with_for_update(of=[Payment, MpesaAttempt], key_share=True)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        raise NotFound(f"There is no payment request {attempt_id}.")
    attempt, payment = row
    return attempt, payment


class Facts(NamedTuple):
    """A payment's row, as far as completing it needs to know, and telling of it: columns by their names."""

    id: uuid.UUID
    lease_id: uuid.UUID
    tenant_id: uuid.UUID
    invoice_id: uuid.UUID | None
    amount: Decimal
    currency: str
    method: str
    status: str
    version: int
    paid_at: dt.datetime | None
    reference: str | None
    receipt_number: int | None
    failure_code: str | None
    failure_reason: str | None


class HeldPush(NamedTuple):
    """What a callback of money has locked: the receipt, then the lease, the payment, the attempt and its own inbox row."""

    lease: billing.LockedLease
    payment: Facts
    merchant_request_id: str | None
    checkout_request_id: str | None
    inbox_state: str
    inbox_outcome: str | None
    inbox_tries: int


_LEASE_COLUMNS: Final = (
    "l.id, l.tenant_id, l.unit_id, l.status, (SELECT currency FROM agency WHERE id = :agency_id),"
    " (SELECT CAST(timezone(timezone, :now) AS date) FROM agency WHERE id = :agency_id)"
)
_LEASE_WIDTH: Final = 6
_PUSH_AT: Final = _LEASE_WIDTH + len(Facts._fields)
# By hand: building a statement of the ORM's, and objects for its rows, takes longer than running it. The agency is looked up
# and not joined: of five tables the order takes a third longer to plan than of four.
_LOCK_ALL: Final = f"""
    SELECT {_LEASE_COLUMNS}, {", ".join(f"p.{name}" for name in Facts._fields)},
           t.merchant_request_id, t.checkout_request_id, i.state, i.outcome, i.tries
      FROM {{receipt}} mpesa_attempt t
      JOIN mpesa_inbox i ON i.agency_id = :agency_id AND i.id = :inbox_id
      JOIN payment p ON p.agency_id = :agency_id AND p.id = t.payment_id
      JOIN lease l ON l.agency_id = :agency_id AND l.id = p.lease_id
     WHERE t.agency_id = :agency_id AND t.id = :attempt_id
       FOR NO KEY UPDATE OF l, p, t, i
"""  # noqa: S608  nobody's text
LOCK_ALL: Final = Statement(_LOCK_ALL.format(receipt=""))
LOCK_ALL_AND_RECEIPT: Final = Statement(_LOCK_ALL.format(receipt=f"{HELD_RECEIPT} CROSS JOIN"))


def lock_to_complete(
    session: Session, attempt_id: uuid.UUID, inbox_id: uuid.UUID, receipt: str | None, now: dt.datetime
) -> HeldPush:
    """All that money of a push needs locked, by one statement.

    Raises:
        NotFound: there is no such attempt in this agency, or no such row in its inbox.
    """
    values = {
        "agency_id": tenant_of(session).agency_id,
        "attempt_id": attempt_id,
        "inbox_id": inbox_id,
        "now": now,
    }
    if receipt is None:
        row = LOCK_ALL.row(session, **values)
    else:
        lock = receipt_lock(session, receipt)
        row = LOCK_ALL_AND_RECEIPT.row(session, **values, receipt_lock=lock)
    if row is None:
        raise NotFound(f"There is no payment request {attempt_id}.")
    lease, payment = row[:_LEASE_WIDTH], row[_LEASE_WIDTH:_PUSH_AT]
    return HeldPush(billing.LockedLease(*lease), Facts(*payment), *row[_PUSH_AT:])


def complete(
    session: Session,
    lease: billing.LockedLease,
    payment: Payment,
    *,
    paid_at: dt.datetime,
    receipt: str | None,
) -> None:
    """The money of a locked payment has come: it is COMPLETED and numbered, pays invoices and is posted.

    Args:
        lease: the payment's, locked before the payment was.
        receipt: M-Pesa's, locked first of all (``suspense.lock_receipt``); None where it is not known.

    Raises:
        ReceiptTaken: the receipt is on another payment. Nothing has changed.
        MayBeRecorded: there is no receipt, and the money may be recorded already. Nothing has changed.
        VersionMismatch: the payment was not locked, and somebody has changed it.
    """
    recorded = None if receipt is not None else recorded_since(session, payment)
    if recorded is not None:
        raise MayBeRecorded(
            f"M-Pesa says that it is paid, but {recorded} of the same amount has been recorded since it was asked"
            " for: if that is other money, its receipt will tell."
        )
    facts = Facts._make(getattr(payment, name) for name in Facts._fields)
    done = complete_held(session, lease, facts, paid_at=paid_at, receipt=receipt)
    _take_over(payment, done, paid_at, receipt)


def complete_held(
    session: Session,
    lease: billing.LockedLease,
    payment: Facts,
    *,
    paid_at: dt.datetime,
    receipt: str | None,
) -> billing.Completion:
    """The same, of a payment that no object stands for; without a receipt, whoever calls has seen that none is recorded.

    Raises:
        ReceiptTaken, VersionMismatch: see ``complete``.
    """
    # Whoever writes a receipt down holds its lock, so what this finds stays true; an index holds to it too.
    done = billing.complete_payment(
        session, lease, payment.id, payment.version, payment.invoice_id, paid_at=paid_at, reference=receipt
    )
    if done is None:
        raise _why_not(session, payment, receipt)
    if receipt is not None and done.is_waiting:
        claim(session, receipt, payment.id)
    paid = payment._replace(
        status="COMPLETED",
        paid_at=paid_at,
        reference=receipt,
        receipt_number=done.receipt_number,
        failure_code=None,
        failure_reason=None,
    )
    _tell_of_change(session, paid, payment.status)
    funnel.count(session, funnel.PAID)
    _post_and_tell(session, paid, done.allocated, done.owner_postings)
    return done


def _why_not(session: Session, payment: Facts, receipt: str | None) -> Exception:
    if receipt is not None and standing(session, receipt).is_taken:
        return ReceiptTaken()
    return VersionMismatch(f"The payment {payment.id} was changed although it was locked.")


def _take_over(payment: Payment, done: billing.Completion, paid_at: dt.datetime, receipt: str | None) -> None:
    """Let the object have what the statement has made of its row, without reading it again."""
    stored = {
        "status": "COMPLETED",
        "paid_at": paid_at,
        "reference": receipt,
        "failure_code": None,
        "failure_reason": None,
        "receipt_number": done.receipt_number,
        "allocated": done.allocated,
        "unallocated": done.unallocated,
        "version": done.version,
        "updated_at": done.updated_at,
    }
    for name, value in stored.items():
        set_committed_value(payment, name, value)


def _tell_of_change(session: Session, payment: Facts, was: str) -> None:
    """Alerts that follow from a payment's completion, or that end with it."""
    subject = f"payment:{payment.id}"
    if was == "NEEDS_REVIEW":
        resolve_alert(session, PAYMENTS_NEED_REVIEW, subject)
    elif was == "FAILED":
        raise_alert(
            session, PAID_AFTER_FAILURE, subject, payment_id=str(payment.id), reference=payment.reference
        )


def settle(session: Session, lease: billing.LockedLease, payment: Payment) -> None:
    """Let a payment that was made as completed pay invoices, post it, and tell of it."""
    shares = billing.allocate_payment(session, lease, payment.id, payment.invoice_id)
    # Allocation has changed the row behind the session's back.
    session.refresh(payment)
    assert payment.paid_at is not None
    owners = billing.owner_postings(session, {share.invoice_id for share in shares}, payment.paid_at)
    _post_and_tell(session, payment, payment.allocated, owners)


def _post_and_tell(
    session: Session, payment: Payment | Facts, allocated: Decimal, owners: Sequence[billing.Posting]
) -> None:
    billing.post(session, [posting_of(payment, allocated), *owners])
    notifications.announce(session, "payment.completed", "PAYMENT_COMPLETED", payment.id, event(payment))


def posting_of(payment: Payment | Facts, allocated: Decimal) -> billing.Posting:
    """What the completed payment posts; ``allocated`` of it pays invoices."""
    assert payment.paid_at is not None
    assert payment.receipt_number is not None
    name = f"{payment.method} payment {billing.receipt_number(payment.receipt_number)}"
    return billing.payment_posting(
        payment.id, payment.lease_id, name, payment.paid_at, payment.method, payment.amount, allocated
    )


def fail(session: Session, payment: Payment, *, code: str, words: str, is_cancelled: bool = False) -> None:
    """The money of a locked payment will not come.

    Args:
        words: a sentence for the person who was to pay.
    """
    if payment.status == "NEEDS_REVIEW":
        resolve_alert(session, PAYMENTS_NEED_REVIEW, f"payment:{payment.id}")
    payment.status = "CANCELLED" if is_cancelled else "FAILED"
    payment.failure_code = code
    payment.failure_reason = words
    session.flush()
    funnel.count(session, f"{funnel.FAILED} {code}")
    notifications.announce(session, "payment.failed", "PAYMENT_FAILED", payment.id, event(payment))


def send_to_review(session: Session, payment: Payment, *, code: str, why: str) -> None:
    """A person must decide about a locked payment that is not completed, and an alert says so; ``why`` is for staff."""
    payment.status = "NEEDS_REVIEW"
    payment.failure_code = code
    payment.failure_reason = why
    session.flush()
    about = {"payment_id": str(payment.id), "code": code, "why": why}
    raise_alert(session, PAYMENTS_NEED_REVIEW, f"payment:{payment.id}", **about)
    notifications.queue(session, "PAYMENT_NEEDS_REVIEW", payment.id, event(payment))


def note_evidence(
    session: Session,
    payment_id: uuid.UUID,
    kind: str,
    *,
    attempt_id: uuid.UUID | None = None,
    code: str | None = None,
    **detail: Any,
) -> None:
    """Keep what speaks of a payment: ``kind`` is PUSH, QUERY, C2B, PULL or MANUAL."""
    session.execute(
        insert(MpesaEvidence).values(
            agency_id=tenant_of(session).agency_id,
            payment_id=payment_id,
            attempt_id=attempt_id,
            kind=kind,
            result_code=code,
            detail=detail,
        )
    )


def event(payment: Payment | Facts) -> dict[str, Any]:
    """What the webhooks ``payment.completed`` and ``payment.failed`` say."""
    number = payment.receipt_number
    return {
        "payment_id": str(payment.id),
        "lease_id": str(payment.lease_id),
        "tenant_id": str(payment.tenant_id),
        "amount": str(payment.amount),
        "currency": payment.currency,
        "method": payment.method,
        "status": payment.status,
        "reference": payment.reference,
        "receipt_number": None if number is None else billing.receipt_number(number),
        "paid_at": None if payment.paid_at is None else payment.paid_at.isoformat(),
        "failure_code": payment.failure_code,
        "failure_reason": payment.failure_reason,
    }
