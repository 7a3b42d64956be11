"""Asking a phone for rent (STK push), second and third step: no phone ever rings twice for one request.

The first step has written down what is about to be done, and committed; then the phone rings, with no
transaction open; then the answer is written down. A crash anywhere leaves a row that the callback, a status
query or, after a day, a person settles.
"""

from __future__ import annotations

import datetime as dt
import uuid
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import update
from sqlalchemy.orm import Session

from haven.errors import Conflict
from haven.operations.jobs import job_session
from haven.payments import funnel
from haven.payments.models import MpesaAttempt
from haven.payments.mpesa.answers import PushAccepted
from haven.payments.mpesa.client import (
    MpesaError,
    PushBusy,
    PushNotCalled,
    PushNotSent,
    PushRejected,
    PushUnknown,
)
from haven.payments.mpesa.credentials import Credentials, client_for, credentials_of
from haven.payments.mpesa.results import RESULT_CODES
from haven.payments.queries import GIVE_UP_AFTER, next_query
from haven.payments.statuses import fail, lock_attempt, note_evidence
from haven.payments.stk import Push, start_push

if TYPE_CHECKING:
    from haven.runtime import Runtime

log = structlog.get_logger(__name__)


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

    For callers outside a request. A route keeps its transaction whole: it calls ``start_push``, answers with
    the payment, and hands ``lambda: send_push(runtime, push)`` to ``answer_after_commit``.

    Raises:
        As ``start_push``. What M-Pesa answers raises nothing: it is in the payment's status.
    """
    push = start_push(session, phone=phone, amount=amount, lease_id=lease_id, invoice_id=invoice_id)
    session.commit()
    send_push(runtime, push)
    return push.payment_id


def send_push(runtime: Runtime, push: Push) -> str:
    """Ring the phone, once, and write down the answer; the attempt's state by this answer.

    ``ACCEPTED`` the phone rings; ``REJECTED`` it does not, and the payment is FAILED; ``UNKNOWN`` it may: the
    callback or a query decides, and it is never sent again. A push that has been sent before is ``UNKNOWN``
    and rings nothing. No transaction is open while M-Pesa is called.
    """
    with _session(runtime, push) as session:
        if not _claim(session, push):
            log.error("push_sent_twice", attempt=str(push.attempt_id))
            return "UNKNOWN"
        try:
            credentials = credentials_of(session, runtime.settings)
        except (Conflict, ValueError) as error:
            # Not there, incomplete, or sealed with another SECRET_KEY: nothing has rung.
            return record_answer(session, push, PushRejected("NOT_SET_UP", str(error), is_configuration=True))
    answer = _ring(runtime, push, credentials)
    with _session(runtime, push) as session:
        return record_answer(session, push, answer)


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


def record_answer(session: Session, push: Push, answer: PushAccepted | MpesaError) -> str:
    """Write down what M-Pesa answered to a push; the attempt's state by it. What a callback has decided stands."""
    if isinstance(answer, PushAccepted):
        return _record_acceptance(session, push, answer)
    if isinstance(answer, PushRejected):
        return _record_rejection(session, push, answer)
    return _record_unknown(session, push, answer)


def _record_acceptance(session: Session, push: Push, accepted: PushAccepted) -> str:
    attempt, payment = lock_attempt(session, push.attempt_id)
    note_evidence(session, payment.id, "PUSH", attempt_id=attempt.id, code="0", state="ACCEPTED")
    funnel.count(session, funnel.RUNG)
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
    if isinstance(error, PushNotCalled):
        return (
            f"M-Pesa does not answer at the moment, and nothing was charged. Please try again in"
            f" {error.retry_after_s} seconds."
        )
    if isinstance(error, PushNotSent):
        return "M-Pesa could not be reached, and nothing was charged. Please try again in a minute."
    if error.code in RESULT_CODES and RESULT_CODES[error.code].is_final:
        return RESULT_CODES[error.code].words
    return "The request could not be sent, and nothing was charged. Please tell your landlord's office."
