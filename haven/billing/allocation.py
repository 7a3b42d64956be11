"""Which shillings of which payment pay which invoice.

Money and invoices of a lease are each laid end to end; where two stretches overlap, that payment pays that
invoice. So one statement settles one payment, or the credit of a thousand leases.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, NamedTuple

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from haven.billing import ledger
from haven.billing.locks import LockedLease
from haven.billing.owner_shares import OWNED, owner_postings, postings_of_owned
from haven.db.session import tenant_of
from haven.db.statements import Statement

UNPAID: Final = ("OPEN", "PARTIALLY_PAID", "OVERDUE")
"""The statuses of an invoice that is owed."""


@dataclass(frozen=True, slots=True)
class Share:
    """``amount`` of a payment for an invoice."""

    lease_id: uuid.UUID
    payment_id: uuid.UUID
    invoice_id: uuid.UUID
    amount: Decimal


def status_of(total: Decimal, paid: Decimal, due_at: dt.date, today: dt.date) -> str:
    """The status of an issued invoice that is not void. ``_STATUS`` below says the same to the database.

    Args:
        total: less what is credited.
    """
    if paid >= total:
        return "PAID"
    if due_at < today:
        return "OVERDUE"
    return "PARTIALLY_PAID" if paid > 0 else "OPEN"


_STATUS: Final = (
    "CASE WHEN {paid} >= i.total - i.credited THEN 'PAID' WHEN i.due_at < :today THEN 'OVERDUE'"
    " WHEN {paid} > 0 THEN 'PARTIALLY_PAID' ELSE 'OPEN' END"
)


_SHARE_OUT: Final = """
    owed AS (
      SELECT id, lease_id, sum(balance) OVER w - balance AS begins, sum(balance) OVER w AS ends
        FROM invoice
       WHERE agency_id = :agency_id AND lease_id {leases}
         AND status IN ('OPEN', 'PARTIALLY_PAID', 'OVERDUE') AND balance > 0
      WINDOW w AS (PARTITION BY lease_id ORDER BY {order})
    ), share AS MATERIALIZED (
      SELECT money.lease_id, money.id AS payment_id, owed.id AS invoice_id,
             least(money.ends, owed.ends) - greatest(money.begins, owed.begins) AS amount
        FROM money JOIN owed USING (lease_id)
       WHERE money.begins < owed.ends AND owed.begins < money.ends
    ), allocated AS (
      INSERT INTO allocation AS a (agency_id, id, payment_id, invoice_id, amount)
      SELECT :agency_id, uuidv7(), payment_id, invoice_id, amount FROM share
      ON CONFLICT (agency_id, payment_id, invoice_id) DO UPDATE SET amount = a.amount + excluded.amount
    ), paid AS (
      UPDATE invoice i
         SET paid = i.paid + s.amount, status = {status},
             version = i.version + 1, updated_at = now()
        FROM (SELECT invoice_id, sum(amount) AS amount FROM share GROUP BY invoice_id) s
       WHERE i.agency_id = :agency_id AND i.id = s.invoice_id
      RETURNING i.id, i.lease_id, i.number, i.paid, i.total, i.credited
    )
"""
_ALLOCATE: Final = """
    WITH money AS (
      SELECT id, lease_id, sum(unallocated) OVER w - unallocated AS begins, sum(unallocated) OVER w AS ends
        FROM payment
       WHERE agency_id = :agency_id AND unallocated > 0 AND {money}
      WINDOW w AS (PARTITION BY lease_id ORDER BY paid_at, id)
    ), {shared}, spent AS (
      UPDATE payment p
         SET allocated = p.allocated + s.amount, version = p.version + 1, updated_at = now()
        FROM (SELECT payment_id, sum(amount) AS amount FROM share GROUP BY payment_id) s
       WHERE p.agency_id = :agency_id AND p.id = s.payment_id
    )
    SELECT lease_id, payment_id, invoice_id, amount FROM share
