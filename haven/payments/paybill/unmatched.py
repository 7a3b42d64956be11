"""Money that waits for a person: which leases it may be for, and placing it."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from haven.billing import service as billing
from haven.db.session import tenant_of
from haven.errors import Conflict, Invalid, NotFound
from haven.payments.models import UnmatchedReceipt
from haven.payments.paybill.payers import Payer, payer_of
from haven.payments.paybill.seen import Seen
from haven.payments.paybill.witness import record
from haven.payments.resolving import end_receipt_alert
from haven.payments.statuses import note_evidence
from haven.payments.suspense import claim, lock_receipt

MOST_SUGGESTIONS: Final = 5

# One statement for a whole page. Each branch reads an index led by the agency; what leases owe is summed once.
_SUGGEST: Final = text(
    """
    WITH waiting AS MATERIALIZED (
      SELECT id, amount, account_keys, payer_hash, split_part(payer, '*', 1) AS begins, right(payer, 3) AS ending
        FROM unmatched_receipt
       WHERE agency_id = :agency_id AND id = ANY (CAST(:ids AS uuid[]))
    ), owing AS MATERIALIZED (
      SELECT lease_id, sum(balance) AS owed FROM invoice
       WHERE agency_id = :agency_id AND status IN ('OPEN', 'PARTIALLY_PAID', 'OVERDUE') GROUP BY lease_id
    ), meant AS (
      SELECT w.id, l.id AS lease_id, 'ACCOUNT' AS reason, 1 AS place
        FROM waiting w
        JOIN unit u ON u.agency_id = :agency_id AND u.account_key = ANY (w.account_keys) AND u.account_key <> ''
        JOIN lease l ON l.agency_id = :agency_id AND l.unit_id = u.id
      UNION ALL
      SELECT w.id, l.id, 'PAYER', 2
        FROM waiting w
        JOIN tenant t ON t.agency_id = :agency_id AND t.phone_hash = w.payer_hash
        JOIN lease l ON l.agency_id = :agency_id AND l.tenant_id = t.id
      UNION ALL
      SELECT w.id, l.id, 'PAYER_MASK', 3
        FROM waiting w
        JOIN tenant t ON t.agency_id = :agency_id AND t.phone_ending = w.ending AND starts_with(t.phone, w.begins)
        JOIN lease l ON l.agency_id = :agency_id AND l.tenant_id = t.id
       WHERE w.payer_hash IS NULL AND w.begins <> ''
      UNION ALL
      (SELECT w.id, o.lease_id, 'BALANCE', 4
         FROM waiting w
         CROSS JOIN LATERAL (
           SELECT lease_id FROM owing WHERE owed = w.amount ORDER BY lease_id LIMIT :most) o)
    ), fit AS (
      SELECT m.id, m.lease_id, min(m.place) AS place, array_agg(DISTINCT m.reason) AS reasons
        FROM meant m GROUP BY m.id, m.lease_id
    ), ranked AS (
      SELECT f.*, l.status, l.tenant_id, l.unit_id, coalesce(o.owed, 0) AS owed,
             row_number() OVER (
               PARTITION BY f.id
               ORDER BY cardinality(f.reasons) DESC, f.place, l.status = 'ACTIVE' DESC, f.lease_id) AS rank
        FROM fit f
        JOIN lease l ON l.agency_id = :agency_id AND l.id = f.lease_id
        LEFT JOIN owing o ON o.lease_id = f.lease_id
       WHERE l.status = 'ACTIVE' OR l.status <> 'DRAFT' AND coalesce(o.owed, 0) > 0
    )
    SELECT r.id, r.lease_id, r.status AS lease_status, t.full_name AS tenant, u.label AS unit, u.payment_reference,
           CAST(r.owed AS text) AS balance, r.reasons
      FROM ranked r
      JOIN tenant t ON t.agency_id = :agency_id AND t.id = r.tenant_id
      JOIN unit u ON u.agency_id = :agency_id AND u.id = r.unit_id
     WHERE r.rank <= :most
     ORDER BY r.id, r.rank
    """
)


def suggestions(session: Session, ids: Sequence[uuid.UUID]) -> dict[str, list[dict[str, Any]]]:
    """For each unmatched receipt, by its id as text: up to five leases that it may be for, the likeliest first.

    Keys of each: ``lease_id, lease_status, tenant, unit, payment_reference, balance, reasons``, the reasons being of
    ``ACCOUNT`` (a word that was typed is the unit's reference), ``PAYER`` (the tenant's phone), ``PAYER_MASK`` (one like
    it) and ``BALANCE`` (the lease owes just this). One statement for all of them.
    """
    found: dict[str, list[dict[str, Any]]] = {str(one): [] for one in ids}
    if not ids:
        return found
    values = {
        "agency_id": tenant_of(session).agency_id,
        "ids": [str(one) for one in ids],
        "most": MOST_SUGGESTIONS,
    }
    for row in session.execute(_SUGGEST, values).mappings():
        shown = dict(row)
        found[str(shown.pop("id"))].append(shown)
    return found


def match(
    session: Session, unmatched_id: uuid.UUID, lease_id: uuid.UUID, now: dt.datetime | None = None
) -> uuid.UUID:
    """Place money that waits: it is a payment of the lease, allocated to its oldest invoices; the payment's id.

    Raises:
        NotFound: there is no such receipt in this agency.
        Conflict: it is matched already.
        Invalid: there is no such lease.
    """
    now = now or dt.datetime.now(dt.UTC)
    lock_receipt(session, _receipt(session, unmatched_id))
    lease = _lease(session, lease_id, now)
    waiting = session.execute(
        select(UnmatchedReceipt)
        .where(
            UnmatchedReceipt.agency_id == tenant_of(session).agency_id, UnmatchedReceipt.id == unmatched_id
        )
        .execution_options(populate_existing=True)
    ).scalar_one()
    if waiting.payment_id is not None:
        raise Conflict(f"It is matched already: it is the payment {waiting.payment_id}.")
    seen = _seen(waiting)
    payment_id = record(session, lease, seen).id
    claim(session, seen.receipt, payment_id, now)
    end_receipt_alert(session, seen.receipt)
    by = tenant_of(session).actor
    note_evidence(
        session, payment_id, seen.source, **seen.evidence(says="paid", matched_by="PERSON", person=by)
    )
    return payment_id


def _receipt(session: Session, unmatched_id: uuid.UUID) -> str:
    found = session.execute(
        select(UnmatchedReceipt.receipt).where(
            UnmatchedReceipt.agency_id == tenant_of(session).agency_id, UnmatchedReceipt.id == unmatched_id
        )
    ).scalar_one_or_none()
    if found is None:
        raise NotFound(f"There is no unmatched receipt {unmatched_id}.")
    return found


def _lease(session: Session, lease_id: uuid.UUID, now: dt.datetime) -> billing.LockedLease:
    try:
        return billing.lock_lease(session, lease_id, now)
    except NotFound:
        raise Invalid.field("lease_id", "there is no lease with this id") from None


def _seen(waiting: UnmatchedReceipt) -> Seen:
    """The money as it was seen when it came."""
    payer = Payer(digest=waiting.payer_hash)
    if waiting.payer_phone is not None:
        payer = payer_of(waiting.payer_phone)
    elif waiting.payer is not None:
        payer = payer_of(waiting.payer)
    return Seen(
        source="PULL" if waiting.source == "PULL" else "C2B",
        receipt=waiting.receipt,
        amount=waiting.amount,
        paid_at=waiting.received_at,
        account=waiting.account_typed,
        payer=payer,
        inbox_id=waiting.inbox_id,
    )
