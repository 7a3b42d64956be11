"""What is collected for owners: as an invoice is paid, its rent becomes the owner's, less the management fee.

A shilling paid for an invoice pays its rent first, then its other charges, its deposits last: a deposit is the
tenant's money, not the owner's. What has been passed on of each invoice is kept in ``owner_share``; after every
event the difference to what is paid now is posted. So reversals, voids and credit notes need no rule of their own.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import Any, Final

from sqlalchemy.orm import Session

from haven.billing.ledger import (
    MANAGEMENT_FEE_INCOME,
    NOUGHT,
    OTHER_TO_OWNERS,
    OWNER_PAYABLE,
    RENT_TO_OWNERS,
    Entry,
    Posting,
)
from haven.billing.numbers import invoice_number
from haven.db.session import tenant_of
from haven.db.statements import Statement

# ``old`` is null for a row that is new (PostgreSQL 18). An invoice of a property without an owner gives no row.
# It goes from row to row by their keys: as one join of eight tables it took 4 ms to plan, and 0.3 ms to run.
OWNED: Final = """
    charged AS MATERIALIZED (
      SELECT i.id, i.number, i.paid, i.total - i.credited AS total,
             (SELECT property_id FROM unit
               WHERE agency_id = :agency_id
                 AND id = (SELECT unit_id FROM lease WHERE agency_id = :agency_id AND id = i.lease_id))
             AS property_id
        FROM {source}
    ), agreed AS MATERIALIZED (
      SELECT c.*, s.fee_percent,
             coalesce(s.owner_id, (SELECT owner_id FROM property
                                    WHERE agency_id = :agency_id AND id = c.property_id)) AS owner_id
        FROM charged c LEFT JOIN owner_share s ON s.agency_id = :agency_id AND s.invoice_id = c.id
    ), divided AS MATERIALIZED (
      SELECT a.id, a.number, a.paid, a.owner_id,
             coalesce(a.fee_percent, (SELECT management_fee_percent FROM owner
                                       WHERE agency_id = :agency_id AND id = a.owner_id)) AS fee_percent,
             greatest(line.rent - note.rent, 0) AS rent,
             greatest(a.total - (line.deposit - note.deposit), 0) AS income
        FROM agreed a
        CROSS JOIN LATERAL (
          SELECT coalesce(sum(amount) FILTER (WHERE kind = 'RENT'), 0) AS rent,
                 coalesce(sum(amount) FILTER (WHERE kind = 'DEPOSIT'), 0) AS deposit
            FROM invoice_line WHERE agency_id = :agency_id AND invoice_id = a.id) line
        CROSS JOIN LATERAL (
          SELECT coalesce(sum(amount) FILTER (WHERE kind = 'RENT'), 0) AS rent,
                 coalesce(sum(amount) FILTER (WHERE kind = 'DEPOSIT'), 0) AS deposit
            FROM credit_note_line WHERE agency_id = :agency_id AND invoice_id = a.id) note
       WHERE a.owner_id IS NOT NULL
    ), now_due AS (
      SELECT id, owner_id, fee_percent, least(paid, income, rent) AS rent,
             least(paid, income) - least(paid, income, rent) AS other
        FROM divided
    ), shared AS (
      INSERT INTO owner_share AS s (agency_id, id, invoice_id, owner_id, fee_percent, rent, other, fee)
      SELECT :agency_id, uuidv7(), id, owner_id, fee_percent, rent, other, round(rent * fee_percent / 100, 2)
        FROM now_due ORDER BY id
      ON CONFLICT (agency_id, invoice_id)
         DO UPDATE SET rent = excluded.rent, other = excluded.other, fee = excluded.fee
      RETURNING invoice_id, owner_id, new.rent - coalesce(old.rent, 0) AS rent,
                new.other - coalesce(old.other, 0) AS other, new.fee - coalesce(old.fee, 0) AS fee
    ), owned AS (
      SELECT s.invoice_id, divided.number, s.owner_id, s.rent, s.other, s.fee
        FROM shared s JOIN divided ON divided.id = s.invoice_id
    )
"""
"""Common table expressions that end in ``owned``: what has become the owners' since the invoices ``i``, which come from
``{source}``, were last looked at."""
_SHARE: Final = Statement(
    "WITH"  # noqa: S608  nobody's text
    + OWNED.format(
        source="invoice i WHERE i.agency_id = :agency_id AND i.id = ANY (CAST(:invoice_ids AS uuid[]))"
    )
    + "SELECT invoice_id, number, owner_id, rent, other, fee FROM owned ORDER BY invoice_id"
)


def owner_postings(session: Session, invoice_ids: Collection[uuid.UUID], at: dt.datetime) -> list[Posting]:
    """What has become the owners', or is theirs no more, since these invoices were last looked at.

    One statement, whatever their number; none for none. The leases must be locked; the postings are the
    caller's to write. They name the invoice and not the payment, so a reversal does not mirror them.
    """
    if not invoice_ids:
        return []
    agency_id = tenant_of(session).agency_id
    ids = [str(one) for one in invoice_ids]
    return postings_of_owned(_SHARE.rows(session, agency_id=agency_id, invoice_ids=ids), at)


def postings_of_owned(rows: Iterable[Any], at: dt.datetime) -> list[Posting]:
    """What rows of ``owned`` (invoice, number, owner, rent, other, fee) post."""
    postings = []
    for invoice_id, number, owner_id, rent, other, fee in rows:
        name = invoice_number(number)
        collected = (
            _debit(RENT_TO_OWNERS, rent),
            _debit(OTHER_TO_OWNERS, other),
            _debit(OWNER_PAYABLE, -(rent + other), owner_id),
        )
        charged = (_debit(OWNER_PAYABLE, fee, owner_id), _debit(MANAGEMENT_FEE_INCOME, -fee))
        postings.append(Posting("COLLECTED", at, f"{name} collected", collected, invoice_id=invoice_id))
        postings.append(
            Posting("MANAGEMENT_FEE", at, f"Management fee on {name}", charged, invoice_id=invoice_id)
        )
    return postings


def _debit(code: str, amount: Decimal, owner_id: uuid.UUID | None = None) -> Entry:
    """A debit, or, below nought, a credit."""
    return Entry(code, max(amount, NOUGHT), max(-amount, NOUGHT), owner_id=owner_id)
