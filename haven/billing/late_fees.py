"""Late fees: an invoice that still has a balance once its lease's grace days are over costs a fee, once.

A fee is an invoice of its own with one LATE_FEE line, so that the one it is for stays what the tenant was sent,
and the fee can be paid, credited or voided by itself. ``invoice.late_fee_of`` is unique: it is charged once,
whoever asks how often, and one that was voided is not charged again.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from haven.billing import ledger, numbers
from haven.billing.allocation import apply_credit
from haven.billing.days import AgencyDay, agency_day
from haven.billing.issuing import Charge, Line, issue_charges, plan_afresh, tell_issued
from haven.billing.runs import RunContext
from haven.db.session import tenant_of
from haven.errors import Conflict
from haven.leasing.models import Lease
from haven.operations.jobs import submit

BATCH: Final = 500
"""Leases in one transaction."""
LOOK_BACK_DAYS: Final = 31
"""For how long a fee may be charged once it is due. A fee that is agreed today does not charge the debts of years."""


@dataclass(frozen=True, slots=True)
class LateFees:
    """How many fees were charged, and how much they come to."""

    invoices: int
    total: Decimal


# round() of a numeric goes half away from zero: half up to the cent. A balance that costs less than half a cent
# costs nothing. Reads invoice(agency_id, status, due_at, id); a lease has at most 90 days of grace.
_LATE: Final = """
    SELECT {columns}
      FROM invoice i
      JOIN lease l ON l.agency_id = i.agency_id AND l.id = i.lease_id
      CROSS JOIN LATERAL (SELECT CASE l.late_fee_kind WHEN 'FLAT' THEN l.late_fee_amount
                                 ELSE round(i.balance * l.late_fee_amount / 100, 2) END AS amount) fee
     WHERE i.agency_id = :agency_id AND i.status IN ('OPEN', 'PARTIALLY_PAID', 'OVERDUE')
       AND i.due_at BETWEEN CAST(:today AS date) - :look_back_days - 90 AND CAST(:today AS date) - 1
       AND i.due_at + l.grace_days BETWEEN CAST(:today AS date) - :look_back_days AND CAST(:today AS date) - 1
       AND i.balance > 0
       AND i.late_fee_of IS NULL AND l.late_fee_kind <> 'NONE' AND fee.amount > 0
       AND NOT EXISTS (SELECT FROM invoice f WHERE f.agency_id = i.agency_id AND f.late_fee_of = i.id)
       AND {condition}
"""
_LATE_LEASES: Final = text(
    _LATE.format(columns="DISTINCT i.lease_id", condition="i.lease_id > :after")
    + " ORDER BY i.lease_id LIMIT :limit"
)
_LATE_INVOICES: Final = text(
    _LATE.format(
        columns="i.id, i.lease_id, i.tenant_id, i.number, i.period_start, i.period_end, fee.amount",
        condition="i.lease_id = ANY (CAST(:lease_ids AS uuid[]))",
    )
    + " ORDER BY i.due_at, i.id"
)
_BEFORE_ALL: Final = uuid.UUID(int=0)


def request_late_fees(session: Session, now: dt.datetime) -> int:
    """Ask for the job that charges late fees, if there is one to charge; how many jobs (for the clock)."""
    if not _late_leases(session, agency_day(session, now), _BEFORE_ALL, limit=1):
        return 0
    try:
        submit(session, "late_fees", {}, unique_key="late_fees")
    except Conflict:
        # It has finished this very moment: the next look sees what it left.
        return 0
    return 1


def charge_late_fees(context: RunContext, now: dt.datetime | None = None) -> LateFees:
    """Charge every late fee of the agency that is due, each batch in a transaction of its own.

    Raises:
        Whatever ``context.check_cancelled()`` raises: what is charged by then stays charged.
    """
    now = now or dt.datetime.now(dt.UTC)
    invoices, total, after, seen = 0, ledger.NOUGHT, _BEFORE_ALL, 0
    while True:
        context.check_cancelled()
        with context.session() as session:
            plan_afresh(session)
            day = agency_day(session, now)
            lease_ids = _late_leases(session, day, after, BATCH)
            charges = _charge(session, lease_ids, day, now)
        if not lease_ids:
            return LateFees(invoices, total)
        after, seen = lease_ids[-1], seen + len(lease_ids)
        invoices += len(charges)
        total += sum((charge.total for charge in charges), ledger.NOUGHT)
        context.progress(seen, seen, f"{invoices} late fees charged")


def _late_leases(session: Session, day: AgencyDay, after: uuid.UUID, limit: int) -> list[uuid.UUID]:
    values = {**_asked(session, day), "after": after, "limit": limit}
    return list(session.execute(_LATE_LEASES, values).scalars())


def _asked(session: Session, day: AgencyDay) -> dict[str, Any]:
    return {
        "agency_id": tenant_of(session).agency_id,
        "today": day.today,
        "look_back_days": LOOK_BACK_DAYS,
    }


def _charge(
    session: Session, lease_ids: Sequence[uuid.UUID], day: AgencyDay, now: dt.datetime
) -> list[Charge]:
    """Charge what is late of these leases, once they are locked and their credit has paid what it can."""
    if not lease_ids:
        return []
    agency_id = tenant_of(session).agency_id
    leases = select(Lease.id).where(Lease.agency_id == agency_id, Lease.id.in_(lease_ids)).order_by(Lease.id)
    session.execute(leases.with_for_update(key_share=True)).all()
    apply_credit(session, lease_ids, day.today, now)
    values = {**_asked(session, day), "lease_ids": [str(one) for one in lease_ids]}
    # Asked after the lock, so that a payment or a run beside this one is seen.
    charges = [
        Charge(
            late.lease_id,
            late.tenant_id,
            late.period_start,
            late.period_end,
            day.today,
            [Line("LATE_FEE", f"Late fee on {numbers.invoice_number(late.number)}", late.amount)],
            late_fee_of=late.id,
        )
        for late in session.execute(_LATE_INVOICES, values)
    ]
    if charges:
        issue_charges(session, charges, day, now)
        tell_issued(session, [charge.invoice_id for charge in charges])
    return charges
