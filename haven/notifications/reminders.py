"""What tenants are told of invoices: that one was issued, that it falls due, that it is overdue. Asked for by the clock.

Found by looking at the invoices, so that a clock that stood still, or ran twice, loses nothing and says nothing twice; and
issuing ten thousand invoices waits for none of it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from haven.billing import service as billing
from haven.db.session import tenant_of
from haven.identity.models import Agency
from haven.notifications.queueing import queue_many
from haven.notifications.service import give_up_left_behind

BATCH: Final = 200
"""Invoices of one kind in one turn of the clock."""
_WAKING: Final = range(8, 20)
"""Hours of the agency's day in which a phone may beep."""

# Only those whose tenant can be reached and wants to be: else the same ones would be looked at for ever. Reads
# invoice(agency_id, due_at) and invoice(agency_id, issued_at), and notification_once_key.
_UNTOLD: Final = """
    SELECT i.id, i.number, i.lease_id, i.tenant_id, i.total, i.balance, i.currency, i.due_at
      FROM invoice i
      JOIN tenant t ON t.agency_id = i.agency_id AND t.id = i.tenant_id
     WHERE i.agency_id = :agency_id AND {condition}
       AND NOT EXISTS (SELECT FROM notification n
                        WHERE n.agency_id = :agency_id AND n.about_id = i.id AND n.kind = :kind
                          AND n.occasion = :occasion)
       AND (t.email > '' AND NOT t.opt_outs && ARRAY['EMAIL', 'EMAIL:' || :kind]
            OR t.phone > '' AND NOT t.opt_outs && ARRAY['SMS', 'SMS:' || :kind])
     ORDER BY i.id LIMIT :limit
"""
_ISSUED: Final = text(_UNTOLD.format(condition="i.issued_at >= :since AND i.status NOT IN ('DRAFT', 'VOID')"))
_OWED: Final = text(
    _UNTOLD.format(
        condition="i.due_at = :due_at AND i.balance > 0 AND i.status IN ('OPEN', 'PARTIALLY_PAID', 'OVERDUE')"
    )
)


@dataclass(frozen=True, slots=True)
class _Turn:
    """One thing to tell of: which invoices, and what tells it apart from other times."""

    kind: str
    occasion: str
    statement: Any
    values: dict[str, Any]


def tell_of_invoices(session: Session, now: dt.datetime) -> int:
    """Tell of what is due to be told, by day only; how many messages were queued (for the clock)."""
    given_up = give_up_left_behind(session, now)
    day = billing.agency_day(session, now)
    if now.astimezone(day.zone).hour not in _WAKING:
        return given_up
    agency = session.execute(
        select(Agency.notify_invoices, Agency.reminders_before_due, Agency.reminders_after_due).where(
            Agency.id == tenant_of(session).agency_id
        )
    ).one()
    turns = _turns(agency, day.today, now)
    return given_up + sum(_tell(session, turn) for turn in turns)


def _turns(agency: Any, today: dt.date, now: dt.datetime) -> Iterator[_Turn]:
    if agency.notify_invoices:
        yield _Turn("INVOICE_ISSUED", "", _ISSUED, {"since": now - dt.timedelta(days=1)})
    for days in agency.reminders_before_due:
        yield _Turn("RENT_DUE", f"{days} days before", _OWED, {"due_at": today + dt.timedelta(days=days)})
    for days in agency.reminders_after_due:
        yield _Turn("RENT_OVERDUE", f"{days} days after", _OWED, {"due_at": today - dt.timedelta(days=days)})


def _tell(session: Session, turn: _Turn) -> int:
    values = {
        "agency_id": tenant_of(session).agency_id,
        "kind": turn.kind,
        "occasion": turn.occasion,
        "limit": BATCH,
    }
    rows = session.execute(turn.statement, values | turn.values).all()
    facts = {row.id: _facts(row) for row in rows}
    return queue_many(session, turn.kind, facts, occasion=turn.occasion) if facts else 0


def _facts(row: Any) -> dict[str, Any]:
    return {
        "number": billing.invoice_number(row.number),
        "lease_id": str(row.lease_id),
        "tenant_id": str(row.tenant_id),
        "total": row.total,
        "balance": row.balance,
        "currency": row.currency,
        "due_at": row.due_at,
    }
