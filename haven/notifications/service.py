"""What the rest of Haven may ask of notifications, and the job that sends them.

``queue`` tells of a payment or an invoice, ``announce`` webhooks as well, ``queue_many`` tells of many, ``queue_mail`` tells staff; all
write rows in the caller's transaction.
``send`` is the job's; ``of_payment`` and ``resend`` are for people who look after it.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Sequence
from typing import Any, Final

import structlog
from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from extensions.circuit_breaker.breaker import CircuitOpen
from haven.db.session import tenant_of
from haven.errors import Conflict, NotFound
from haven.leasing.models import Tenant
from haven.notifications.channels import (
    CHANNELS,
    Message,
    NotReached,
    NotTaken,
    OptedOut,
    Sent,
    Undeliverable,
    Unknown,
    other_side,
)
from haven.notifications.delivery_reports import hand_over
from haven.notifications.models import Notification
from haven.notifications.opt_outs import opt_out
from haven.notifications.queueing import QUEUE, SEND, announce, queue, queue_mail, queue_many, values_of
from haven.notifications.segments import segments
from haven.operations.jobs import JobContext, submit
from haven.operations.kinds import KINDS
from haven.runtime import Runtime

__all__ = [
    "QUEUE",
    "Notification",
    "announce",
    "of_payment",
    "queue",
    "queue_mail",
    "queue_many",
    "resend",
    "send",
    "values_of",
]

log = structlog.get_logger(__name__)
_LEFT_BEHIND: Final = dt.timedelta(hours=1)
_SWEEP: Final = 500
_CUT_OFF: Final = (
    "The worker died while it was sent: it may have been. Look at the gateway before it is sent again."
)
_PATHS: Final = re.compile(r"(?m)^(?=/[^/\s])")


def of_payment(session: Session, payment_id: uuid.UUID) -> list[dict[str, Any]]:
    """Who was told what of a payment, and whether it reached them, oldest first. Reads ``notification_once_key``."""
    hidden = ("agency_id", "about_id", "occasion", "tenant_id", "job_id", "claimed_at", "provider_id")
    shown = [column for column in Notification.__table__.columns if column.name not in hidden]
    rows = session.execute(
        select(*shown)
        .where(Notification.agency_id == tenant_of(session).agency_id, Notification.about_id == payment_id)
        .order_by(Notification.id)
    )
    return [dict(row._mapping) for row in rows]


def resend(session: Session, notification_id: uuid.UUID) -> None:
    """Send one again that failed, or of which nobody knows whether it was sent.

    Raises:
        NotFound: there is none in this agency.
        Conflict: it waits or was sent, or its tenant wants none of the kind.
    """
    one = session.get(Notification, (tenant_of(session).agency_id, notification_id), with_for_update=True)
    if one is None:
        raise NotFound(f"There is no notification {notification_id}.")
    if one.status not in ("FAILED", "UNKNOWN"):
        raise Conflict(f"The notification is {one.status}: only one that is FAILED or UNKNOWN is sent again.")
    if one.tenant_id is not None and _has_opted_out(session, one):
        raise Conflict("The tenant has opted out of such messages.")
    one.status, one.tries, one.last_error, one.job_id = "QUEUED", 0, None, None
    session.flush()
    submit(session, SEND, {"notification_id": str(one.id)})


def give_up_left_behind(session: Session, now: dt.datetime) -> int:
    """What a worker left in SENDING, and no job will come for: nobody knows. Bounded; for the clock."""
    left = (
        select(Notification.id)
        .where(
            Notification.agency_id == tenant_of(session).agency_id,
            Notification.status == "SENDING",
            Notification.claimed_at < now - _LEFT_BEHIND,
        )
        .limit(_SWEEP)
    )
    given_up = session.execute(
        update(Notification)
        .where(Notification.agency_id == tenant_of(session).agency_id, Notification.id.in_(left))
        .values(status="UNKNOWN", last_error=_CUT_OFF)
        .returning(Notification.id)
    )
    return len(given_up.all())


def send(
    context: JobContext,
    *,
    about_ids: Sequence[uuid.UUID] = (),
    kind: str = "",
    occasion: str = "",
    notification_id: uuid.UUID | None = None,
) -> dict[str, int]:
    """Send what is queued of one kind and occasion about things, or one alone; how many came to which end.

    No transaction is open while somebody else is called. A row is SENDING meanwhile, and its job's: two jobs never send
    the same. When the process dies then, an e-mail is sent again, with the same id; an SMS is not, for nobody could tell.

    Raises:
        NotTaken: at least one was not taken this time: the job runs again later.
    """
    with context.session() as session:
        waiting = session.scalars(
            select(Notification)
            .where(
                Notification.agency_id == context.agency_id,
                Notification.id == notification_id
                if notification_id is not None
                else Notification.about_id.in_(about_ids)
                & (Notification.kind == kind)
                & (Notification.occasion == occasion),
                or_(
                    Notification.status == "QUEUED",
                    (Notification.status == "SENDING") & (Notification.job_id == context.job_id),
                ),
            )
            .order_by(Notification.id)
        ).all()
    statuses = []
    for one in waiting:
        # Renews the job's lease: what waits long for each of many recipients is not another worker's.
        context.check_cancelled()
        statuses.append(_send_one(context, one))
    if "QUEUED" in statuses:
        raise NotTaken(f"{statuses.count('QUEUED')} of {len(statuses)} were not taken; they are tried again.")
    return {status.lower(): statuses.count(status) for status in ("SENT", "FAILED", "UNKNOWN")}


def _send_one(context: JobContext, one: Notification) -> str:
    """Send it and write down what came of it: its status then."""
    if one.status == "SENDING" and one.channel == "SMS":
        return _write(context, one, "UNKNOWN", _CUT_OFF)
    if not _claimed(context, one):
        return "SKIPPED"
    is_last = one.tries + 1 >= KINDS[SEND].max_attempts
    try:
        sent = _call(context.runtime, one.channel, _message(context, one))
    except OptedOut as refused:
        with context.session() as session:
            opt_out(session, one)
        return _write(context, one, "FAILED", str(refused))
    except Undeliverable as refused:
        return _write(context, one, "FAILED", str(refused))
    except Unknown as doubt:
        return _write(context, one, "UNKNOWN", str(doubt))
    except NotTaken as refused:
        return _write(context, one, "FAILED" if is_last else "QUEUED", str(refused))
    return _write(context, one, "SENT", None, sent)


def _message(context: JobContext, one: Notification) -> Message:
    body = one.body
    if one.kind in ("EXPORT_READY", "REPORT_READY"):
        # A link is kept as a path: where the outside reaches Haven is a setting.
        body = _PATHS.sub(context.runtime.settings.public_url, body)
    return Message(one.id, one.recipient, one.language, one.subject, body, one.kind)


def _claimed(context: JobContext, one: Notification) -> bool:
    """Make the row this job's; False where it has become another's, or was sent."""
    with context.session() as session:
        claimed = session.execute(
            update(Notification)
            .where(
                Notification.agency_id == context.agency_id,
                Notification.id == one.id,
                or_(
                    Notification.status == "QUEUED",
                    (Notification.status == "SENDING") & (Notification.job_id == context.job_id),
                ),
            )
            .values(
                status="SENDING",
                job_id=context.job_id,
                claimed_at=func.now(),
                tries=Notification.tries + 1,
                segments=segments(one.body) if one.channel == "SMS" else None,
            )
            .returning(Notification.id)
        ).scalar_one_or_none()
    return claimed is not None


def _write(
    context: JobContext, one: Notification, status: str, error: str | None, sent: Sent | None = None
) -> str:
    if error is not None:
        log.warning(
            "notification_not_sent", notification=str(one.id), channel=one.channel, status=status, why=error
        )
    values: dict[str, Any] = {"status": status, "last_error": error}
    if status == "SENT":
        values |= {"sent_at": dt.datetime.now(dt.UTC), "provider_id": sent.provider_id if sent else None}
    with context.session() as session:
        session.execute(
            update(Notification)
            .where(Notification.agency_id == context.agency_id, Notification.id == one.id)
            .values(values)
        )
        if sent is not None and sent.provider_id and one.channel == "SMS":
            hand_over(session, one, sent.provider_id)
    return status


def _call(runtime: Runtime, channel: str, message: Message) -> Sent:
    """Send it, unless what it goes to has not answered for a while: then it is not tried now, and later."""
    name = other_side(runtime.settings, channel)
    if name is None:
        return CHANNELS[channel](runtime.settings, message)
    try:
        with runtime.breakers[name].calling(lambda error: isinstance(error, NotReached | Unknown)):
            return CHANNELS[channel](runtime.settings, message)
    except CircuitOpen as refused:
        wait_s = refused.retry_after_s
        who = "mail server" if channel == "EMAIL" else "SMS gateway"
        raise NotTaken(f"The {who} does not answer; not called for another {wait_s} s.") from None


def _has_opted_out(session: Session, one: Notification) -> bool:
    wanted = select(Tenant.opt_outs).where(Tenant.agency_id == one.agency_id, Tenant.id == one.tenant_id)
    opt_outs = session.execute(wanted).scalar_one()
    return one.channel in opt_outs or f"{one.channel}:{one.kind}" in opt_outs
