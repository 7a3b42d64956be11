"""What happened last in an agency: money received and taken back, invoices and credit notes, leases begun and ended."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.orm import Session

from haven.billing import service as billing
from haven.db.session import tenant_of
from haven.insight.queries import query

EVENTS: Final = query("events")


@dataclass(frozen=True, slots=True)
class Event:
    """A kind of event: what it is called, what its ``id`` is of, and how its number is written."""

    kind: str
    entity: str
    number: Callable[[int], str] | None = None


KINDS: Final = {
    1: Event("PAYMENT_COMPLETED", "payment", billing.receipt_number),
    2: Event("PAYMENT_REVERSED", "payment", billing.receipt_number),
    3: Event("INVOICE_ISSUED", "invoice", billing.invoice_number),
    4: Event("INVOICE_VOIDED", "invoice", billing.invoice_number),
    5: Event("CREDIT_NOTE_ISSUED", "credit_note", billing.credit_note_number),
    6: Event("LEASE_ACTIVATED", "lease"),
    7: Event("LEASE_TERMINATED", "lease"),
}
"""Rank in ``events.sql`` → kind."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: right after the event of this moment, id and rank."""

    at: dt.datetime
    id: uuid.UUID
    rank: int


def activity(session: Session, limit: int, after: Place | None) -> tuple[list[dict[str, Any]], Place | None]:
    """The latest events, newest first, and where the next page begins, if there is one: one statement."""
    values = {
        "agency_id": tenant_of(session).agency_id,
        "at": "infinity" if after is None else after.at,
        "id": uuid.UUID(int=0) if after is None else after.id,
        "rank": 0 if after is None else after.rank,
        "most": limit + 1,
    }
    rows = session.execute(EVENTS, values).all()
    shown = rows[:limit]
    next_place = Place(shown[-1].at, shown[-1].id, shown[-1].rank) if len(rows) > limit else None
    return [_document(row) for row in shown], next_place


def _document(row: Any) -> dict[str, Any]:
    event = KINDS[row.rank]
    return {
        "at": row.at,
        "kind": event.kind,
        "entity": event.entity,
        "id": row.id,
        "number": event.number(row.number) if event.number and row.number is not None else None,
        "amount": row.amount,
        "method": row.method,
        "lease_id": row.lease_id,
        "tenant_id": row.tenant_id,
        "tenant": row.tenant,
        "unit": row.unit,
        "property_id": row.property_id,
        "property": row.property,
    }