"""
# The receipt's number is taken only where the receipt is free: a number that nobody has would be a gap.
_COMPLETE: Final = """
    WITH money AS MATERIALIZED (
      SELECT id, lease_id, CAST(0 AS numeric) AS begins, amount AS ends
        FROM payment
       WHERE agency_id = :agency_id AND id = :payment_id AND version = :version
         AND NOT EXISTS (SELECT FROM payment
                          WHERE agency_id = :agency_id AND method = 'MPESA' AND reference = :reference)
    ), {shared}, {owned}, number AS (
      INSERT INTO counter AS c (agency_id, name, value) SELECT :agency_id, 'RECEIPT', 1 FROM money
      ON CONFLICT (agency_id, name) DO UPDATE SET value = c.value + excluded.value
      RETURNING value
    ), completed AS (
      UPDATE payment p
         SET status = 'COMPLETED', paid_at = :paid_at, reference = :reference, receipt_number = number.value,
             allocated = (SELECT coalesce(sum(amount), 0) FROM share),
             failure_code = NULL, failure_reason = NULL, version = p.version + 1, updated_at = now()
        FROM number
       WHERE p.agency_id = :agency_id AND p.id = :payment_id AND p.version = :version
      RETURNING p.receipt_number, p.allocated, p.unallocated, p.version, p.updated_at
    )
    SELECT completed.*,
           EXISTS (SELECT FROM unmatched_receipt
                    WHERE agency_id = :agency_id AND receipt = :reference AND payment_id IS NULL) AS is_waiting,
           share.invoice_id, owned.number, owned.owner_id, owned.rent, owned.other, owned.fee
      FROM completed LEFT JOIN share ON true LEFT JOIN owned USING (invoice_id)
     ORDER BY share.invoice_id
"""
_OF_MONEY: Final = "IN (SELECT lease_id FROM money)"
_PAID_NOW: Final = _STATUS.format(paid="(i.paid + s.amount)")
_NAMED_FIRST: Final = _SHARE_OUT.format(
    order="id = :first_id DESC NULLS LAST, due_at, id", status=_PAID_NOW, leases=_OF_MONEY
)
_OLDEST_FIRST: Final = _SHARE_OUT.format(order="due_at, id", status=_PAID_NOW, leases=_OF_MONEY)
_ONE_PAYMENT: Final = text(_ALLOCATE.format(money="id = :payment_id", shared=_NAMED_FIRST))
# One of each lease, so an invoice that is named is its payment's. Leases and payments are given by their ids where they are
# read: on tables that had not been analysed yet, every owed invoice of the agency was compared with every payment. Not where
# they are written: there each one's share was looked up among all of the ids, and a thousand took a million.
_EACH_PAYMENT: Final = text(
    _ALLOCATE.format(
        money="id = ANY (CAST(:payment_ids AS uuid[]))",
        shared=_SHARE_OUT.format(
            order="id = ANY (CAST(:first_ids AS uuid[])) DESC, due_at, id",
            status=_PAID_NOW,
            leases="= ANY (CAST(:lease_ids AS uuid[]))",
        ),
    )
)
_ALL_CREDIT: Final = text(
    _ALLOCATE.format(money="lease_id = ANY (CAST(:lease_ids AS uuid[]))", shared=_OLDEST_FIRST)
)
_COMPLETE_PAYMENT: Final = Statement(
    _COMPLETE.format(shared=_NAMED_FIRST, owned=OWNED.format(source="paid i"))
)

_RELEASE: Final = """
    WITH gone AS (
      DELETE FROM allocation WHERE agency_id = :agency_id AND {condition}
      RETURNING payment_id, invoice_id, amount
    ), unpaid AS (
      UPDATE invoice i
         SET paid = i.paid - g.amount, status = {status}, version = i.version + 1, updated_at = now()
        FROM (SELECT invoice_id, sum(amount) AS amount FROM gone GROUP BY invoice_id) g
       WHERE i.agency_id = :agency_id AND i.id = g.invoice_id
    ), returned AS (
      UPDATE payment p
         SET allocated = p.allocated - g.amount, version = p.version + 1, updated_at = now()
        FROM (SELECT payment_id, sum(amount) AS amount FROM gone GROUP BY payment_id) g
       WHERE p.agency_id = :agency_id AND p.id = g.payment_id
    )
    SELECT CAST(:lease_id AS uuid), payment_id, invoice_id, amount FROM gone ORDER BY payment_id, invoice_id
