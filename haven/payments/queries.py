"""Asking M-Pesa what became of a push: when, and what its answer may change.

A query has no receipt and is known to be wrong at times, so it never undoes a payment; what it leaves open
for a day goes to a person.
"""

from __future__ import annotations

import datetime as dt
import uuid
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import redis
import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from haven.billing import service as billing
from haven.db.session import tenant_of
from haven.payments.models import MpesaAttempt, Payment
from haven.payments.mpesa.answers import QueryAnswer
from haven.payments.mpesa.client import CIRCUIT_OPEN
from haven.payments.mpesa.credentials import Credentials, client_for, credentials_of
from haven.payments.mpesa.pacing import QueryPace
from haven.payments.mpesa.results import Outcome, result_code
from haven.payments.statuses import (
    OPEN_ATTEMPT,
    PAID,
    MayBeRecorded,
    complete,
    fail,
    lock_attempt,
    note_evidence,
    send_to_review,
)

if TYPE_CHECKING:
    from haven.runtime import Runtime

log = structlog.get_logger(__name__)

GIVE_UP_AFTER: Final = dt.timedelta(hours=24)
"""What is still open after this long goes to a person."""
_FIRST_WAITS: Final = tuple(dt.timedelta(seconds=s) for s in (45, 90, 180, 360, 900, 1800))
_HOUR: Final = dt.timedelta(hours=1)
_REDIS_AWAY_WAIT: Final = dt.timedelta(seconds=60)


class QueryContext(Protocol):
    """What a query needs of the job that it is."""

    @property
    def runtime(self) -> Runtime: ...

    def session(self) -> AbstractContextManager[Session]: ...


@dataclass(frozen=True, slots=True)
class _Question:
    checkout_request_id: str
    credentials: Credentials


def next_query(created_at: dt.datetime, now: dt.datetime) -> dt.datetime:
    """When to ask next about a push: 45 s, 90 s, 3, 6, 15, 30 min after it, then each hour up to a day.

    Source: the schedule of Haven's M-Pesa design, which holds to five queries a minute over all pushes.
    """
    for wait in _FIRST_WAITS:
        if created_at + wait > now:
            return created_at + wait
    return min(now + _HOUR, max(created_at + GIVE_UP_AFTER, now))


def ask(context: QueryContext, attempt_id: uuid.UUID) -> str:
    """Ask M-Pesa about an attempt and act on the answer, in transactions of its own; the outcome, in a word.

    ``SETTLED``: there was nothing to ask; ``PUT_OFF``: not now, by the pace or an open circuit; else the answer's ``PAID FAILED
    PENDING``. No transaction is open while M-Pesa is asked.
    """
    with context.session() as session:
        question = _question(session, context.runtime, attempt_id)
    if question is None:
        return "SETTLED"
    wait = _pace(context.runtime, question.credentials.shortcode)
    if wait:
        with context.session() as session:
            _put_off(session, attempt_id, dt.datetime.now(dt.UTC) + wait)
        return "PUT_OFF"
    with client_for(context.runtime, question.credentials) as client:
        answer = client.query(question.checkout_request_id)
    if answer.code == CIRCUIT_OPEN:
        wait = dt.timedelta(seconds=answer.retry_after_s or 0)
        with context.session() as session:
            _put_off(session, attempt_id, dt.datetime.now(dt.UTC) + wait)
        return "PUT_OFF"
    with context.session() as session:
        apply_answer(session, attempt_id, answer)
    return answer.state


def apply_answer(
    session: Session, attempt_id: uuid.UUID, answer: QueryAnswer, now: dt.datetime | None = None
) -> None:
    """Act on what a status query said, and keep it as evidence.

    PAID completes the payment, its receipt not known yet, unless the money may be recorded already. FAILED with a final code fails one that is still
    open. Anything else waits for the next query; after a day it goes to a person. What is paid stays paid.
    """
    now = now or dt.datetime.now(dt.UTC)
    lease = _lock_lease_if_paid(session, attempt_id, answer, now)
    attempt, payment = lock_attempt(session, attempt_id)
    note_evidence(
        session,
        payment.id,
        "QUERY",
        attempt_id=attempt_id,
        code=answer.code,
        state=answer.state,
        text=answer.text,
    )
    attempt.queries += 1
    if attempt.state not in OPEN_ATTEMPT or payment.status in PAID:
        log.info("mpesa_query_after_the_end", attempt=str(attempt_id), said=answer.state, state=attempt.state)
    elif lease is not None:
        _paid(session, lease, attempt, payment, answer, now)
    elif answer.state == "FAILED" and result_code(answer.code).is_final:
        _settle(attempt, "FAILED", answer.code, now)
        known = result_code(answer.code)
        is_cancelled = known.outcome is Outcome.CANCELLED
        fail(session, payment, code=answer.code, words=known.words, is_cancelled=is_cancelled)
    elif now - attempt.created_at >= GIVE_UP_AFTER:
        give_up(session, attempt, payment, now)
    else:
        attempt.next_query_at = _later(attempt.created_at, now, answer.retry_after_s)
    session.flush()


