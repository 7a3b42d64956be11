"""Telling people about payments: written down in the payment's own transaction, sent by a job afterwards."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import structlog
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from extensions.circuit_breaker.breaker import CircuitOpen
from haven.db.session import tenant_of
from haven.notifications.channels import CHANNELS, Message, NotReached, NotTaken, Undeliverable, other_side
from haven.notifications.models import Notification
from haven.notifications.texts import LANGUAGE, compose
from haven.operations.jobs import JobContext, submit
from haven.operations.kinds import KINDS
from haven.runtime import Runtime

__all__ = ["Notification", "of_payment", "queue", "send"]

log = structlog.get_logger(__name__)
SEND: Final = "notification_send"

# One statement finds who is to be told, puts the names into the words, and leaves out who has been told. It goes from row
# to row by their keys and joins nothing: as a join, on tables that had not been analysed yet, it read every lease of the
# agency for every tenant (1,960 blocks at 150 leases).
_QUEUE: Final = text(
    """
    INSERT INTO notification (agency_id, id, payment_id, kind, channel, recipient, language, subject, body)
    WITH let AS MATERIALIZED (
      SELECT unit_id FROM lease WHERE agency_id = :agency_id AND id = :lease_id
    ), home AS MATERIALIZED (
      SELECT label, property_id FROM unit WHERE agency_id = :agency_id AND id = (SELECT unit_id FROM let)
    ), about AS MATERIALIZED (
      SELECT full_name AS tenant, lower(email) AS email, phone,
             (SELECT name FROM agency WHERE id = :agency_id) AS agency,
             (SELECT name FROM property
               WHERE agency_id = :agency_id AND id = (SELECT property_id FROM home)) AS property,
             (SELECT label FROM home) AS unit
        FROM tenant WHERE agency_id = :agency_id AND id = :tenant_id
    ), told AS (
      SELECT 'EMAIL' AS channel, email AS recipient, :tenant_subject AS subject, :tenant_body AS body
        FROM about WHERE email > ''
       UNION ALL
      SELECT 'SMS', phone, '', :tenant_sms FROM about WHERE phone > ''
       UNION ALL
      (SELECT 'EMAIL', lower(email), :agency_subject, :agency_body FROM user_account
        WHERE agency_id = :agency_id AND role = 'AGENCY_ADMIN' AND status = 'ACTIVE' ORDER BY id LIMIT 20)
    )
    SELECT :agency_id, uuidv7(), :payment_id, :kind, channel, recipient, :language,
           replace(replace(replace(replace(subject, '{unit}', unit), '{property}', property),
                   '{agency}', agency), '{tenant}', tenant),
           replace(replace(replace(replace(body, '{unit}', unit), '{property}', property),
                   '{agency}', agency), '{tenant}', tenant)
      FROM told, about
    ON CONFLICT ON CONSTRAINT notification_once_key DO NOTHING
    RETURNING id
    """
)


def queue(session: Session, kind: str, payment_id: uuid.UUID, payment: Mapping[str, Any]) -> None:
    """Tell the tenant and the agency's administrators, once the caller's transaction commits: two statements.

    Args:
        kind: PAYMENT_COMPLETED, PAYMENT_FAILED or PAYMENT_NEEDS_REVIEW; of each a person is told once.
        payment: what is said of it, as the webhooks have it.
    """
    if session.execute(_QUEUE, values_of(session, kind, payment_id, payment)).first() is not None:
        submit(session, SEND, {"payment_id": str(payment_id), "kind": kind})


def values_of(
    session: Session, kind: str, payment_id: uuid.UUID, payment: Mapping[str, Any]
) -> dict[str, Any]:
    """What the statement behind ``queue`` is given; arguments as there."""
    return {
        "agency_id": tenant_of(session).agency_id,
        "payment_id": payment_id,
        "lease_id": uuid.UUID(payment["lease_id"]),
        "tenant_id": uuid.UUID(payment["tenant_id"]),
        "kind": kind,
        "language": LANGUAGE,
    } | asdict(compose(kind, payment))


def of_payment(session: Session, payment_id: uuid.UUID) -> list[dict[str, Any]]:
    """Who was told what of a payment, and whether it reached them, oldest first. Reads ``notification_once_key``."""
    shown = [
        column for column in Notification.__table__.columns if column.name not in ("agency_id", "payment_id")
    ]
    rows = session.execute(
        select(*shown)
        .where(Notification.agency_id == tenant_of(session).agency_id, Notification.payment_id == payment_id)
        .order_by(Notification.id)
    )
    return [dict(row._mapping) for row in rows]


def send(context: JobContext, payment_id: uuid.UUID, kind: str) -> dict[str, int]:
    """Send what is queued of one kind about a payment; how many of them were sent and how many cannot be.

    One kind alone: each has its job, and two jobs that sent the same would send it twice.

    No transaction is open while somebody else is called. A process that dies between the sending and the writing down
    sends again: its message has the same id.

    Raises:
        NotTaken: at least one was not taken this time: the job runs again later.
    """
    with context.session() as session:
        waiting = session.scalars(
            select(Notification)
            .where(
                Notification.agency_id == context.agency_id,
                Notification.payment_id == payment_id,
                Notification.kind == kind,
                Notification.status == "QUEUED",
            )
            .order_by(Notification.id)
        ).all()
    statuses = [_send_one(context, one) for one in waiting]
    if "QUEUED" in statuses:
        raise NotTaken(f"{statuses.count('QUEUED')} of {len(statuses)} were not taken; they are tried again.")
    return {"sent": statuses.count("SENT"), "failed": statuses.count("FAILED")}


def _send_one(context: JobContext, one: Notification) -> str:
    """Send it and write down what came of it: its status then."""
    message = Message(one.id, one.recipient, one.language, one.subject, one.body)
    is_last = one.tries + 1 >= KINDS[SEND].max_attempts
    status, error = "SENT", None
    try:
        _call(context.runtime, one.channel, message)
    except Undeliverable as refused:
        status, error = "FAILED", str(refused)
    except NotTaken as refused:
        status, error = ("FAILED" if is_last else "QUEUED"), str(refused)
    if error is not None:
        log.warning("notification_not_sent", notification=str(one.id), channel=one.channel, why=error)
    with context.session() as session:
        stored = session.get_one(Notification, (context.agency_id, one.id), with_for_update=True)
        stored.status, stored.last_error = status, error
        stored.tries += 1
        stored.sent_at = dt.datetime.now(dt.UTC) if status == "SENT" else None
    return status


def _call(runtime: Runtime, channel: str, message: Message) -> None:
    """Send it, unless what it goes to has not answered for a while: then it is not tried now, and later."""
    name = other_side(runtime.settings, channel)
    if name is None:
        CHANNELS[channel](runtime.settings, message)
        return
    try:
        with runtime.breakers[name].calling(lambda error: isinstance(error, NotReached)):
            CHANNELS[channel](runtime.settings, message)
    except CircuitOpen as refused:
        wait_s = refused.retry_after_s
        raise NotTaken(f"The mail server does not answer; not called for another {wait_s} s.") from None
