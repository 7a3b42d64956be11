"""What a clock does for the payments of one agency: nothing that was lost on the way stays lost for long.

Each sweep may run at any time, twice or not at all for a while; it finds what is left by looking, never by
remembering.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Final

import structlog
from sqlalchemy import and_, or_, select, text, update
from sqlalchemy.orm import Session

from haven.billing import service as billing
from haven.db.session import tenant_of
from haven.errors import Conflict
from haven.operations.jobs import submit
from haven.payments.models import MpesaAttempt, MpesaInbox
from haven.payments.queries import GIVE_UP_AFTER, give_up
from haven.payments.statuses import OPEN_ATTEMPT, lock_attempt

log = structlog.get_logger(__name__)

SENDING_FOR: Final = dt.timedelta(seconds=45)
"""Longer than any call to M-Pesa: whoever was to send the push is gone."""
ORPHANED_AFTER: Final = dt.timedelta(seconds=60)
"""A callback that is not applied by then has lost its job."""
MAX_TRIES: Final = 20
_BATCH: Final = 20
"""Queries submitted at once; M-Pesa allows five in a minute."""


def submit_due_queries(session: Session, now: dt.datetime) -> int:
    """A job for each push that M-Pesa should be asked about now; how many."""
    due = session.execute(
        select(MpesaAttempt.id)
        .where(
            MpesaAttempt.agency_id == tenant_of(session).agency_id,
            MpesaAttempt.state.in_(OPEN_ATTEMPT),
            MpesaAttempt.checkout_request_id.is_not(None),
            MpesaAttempt.next_query_at <= now,
        )
        .order_by(MpesaAttempt.next_query_at)
        .limit(_BATCH)
    ).scalars()
    return sum(_submit(session, "mpesa_query", "attempt_id", attempt_id) for attempt_id in due.all())


def settle_silent_pushes(session: Session, now: dt.datetime) -> int:
    """Pushes whose id never reached us, so nobody can be asked: UNKNOWN, after a day a person's; how many.

    A push whose sender died is UNKNOWN too: it may have been sent, so it is not sent again.
    """
    rows = session.execute(
        select(MpesaAttempt.id)
        .where(
            MpesaAttempt.agency_id == tenant_of(session).agency_id,
            MpesaAttempt.state.in_(OPEN_ATTEMPT),
            MpesaAttempt.checkout_request_id.is_(None),
            or_(
                and_(MpesaAttempt.state == "SENDING", MpesaAttempt.created_at <= now - SENDING_FOR),
                MpesaAttempt.created_at <= now - GIVE_UP_AFTER,
            ),
        )
        .order_by(MpesaAttempt.id)
        .limit(200)
    ).scalars()
    return sum(_settle_silent(session, attempt_id, now) for attempt_id in rows.all())


_ORPHANS: Final = text(
    """
    WITH orphan AS (
      SELECT id FROM mpesa_inbox
       WHERE agency_id = :agency_id AND state = 'RECEIVED' AND received_at <= :before
       ORDER BY received_at LIMIT 200 FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE mpesa_inbox i SET tries = i.tries + 1
      FROM orphan WHERE i.agency_id = :agency_id AND i.id = orphan.id
    RETURNING i.id, i.tries
    """
)


def submit_orphaned_callbacks(session: Session, now: dt.datetime) -> int:
    """A job for each stored callback that has not been applied; how many.

    One that cannot be applied after many tries is FAILED, and waits for a person to replay it.
    """
    values = {"agency_id": tenant_of(session).agency_id, "before": now - ORPHANED_AFTER}
    orphans = session.execute(_ORPHANS, values).all()
    for inbox_id, tries in orphans:
        if tries > MAX_TRIES:
            _give_up_on_callback(session, inbox_id)
            continue
        _submit(session, "mpesa_apply", "inbox_id", inbox_id)
    return len(orphans)


def mark_overdue_invoices(session: Session, now: dt.datetime) -> int:
    """Every unpaid invoice whose due date has passed is OVERDUE; how many became it."""
    return billing.mark_overdue(session, now=now)


def _submit(session: Session, kind: str, argument: str, row_id: uuid.UUID) -> bool:
    """Ask for the job unless it is under way; whether it is, one way or the other."""
    try:
        submit(session, kind, {argument: str(row_id)}, unique_key=str(row_id))
    except Conflict:
        # It has finished this very moment: the next sweep sees what it left.
        return False
    return True


def _settle_silent(session: Session, attempt_id: uuid.UUID, now: dt.datetime) -> bool:
    attempt, payment = lock_attempt(session, attempt_id)
    if attempt.state not in OPEN_ATTEMPT or attempt.checkout_request_id is not None:
        return False
    if now - attempt.created_at >= GIVE_UP_AFTER:
        give_up(session, attempt, payment, now)
        return True
    attempt.state = "UNKNOWN"
    attempt.next_query_at = attempt.created_at + GIVE_UP_AFTER
    payment.status = "PROCESSING"
    session.flush()
    return True


def _give_up_on_callback(session: Session, inbox_id: uuid.UUID) -> None:
    log.error("callback_not_applied", inbox=str(inbox_id))
    session.execute(
        update(MpesaInbox)
        .where(MpesaInbox.agency_id == tenant_of(session).agency_id, MpesaInbox.id == inbox_id)
        .values(state="FAILED", outcome="It could not be applied; replay it once the cause is gone.")
    )
