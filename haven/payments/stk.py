"""Asking a phone for rent (STK push), so that no phone ever rings twice for one request.

Three steps: write down what is about to be done and commit; ring, with no transaction open; write down the answer. A crash
anywhere leaves a row that the callback, a status query or, after a day, a person settles.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
import uuid
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import and_, exists, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from haven.billing import service as billing
from haven.billing.models import Invoice
from haven.db.base import new_id
from haven.db.session import tenant_of
from haven.errors import Conflict, Invalid
from haven.identity.models import Agency
from haven.leasing.models import Lease
from haven.operations.jobs import job_session
from haven.payments.models import MpesaAttempt, Payment
from haven.payments.mpesa.answers import PushAccepted
from haven.payments.mpesa.client import (
    MAX_AMOUNT,
    MpesaError,
    PushBusy,
    PushNotSent,
    PushRejected,
    PushUnknown,
    account_reference,
)
from haven.payments.mpesa.credentials import Credentials, client_for, credentials_of
from haven.payments.mpesa.results import RESULT_CODES
from haven.payments.phones import InvalidPhone, normalise_phone
from haven.payments.queries import GIVE_UP_AFTER, next_query
from haven.payments.statuses import OPEN_ATTEMPT, fail, lock_attempt, note_evidence
from haven.portfolio.models import Unit

if TYPE_CHECKING:
    from haven.runtime import Runtime

log = structlog.get_logger(__name__)

SAME_AMOUNT_WAIT: Final = dt.timedelta(minutes=2)
"""M-Pesa refuses the same amount from the same payer within this time (its result code 17)."""
OPEN_REQUEST_WAIT_S: Final = 60
"""Seconds to leave a phone alone that has a request open (Daraja: at least a minute)."""


@dataclass(frozen=True, slots=True)
class Push:
    """A request for money that is written down and about to be sent."""

    agency_id: uuid.UUID
    actor: str
    payment_id: uuid.UUID
    attempt_id: uuid.UUID
    phone: str
    amount: Decimal
    reference: str
    description: str
    token: str = field(repr=False)

    def callback_url(self, public_url: str) -> str:
        """Where M-Pesa says what became of it; the token in it is the only secret of the callback."""
        return f"{public_url.rstrip('/')}/api/v1/hooks/stk/{self.token}"


def request_payment(
    runtime: Runtime,
    session: Session,
    *,
    phone: str,
    amount: Decimal,
    lease_id: uuid.UUID | None = None,
    invoice_id: uuid.UUID | None = None,
) -> uuid.UUID:
    """Ask a phone for money, all three steps; the payment's id. Commits ``session`` before it rings.

    For callers outside a request. A route keeps its transaction whole: it calls ``start_push``, answers with the payment, and
    hands ``lambda: send_push(runtime, push)`` to ``answer_after_commit``.

    Raises:
        As ``start_push``. What M-Pesa answers raises nothing: it is in the payment's status.
    """
    push = start_push(session, phone=phone, amount=amount, lease_id=lease_id, invoice_id=invoice_id)
    session.commit()
    send_push(runtime, push)
    return push.payment_id


def start_push(
    session: Session,
    *,
    phone: str,
    amount: Decimal,
    lease_id: uuid.UUID | None = None,
    invoice_id: uuid.UUID | None = None,
    now: dt.datetime | None = None,
) -> Push:
    """First step: a payment, PENDING, and the attempt behind it. The caller commits, and only then sends the push.

    Args:
        phone: any Kenyan mobile form.
        amount: whole shillings, 1 to 250,000.
        lease_id, invoice_id: exactly one of them; the invoice is paid first, then the lease's oldest.

    Raises:
        Invalid: phone or amount cannot be, or there is no such lease or invoice.
        Conflict: nothing can be owed, the phone has a request open, or the same amount went to it two minutes ago or less;
            ``retry_after_s`` says when to try again.
    """
    now = now or dt.datetime.now(dt.UTC)
    payer, amount = _payer(phone), _whole_shillings(amount)
    target = _target(session, lease_id, invoice_id)
    _check_phone_is_free(session, payer, amount, now)
    agency_id, payment_id, attempt_id = tenant_of(session).agency_id, new_id(), new_id()
    token = new_token(agency_id)
    session.execute(
        insert(Payment).values(
            agency_id=agency_id,
            id=payment_id,
            lease_id=target.lease_id,
            tenant_id=target.tenant_id,
            invoice_id=invoice_id,
            amount=amount,
            currency=target.currency,
            method="MPESA",
            status="PENDING",
            phone=payer,
        )
    )
    inserted = session.execute(
        insert(MpesaAttempt)
        .values(
            agency_id=agency_id,
            id=attempt_id,
            payment_id=payment_id,
            phone=payer,
            amount=amount,
            account_reference=target.reference,
            token_hash=token_hash(token),
            created_at=now,
            next_query_at=next_query(now, now),
        )
        .on_conflict_do_nothing(
            index_elements=["agency_id", "phone"],
            index_where=text("state IN ('SENDING', 'ACCEPTED', 'UNKNOWN')"),
        )
        .returning(MpesaAttempt.id)
    ).scalar_one_or_none()
    # Two requests at once both find the phone free; the unique index lets one of them through.
    if inserted is None:
        raise _open_request()
    return Push(
        agency_id=agency_id,
        actor=tenant_of(session).actor,
        payment_id=payment_id,
        attempt_id=attempt_id,
        phone=payer,
        amount=amount,
        reference=target.reference,
        description=target.description,
        token=token,
    )


def send_push(runtime: Runtime, push: Push) -> str:
    """Second and third step: ring the phone, once, and write down the answer; the attempt's state by this answer.

    ``ACCEPTED`` the phone rings; ``REJECTED`` it does not, and the payment is FAILED; ``UNKNOWN`` it may: the callback or a query
    decides, and it is never sent again. A push that has been sent before is ``UNKNOWN`` and rings nothing.
    No transaction is open while M-Pesa is called.
    """
    with _session(runtime, push) as session:
        if not _claim(session, push):
            log.error("push_sent_twice", attempt=str(push.attempt_id))
            return "UNKNOWN"
        try:
            credentials = credentials_of(session, runtime.settings)
        except Conflict as error:
            return _record(session, push, PushRejected("NOT_SET_UP", str(error), is_configuration=True))
    answer = _ring(runtime, push, credentials)
    with _session(runtime, push) as session:
        return _record(session, push, answer)


def new_token(agency_id: uuid.UUID) -> str:
    """The secret of a callback address: whose it is, then 256 random bits, all in lower-case hex.

    Hex cannot spell a word that M-Pesa refuses in an address.
    """
    return agency_id.hex + secrets.token_hex(32)


def token_hash(token: str) -> bytes:
    """What is stored of a token: found by an index, so no comparison takes a time that tells anything."""
    return hashlib.sha256(token.encode()).digest()


@dataclass(frozen=True, slots=True)
class _Target:
    """What is to be paid for."""

    lease_id: uuid.UUID
    tenant_id: uuid.UUID
    currency: str
    reference: str
    description: str


def _payer(phone: str) -> str:
    try:
        return normalise_phone(phone)
    except InvalidPhone as error:
        raise Invalid.field("phone", str(error)) from None


def _whole_shillings(amount: Decimal) -> Decimal:
    if not amount.is_finite() or amount != amount.to_integral_value() or not 1 <= amount <= MAX_AMOUNT:
        raise Invalid.field(
            "amount", f"must be whole shillings from 1 to {MAX_AMOUNT:,}, as M-Pesa takes them"
        )
    return amount


def _target(session: Session, lease_id: uuid.UUID | None, invoice_id: uuid.UUID | None) -> _Target:
    if (lease_id is None) == (invoice_id is None):
        raise Invalid.field("lease_id", "name a lease or an invoice, one of them")
    named = Lease.id == lease_id if invoice_id is None else Invoice.id == invoice_id
    of_lease = and_(Invoice.agency_id == Lease.agency_id, Invoice.lease_id == Lease.id)
    query = (
        select(
            Lease.id.label("lease_id"),
            Lease.tenant_id,
            Agency.currency,
            Unit.payment_reference,
            or_(
                Lease.status == "ACTIVE",
                exists().where(of_lease, Invoice.status.in_(billing.UNPAID)).correlate(Lease),
            ).label("may_pay"),
            *((Invoice.status, Invoice.number) if invoice_id else ()),
        )
        .join(Agency, Agency.id == Lease.agency_id)
        .join(Unit, and_(Unit.agency_id == Lease.agency_id, Unit.id == Lease.unit_id))
        .where(Lease.agency_id == tenant_of(session).agency_id, named)
    )
    if invoice_id:
        query = query.join(Invoice, of_lease)
    row = session.execute(query).one_or_none()
    if row is None:
        field = "invoice_id" if invoice_id else "lease_id"
        raise Invalid.field(field, f"there is no {field.removesuffix('_id')} with this id")
    if invoice_id and row.status not in billing.UNPAID:
        raise Conflict(f"The invoice is {row.status}: there is nothing to pay on it.")
    if not row.may_pay:
        raise Conflict("The lease is not active and owes nothing.")
    return _Target(
        row.lease_id,
        row.tenant_id,
        row.currency,
        _reference(row.payment_reference),
        billing.invoice_number(row.number) if invoice_id else "Rent",
    )


def _reference(payment_reference: str) -> str:
    try:
        return account_reference(payment_reference)
    except ValueError:
        raise Conflict(
            f"The unit's payment reference {payment_reference!r} has no letter or digit."
        ) from None


def _check_phone_is_free(session: Session, phone: str, amount: Decimal, now: dt.datetime) -> None:
    """Reads mpesa_attempt(agency_id, phone, amount, created_at) and the index of open attempts."""
    rows = session.execute(
        select(MpesaAttempt.state, MpesaAttempt.amount, MpesaAttempt.created_at).where(
            MpesaAttempt.agency_id == tenant_of(session).agency_id,
            MpesaAttempt.phone == phone,
            or_(
                MpesaAttempt.state.in_(OPEN_ATTEMPT),
                # Where no money moved, M-Pesa has nothing to call a repetition.
                and_(
                    MpesaAttempt.amount == amount,
                    MpesaAttempt.created_at > now - SAME_AMOUNT_WAIT,
                    MpesaAttempt.state.not_in(("REJECTED", "FAILED")),
                ),
            ),
        )
    ).all()
    if any(row.state in OPEN_ATTEMPT for row in rows):
        raise _open_request()
    if rows:
        free_at = max(row.created_at for row in rows) + SAME_AMOUNT_WAIT
        wait_s = max(1, int((free_at - now).total_seconds() + 0.999))
        detail = f"The same amount was asked of this phone a moment ago: M-Pesa takes it again in {wait_s} s."
        raise Conflict(detail, retry_after_s=wait_s)


def _open_request() -> Conflict:
    return Conflict(
        "This phone has a payment request open; wait for its answer.", retry_after_s=OPEN_REQUEST_WAIT_S
    )


def _session(runtime: Runtime, push: Push) -> AbstractContextManager[Session]:
    return job_session(runtime, push.agency_id, push.actor)


def _claim(session: Session, push: Push) -> bool:
    """Whether this call is the one that sends the push: only the first is."""
    claimed = session.execute(
        update(MpesaAttempt)
        .where(
            MpesaAttempt.agency_id == push.agency_id,
            MpesaAttempt.id == push.attempt_id,
            MpesaAttempt.state == "SENDING",
            MpesaAttempt.sent_at.is_(None),
        )
        .values(sent_at=dt.datetime.now(dt.UTC))
        .returning(MpesaAttempt.id)
    )
    return claimed.scalar_one_or_none() is not None


def _ring(runtime: Runtime, push: Push, credentials: Credentials) -> PushAccepted | MpesaError:
    """Call M-Pesa: its answer, or the error that says whether the phone may have rung."""
    url = push.callback_url(runtime.settings.public_url)
    try:
        with client_for(runtime, credentials) as client:
            return client.push(push.phone, push.amount, push.reference, push.description, url)
    except MpesaError as error:
        return error
    except Exception:
        # Whatever it is, it may have come after the phone rang.
        log.exception("push_broke_off", attempt=str(push.attempt_id))
        return PushUnknown("INTERNAL", "the call broke off")


def _record(session: Session, push: Push, answer: PushAccepted | MpesaError) -> str:
    if isinstance(answer, PushAccepted):
        return _record_acceptance(session, push, answer)
    if isinstance(answer, PushRejected):
        return _record_rejection(session, push, answer)
    return _record_unknown(session, push, answer)


def _record_acceptance(session: Session, push: Push, accepted: PushAccepted) -> str:
    attempt, payment = lock_attempt(session, push.attempt_id)
    note_evidence(session, payment.id, "PUSH", attempt_id=attempt.id, code="0", state="ACCEPTED")
    if attempt.checkout_request_id not in (None, accepted.checkout_request_id):
        log.error("push_and_callback_differ", attempt=str(attempt.id))
    attempt.merchant_request_id = attempt.merchant_request_id or accepted.merchant_request_id
    attempt.checkout_request_id = attempt.checkout_request_id or accepted.checkout_request_id
    attempt.answered_at = dt.datetime.now(dt.UTC)
    # The callback may have been quicker than our own answer: what it decided stands.
    if attempt.state in ("SENDING", "UNKNOWN"):
        attempt.state = "ACCEPTED"
        attempt.next_query_at = next_query(attempt.created_at, dt.datetime.now(dt.UTC))
    if payment.status == "PENDING":
        payment.status = "PROCESSING"
    return "ACCEPTED"


def _record_rejection(session: Session, push: Push, error: PushRejected) -> str:
    attempt, payment = lock_attempt(session, push.attempt_id)
    note_evidence(
        session,
        payment.id,
        "PUSH",
        attempt_id=attempt.id,
        code=error.code,
        state="REJECTED",
        text=error.message,
    )
    level = log.error if error.is_configuration else log.warning
    level("push_rejected", attempt=str(attempt.id), code=error.code, message=error.message)
    now = dt.datetime.now(dt.UTC)
    attempt.answered_at = now
    if attempt.state in ("SENDING", "UNKNOWN"):
        attempt.state = "REJECTED"
        attempt.result_code = error.code
        attempt.settled_at = now
        attempt.next_query_at = None
        fail(session, payment, code=error.code, words=words_of(error))
    return "REJECTED"


def _record_unknown(session: Session, push: Push, error: MpesaError) -> str:
    attempt, payment = lock_attempt(session, push.attempt_id)
    note_evidence(
        session,
        payment.id,
        "PUSH",
        attempt_id=attempt.id,
        code=error.code,
        state="UNKNOWN",
        text=error.message,
    )
    log.warning("push_unknown", attempt=str(attempt.id), code=error.code, message=error.message)
    if attempt.state == "SENDING":
        attempt.state = "UNKNOWN"
        # Without M-Pesa's id there is nothing to ask about: the callback has a day to come.
        attempt.next_query_at = attempt.created_at + GIVE_UP_AFTER
    if payment.status == "PENDING":
        payment.status = "PROCESSING"
    return "UNKNOWN"


def words_of(error: MpesaError) -> str:
    """Why a push was not sent, for the person who was to pay."""
    if isinstance(error, PushBusy):
        return RESULT_CODES["1001"].words
    if isinstance(error, PushNotSent):
        return "M-Pesa could not be reached, and nothing was charged. Please try again in a minute."
    if error.code in RESULT_CODES and RESULT_CODES[error.code].is_final:
        return RESULT_CODES[error.code].words
    return "The request could not be sent, and nothing was charged. Please tell your landlord's office."