"""
_RELEASE_PAYMENT: Final = text(
    _RELEASE.format(condition="payment_id = :payment_id", status=_STATUS.format(paid="(i.paid - g.amount)"))
)
_RELEASE_INVOICE: Final = text(_RELEASE.format(condition="invoice_id = :invoice_id", status="'VOID'"))

# The money that came last is given back first; what an allocation keeps stays where it is.
_CREDIT_INVOICE: Final = text(
    """
    WITH laid AS (
      SELECT a.id, a.payment_id, a.amount,
             sum(a.amount) OVER (ORDER BY a.created_at DESC, a.id DESC) - a.amount AS begins,
             i.paid + i.credited + :amount - i.total AS over
        FROM invoice i JOIN allocation a ON a.agency_id = i.agency_id AND a.invoice_id = i.id
       WHERE i.agency_id = :agency_id AND i.id = :invoice_id
    ), freed AS MATERIALIZED (
      SELECT id, payment_id, amount, least(amount, over - begins) AS given FROM laid WHERE begins < over
    ), gone AS (
      DELETE FROM allocation a USING freed f
       WHERE a.agency_id = :agency_id AND a.id = f.id AND f.given = f.amount
    ), less AS (
      UPDATE allocation a SET amount = a.amount - f.given FROM freed f
       WHERE a.agency_id = :agency_id AND a.id = f.id AND f.given < f.amount
    ), credited AS (
      UPDATE invoice i
         SET credited = i.credited + :amount, paid = i.paid - s.given, version = i.version + 1,
             updated_at = now(),
             status = CASE WHEN i.paid - s.given >= i.total - i.credited - :amount THEN 'PAID'
                           WHEN i.due_at < :today THEN 'OVERDUE'
                           WHEN i.paid - s.given > 0 THEN 'PARTIALLY_PAID' ELSE 'OPEN' END
        FROM (SELECT coalesce(sum(given), 0) AS given FROM freed) s
       WHERE i.agency_id = :agency_id AND i.id = :invoice_id
    ), returned AS (
      UPDATE payment p
         SET allocated = p.allocated - f.given, version = p.version + 1, updated_at = now()
        FROM freed f WHERE p.agency_id = :agency_id AND p.id = f.payment_id
    )
    SELECT CAST(:lease_id AS uuid), payment_id, CAST(:invoice_id AS uuid), given FROM freed
    """
)


def allocate_payment(
    session: Session, lease: LockedLease, payment_id: uuid.UUID, first_id: uuid.UUID | None
) -> list[Share]:
    """Let a completed payment pay what its lease owes: the named invoice first, then the oldest (due date).

    What is left over stays the payment's ``unallocated``: the tenant's credit. The ledger is the caller's to
    write.
    """
    values = {
        "agency_id": tenant_of(session).agency_id,
        "payment_id": payment_id,
        "first_id": first_id,
        "today": lease.today,
    }
    return [Share(*row) for row in session.execute(_ONE_PAYMENT, values)]


def allocate_payments(
    session: Session,
    lease_of: Mapping[uuid.UUID, uuid.UUID],
    first_ids: Sequence[uuid.UUID],
    today: dt.date,
) -> list[Share]:
    """The same for many payments by one statement.

    Args:
        lease_of: payment → its lease, each another one.
        first_ids: the invoices that they name.
    """
    values = {
        "agency_id": tenant_of(session).agency_id,
        "payment_ids": [str(one) for one in lease_of],
        "lease_ids": [str(one) for one in lease_of.values()],
        "first_ids": [str(one) for one in first_ids],
        "today": today,
    }
    return [Share(*row) for row in session.execute(_EACH_PAYMENT, values)]


_OF_PAYMENT: Final = 6
"""Columns of what completing gives that are the payment's; those of what is owned follow."""


