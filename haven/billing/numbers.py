"""Gapless numbers of an agency's invoices, receipts and credit notes."""

from __future__ import annotations

from typing import Final, Literal

from sqlalchemy import text
from sqlalchemy.orm import Session

from haven.db.session import tenant_of

# The row stays locked until the transaction ends: a rollback gives its numbers back, so there is no gap.
_TAKE: Final = text(
    "INSERT INTO counter AS c (agency_id, name, value) VALUES (:agency_id, :name, :count)"
    " ON CONFLICT (agency_id, name) DO UPDATE SET value = c.value + excluded.value RETURNING value"
)


def take(session: Session, name: Literal["INVOICE", "RECEIPT", "CREDIT_NOTE"], count: int = 1) -> int:
    """The first of ``count`` new numbers in a row, for use in this very transaction."""
    values = {"agency_id": tenant_of(session).agency_id, "name": name, "count": count}
    last: int = session.execute(_TAKE, values).scalar_one()
    return last - count + 1


def invoice_number(number: int) -> str:
    """An invoice's number as people read it: ``INV-000042``."""
    return f"INV-{number:06}"


def receipt_number(number: int) -> str:
    """A receipt's number as people read it: ``RCT-000042``."""
    return f"RCT-{number:06}"


def credit_note_number(number: int) -> str:
    """A credit note's number as people read it: ``CN-000042``."""
    return f"CN-{number:06}"