def _paid(
    session: Session,
    lease: billing.LockedLease,
    attempt: MpesaAttempt,
    payment: Payment,
    answer: QueryAnswer,
    now: dt.datetime,
) -> None:
    _settle(attempt, "PAID", answer.code, now)
    try:
        complete(session, lease, payment, paid_at=now, receipt=None)
    except MayBeRecorded as error:
        _settle(attempt, "NEEDS_REVIEW", answer.code, now)
        _review(session, payment, str(error))


def _review(session: Session, payment: Payment, why: str) -> None:
    log.error("payment_needs_review", payment=str(payment.id), code="MAY_BE_RECORDED")
    send_to_review(session, payment, code="MAY_BE_RECORDED", why=why)


def give_up(session: Session, attempt: MpesaAttempt, payment: Payment, now: dt.datetime) -> None:
    """A day has passed and nothing settles it: a person must look. Not failed, for money may have moved."""
    _settle(attempt, "NEEDS_REVIEW", attempt.result_code, now)
    send_to_review(session, payment, code="NO_ANSWER", why="M-Pesa has not said in a day what became of it.")


def _settle(attempt: MpesaAttempt, state: str, code: str | None, now: dt.datetime) -> None:
    attempt.state = state
    attempt.result_code = code
    attempt.settled_at = now
    attempt.next_query_at = None


def _later(created_at: dt.datetime, now: dt.datetime, retry_after_s: int | None) -> dt.datetime:
    return max(next_query(created_at, now), now + dt.timedelta(seconds=retry_after_s or 0))


def _lock_lease_if_paid(
    session: Session, attempt_id: uuid.UUID, answer: QueryAnswer, now: dt.datetime
) -> billing.LockedLease | None:
    """The lease, locked before its payment is, where the answer may move money; else None."""
    if answer.state != "PAID":
        return None
    lease_id = session.execute(
        select(Payment.lease_id)
        .join(
            MpesaAttempt,
            (MpesaAttempt.agency_id == Payment.agency_id) & (MpesaAttempt.payment_id == Payment.id),
        )
        .where(Payment.agency_id == tenant_of(session).agency_id, MpesaAttempt.id == attempt_id)
    ).scalar_one()
    return billing.lock_lease(session, lease_id, now)


def _question(session: Session, runtime: Runtime, attempt_id: uuid.UUID) -> _Question | None:
    row = session.execute(
        select(MpesaAttempt.checkout_request_id, MpesaAttempt.state).where(
            MpesaAttempt.agency_id == tenant_of(session).agency_id, MpesaAttempt.id == attempt_id
        )
    ).one_or_none()
    if row is None or row.state not in OPEN_ATTEMPT or row.checkout_request_id is None:
        return None
    return _Question(row.checkout_request_id, credentials_of(session, runtime.settings))


def _pace(runtime: Runtime, shortcode: str) -> dt.timedelta | None:
    """How long to wait before asking; None: ask now."""
    try:
        wait_s = QueryPace(runtime.redis).reserve(shortcode)
    except redis.RedisError:
        log.warning("mpesa_query_put_off", why="Redis is away, and with it the pace of queries")
        return _REDIS_AWAY_WAIT
    return dt.timedelta(seconds=wait_s) if wait_s > 0 else None


def _put_off(session: Session, attempt_id: uuid.UUID, until: dt.datetime) -> None:
    session.execute(
        update(MpesaAttempt)
        .where(MpesaAttempt.agency_id == tenant_of(session).agency_id, MpesaAttempt.id == attempt_id)
        .values(next_query_at=until)
    )