class Completion(NamedTuple):
    """What completing a payment has made of its row, and what follows for owners."""

    receipt_number: int
    allocated: Decimal
    unallocated: Decimal
    version: int
    updated_at: dt.datetime
    is_waiting: bool
    """Its reference waits among the unmatched receipts, in suspense."""
    owner_postings: list[ledger.Posting]
    """What has become the owners' of the invoices that it pays."""


def complete_payment(
    session: Session,
    lease: LockedLease,
    payment_id: uuid.UUID,
    version: int,
    first_id: uuid.UUID | None,
    *,
    paid_at: dt.datetime,
    reference: str | None,
) -> Completion | None:
    """Make a locked payment COMPLETED: numbered, and paying what ``allocate_payment`` would let it pay. One statement.

    What of that is the owners' is worked out with it (``owner_postings``).

    None, and nothing is changed, where an M-Pesa payment has the ``reference`` already, or the payment another
    ``version``. The ledger is the caller's to write.
    """
    rows = _COMPLETE_PAYMENT.rows(
        session,
        agency_id=tenant_of(session).agency_id,
        payment_id=payment_id,
        version=version,
        first_id=first_id,
        today=lease.today,
        paid_at=paid_at,
        reference=reference,
    )
    if not rows:
        return None
    owned = [row[_OF_PAYMENT:] for row in rows if row.owner_id is not None]
    of_payment: tuple[Any, ...] = rows[0][:_OF_PAYMENT]
    return Completion._make((*of_payment, postings_of_owned(owned, paid_at)))


def apply_credit(
    session: Session, lease_ids: Sequence[uuid.UUID], today: dt.date, now: dt.datetime
) -> list[Share]:
    """Let credit pay what is owed: the oldest payment first, the oldest invoice first; and post it.

    Args:
        lease_ids: locked leases. One statement over all of them, and three more where there was credit.
    """
    values = {
        "agency_id": tenant_of(session).agency_id,
        "lease_ids": [str(lease_id) for lease_id in lease_ids],
        "today": today,
    }
    shares = [Share(*row) for row in session.execute(_ALL_CREDIT, values)]
    moved = [
        ledger.credit_posting(
            "CREDIT_APPLIED", now, "Credit pays an invoice", s.lease_id, s.payment_id, s.invoice_id, s.amount
        )
        for s in shares
    ]
    ledger.post(session, [*moved, *owner_postings(session, {s.invoice_id for s in shares}, now)])
    return shares


def release_payment(session: Session, lease: LockedLease, payment_id: uuid.UUID) -> list[Share]:
    """Take back what a payment paid: its invoices are owed again."""
    return _released(session, _RELEASE_PAYMENT, lease, payment_id=payment_id, today=lease.today)


def release_invoice(session: Session, lease: LockedLease, invoice_id: uuid.UUID) -> list[Share]:
    """Take back what was paid for an invoice that is being voided: the payments are credit again."""
    return _released(session, _RELEASE_INVOICE, lease, invoice_id=invoice_id)


def credit_invoice(
    session: Session, lease: LockedLease, invoice_id: uuid.UUID, amount: Decimal
) -> list[Share]:
    """Take ``amount`` off what is owed on an invoice; what was paid beyond that is credit again, and is given."""
    return _released(session, _CREDIT_INVOICE, lease, invoice_id=invoice_id, amount=amount, today=lease.today)


def credit_again(
    kind: str, at: dt.datetime, description: str, shares: Iterable[Share]
) -> list[ledger.Posting]:
    """What is posted when money paid for an invoice has been taken back from it."""
    return [
        ledger.credit_posting(kind, at, description, s.lease_id, s.payment_id, s.invoice_id, -s.amount)
        for s in shares
    ]


def _released(
    session: Session, statement: TextClause, lease: LockedLease, **values: uuid.UUID | dt.date | Decimal
) -> list[Share]:
    known = {"agency_id": tenant_of(session).agency_id, "lease_id": lease.id}
    return [Share(*row) for row in session.execute(statement, {**known, **values})]
