"""Payments that a person records many at a time: each checked, booked and told of as ``manual.create`` does one.

A handful of statements, whatever their number, but for what is allocated: payments of one lease pay its invoices one after
the other, in rounds that have one payment of each lease.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from sqlalchemy.orm import Session

from haven.billing import service as billing
from haven.db.base import new_id
from haven.db.conflicts import RECEIPT_TAKEN, own_words
from haven.db.session import tenant_of
from haven.db.staging import insert_many
from haven.errors import HavenError, Invalid
from haven.notifications import service as notifications
from haven.operations.webhooks import emit_many
from haven.payments.doubles import lacking_receipts
from haven.payments.manual import (
    Invoices,
    Received,
    check_does_not_wait,
    check_is_not_counted,
    checked,
    invoices_named,
    lease_named,
    row_of,
)
from haven.payments.models import MpesaEvidence, Payment
from haven.payments.statuses import event, posting_of
from haven.payments.suspense import lock_receipts, standings

_NOUGHT = Decimal(0)


@dataclass(slots=True)
class _Known:
    """What the payments are judged by. Receipts that are booked here join those that are ``taken``."""

    taken: set[str]
    waiting: set[str]
    invoices: Invoices
    leases: Mapping[uuid.UUID, billing.LockedLease]
    lacking: Mapping[tuple[uuid.UUID, Decimal], str]


@dataclass(slots=True)
class _Booked:
    payment: Payment
    allocated: Decimal = _NOUGHT
    owners: list[billing.Posting] = field(default_factory=list)


def create_many(
    session: Session,
    bodies: Sequence[Mapping[str, Any]],
    now: dt.datetime | None = None,
    *,
    are_locked: bool = False,
) -> list[uuid.UUID | HavenError]:
    """Record money that has been received; for each body, in their order, the payment or why it is refused.

    Args:
        bodies: as ``manual.create`` takes them; at most some thousand.
        are_locked: the receipts of the agency are (``suspense.lock_all_receipts``).

    Raises:
        IntegrityError: somebody booked the same receipt beside this.
    """
    now = now or dt.datetime.now(dt.UTC)
    asked = [_checked(body, now) for body in bodies]
    received = [one for one in asked if isinstance(one, Received)]
    known = _known(session, received, now, are_locked=are_locked)
    judged = [_judged(one, known) for one in asked]
    booked = _book(session, [one for one in judged if not isinstance(one, HavenError)])
    payments = iter(booked)
    return [one if isinstance(one, HavenError) else next(payments).payment.id for one in judged]


def _checked(body: Mapping[str, Any], now: dt.datetime) -> Received | HavenError:
    try:
        return checked(body, now)
    except HavenError as error:
        return error


def _known(session: Session, received: Sequence[Received], now: dt.datetime, *, are_locked: bool) -> _Known:
    """Locked in the order that is everywhere: the receipts, then the leases."""
    receipts = {one.receipt for one in received if one.receipt is not None}
    if not are_locked:
        lock_receipts(session, receipts)
    taken, waiting = standings(session, receipts)
    invoices = invoices_named(session, {one.invoice_id for one in received})
    named = {one.lease_id for one in received if one.lease_id} | {lease for lease, _ in invoices.values()}
    leases = billing.lock_leases(session, named, now)
    lacking = lacking_receipts(session, leases.keys()) if receipts else {}
    return _Known(taken, waiting, invoices, leases, lacking)


def _judged(one: Received | HavenError, known: _Known) -> tuple[Received, billing.LockedLease] | HavenError:
    if isinstance(one, HavenError):
        return one
    try:
        return one, _lease(one, known)
    except HavenError as error:
        return error


def _lease(one: Received, known: _Known) -> billing.LockedLease:
    check_does_not_wait(one.receipt in known.waiting)
    lease = known.leases.get(lease_named(one.lease_id, one.invoice_id, known.invoices))
    if lease is None:
        raise Invalid.field("lease_id", "there is no lease with this id")
    if one.receipt is not None:
        check_is_not_counted(known.lacking.get((lease.id, one.amount)))
        if one.receipt in known.taken:
            raise own_words(RECEIPT_TAKEN)
        known.taken.add(one.receipt)
    return lease


def _book(session: Session, good: Sequence[tuple[Received, billing.LockedLease]]) -> list[_Booked]:
    """Write the payments down, numbered in their order; let them pay invoices; post them, and tell of them."""
    if not good:
        return []
    first = billing.take(session, "RECEIPT", len(good))
    rows = [
        {"id": new_id(), **row_of(one, lease, number)}
        for number, (one, lease) in enumerate(good, start=first)
    ]
    insert_many(session, Payment, rows)
    _note_evidence(session, rows)
    booked = [_Booked(Payment(**row)) for row in rows]
    today = good[0][1].today
    for one_of_each_lease in _rounds(booked):
        _allocate(session, one_of_each_lease, today)
    billing.post(
        session,
        [each for one in booked for each in (posting_of(one.payment, one.allocated), *one.owners)],
    )
    _tell(session, booked)
    return booked


def _note_evidence(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    actor = tenant_of(session).actor
    evidence = [
        {
            "id": new_id(),
            "payment_id": row["id"],
            "kind": "MANUAL",
            "detail": {"receipt": row["reference"], "recorded_by": actor},
        }
        for row in rows
        if row["method"] == "MPESA"
    ]
    insert_many(session, MpesaEvidence, evidence)


def _rounds(booked: Sequence[_Booked]) -> list[list[_Booked]]:
    rounds: dict[int, list[_Booked]] = defaultdict(list)
    earlier: Counter[uuid.UUID] = Counter()
    for one in booked:
        rounds[earlier[one.payment.lease_id]].append(one)
        earlier[one.payment.lease_id] += 1
    return list(rounds.values())


def _allocate(session: Session, booked: Sequence[_Booked], today: dt.date) -> None:
    by_id = {one.payment.id: one for one in booked}
    named = [one.payment.invoice_id for one in booked if one.payment.invoice_id is not None]
    lease_of = {payment_id: one.payment.lease_id for payment_id, one in by_id.items()}
    payer: dict[uuid.UUID, _Booked] = {}
    for share in billing.allocate_payments(session, lease_of, named, today):
        one = payer[share.invoice_id] = by_id[share.payment_id]
        one.allocated += share.amount
    # Whatever the moment it is asked for: each posting has that of the payment behind it.
    at = dt.datetime.now(dt.UTC)
    for posting in billing.owner_postings(session, payer.keys(), at):
        assert posting.invoice_id is not None
        one = payer[posting.invoice_id]
        assert one.payment.paid_at is not None
        one.owners.append(replace(posting, at=one.payment.paid_at))


def _tell(session: Session, booked: Sequence[_Booked]) -> None:
    said = {one.payment.id: event(one.payment) for one in booked}
    emit_many(session, "payment.completed", list(said.values()))
    notifications.queue_many(session, "PAYMENT_COMPLETED", said)
