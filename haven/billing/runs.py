"""The month's rent: an invoice for every lease that is active in it, issued, once however often it is asked for.

A lease is billed for the days of the month it covers, the last ones of a lease that has ended since too. Its first invoice also asks for the deposit. Rent is
due on the lease's billing day, or on the first day it is for where that is later. Each batch is a transaction
of its own, so a run that is cancelled or killed goes on where it stopped: what is billed is not billed again.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Protocol

from sqlalchemy import Select, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from haven.billing import ledger
from haven.billing.allocation import apply_credit
from haven.billing.days import agency_day
from haven.billing.issuing import Charge, Line, issue_charges, plan_afresh, tell_issued
from haven.billing.models import Invoice, InvoiceLine
from haven.billing.proration import due_date, last_day, month_of, prorated, stay
from haven.db.session import tenant_of
from haven.leasing.models import Lease
from haven.operations.jobs import submit

BATCH: Final = 500
"""Leases in one transaction: their rows and the invoice counter stay locked for its time (about 0.3 s)."""

_LET: Final = ("ACTIVE", "ENDED", "TERMINATED")
"""Statuses of a lease that was agreed: between its dates it owes rent, whatever became of it later."""


class RunContext(Protocol):
    """What a run needs of the job that it is."""

    def session(self) -> AbstractContextManager[Session]:
        """A transaction of the agency."""

    def progress(self, done: int, total: int, message: str = "") -> None:
        """Tell how far it is."""

    def check_cancelled(self) -> None:
        """Raise if somebody has cancelled the job."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """How many leases were billed in this run, and for how much altogether."""

    period: str
    invoices: int
    total: Decimal


@dataclass(frozen=True, slots=True)
class _Due:
    """A lease to be billed."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    start_date: dt.date
    end_date: dt.date | None
    rent_amount: Decimal
    deposit_amount: Decimal
    billing_day: int
    is_first: bool


def request_run(session: Session, period: str) -> uuid.UUID:
    """Ask for the month's rent as a job; the job's id, which is that of the one under way if there is one.

    Args:
        period: the month, ``2026-11``.

    Raises:
        Invalid: ``period`` is not a month.
    """
    month_of(period)
    return submit(session, "rent_run", {"period": period}, unique_key=period)


def run_period(context: RunContext, period: str, now: dt.datetime | None = None) -> RunResult:
    """Bill every lease of the agency that was active on a day of the month.

    Raises:
        Invalid: ``period`` is not a month.
        Whatever ``context.check_cancelled()`` raises: what is billed by then stays billed.
    """
    month = month_of(period)
    now = now or dt.datetime.now(dt.UTC)
    with context.session() as session:
        expected: int = session.execute(
            select(func.count()).select_from(_unbilled(session, month, None).subquery())
        ).scalar_one()
    invoices, total, after, seen = 0, ledger.NOUGHT, None, 0
    while True:
        context.check_cancelled()
        with context.session() as session:
            plan_afresh(session)
            lease_ids = _lock_batch(session, month, after)
            billed = _bill(session, month, lease_ids, now)
        if not lease_ids:
            return RunResult(period, invoices, total)
        after, seen = lease_ids[-1], seen + len(lease_ids)
        invoices += len(billed)
        total += sum((charge.total for charge in billed), ledger.NOUGHT)
        context.progress(seen, max(seen, expected), f"{invoices} invoices issued")


def _unbilled(session: Session, month: dt.date, after: uuid.UUID | None) -> Select[Any]:
    """The ids of leases to bill, by id; reads lease(agency_id, status, id)."""
    agency_id = tenant_of(session).agency_id
    query = select(Lease.id).where(
        Lease.agency_id == agency_id,
        Lease.status.in_(_LET),
        Lease.start_date <= last_day(month),
        or_(Lease.end_date.is_(None), Lease.end_date >= month),
        ~_is_billed(month),
    )
    return query if after is None else query.where(Lease.id > after)


def _is_billed(month: dt.date) -> Any:
    return exists().where(
        Invoice.agency_id == Lease.agency_id, Invoice.lease_id == Lease.id, Invoice.run_period == month
    )


def _lock_batch(session: Session, month: dt.date, after: uuid.UUID | None) -> list[uuid.UUID]:
    query = _unbilled(session, month, after).order_by(Lease.id).limit(BATCH)
    return list(session.execute(query.with_for_update(of=Lease, key_share=True)).scalars())


def _bill(session: Session, month: dt.date, lease_ids: Sequence[uuid.UUID], now: dt.datetime) -> list[Charge]:
    """Invoice the locked leases and issue the invoices."""
    if not lease_ids:
        return []
    charges = [_charge(month, due) for due in _due(session, month, lease_ids)]
    if not charges:
        return []
    day = agency_day(session, now)
    issue_charges(session, charges, day, now)
    apply_credit(session, [charge.lease_id for charge in charges], day.today, now)
    tell_issued(session, [charge.invoice_id for charge in charges])
    return charges


def _due(session: Session, month: dt.date, lease_ids: Sequence[uuid.UUID]) -> list[_Due]:
    """What is needed of the locked leases. Asked after the lock, so that a run beside this one is seen."""
    agency_id = tenant_of(session).agency_id
    charged_before = exists().where(
        Invoice.agency_id == Lease.agency_id,
        Invoice.lease_id == Lease.id,
        Invoice.status != "VOID",
        InvoiceLine.agency_id == Invoice.agency_id,
        InvoiceLine.invoice_id == Invoice.id,
        InvoiceLine.kind.in_(("RENT", "DEPOSIT")),
    )
    rows = session.execute(
        select(
            Lease.id,
            Lease.tenant_id,
            Lease.start_date,
            Lease.end_date,
            Lease.rent_amount,
            Lease.deposit_amount,
            Lease.billing_day,
            ~charged_before,
        )
        .where(and_(Lease.agency_id == agency_id, Lease.id.in_(lease_ids)), ~_is_billed(month))
        .order_by(Lease.id)
    )
    return [_Due(*row) for row in rows]


def _charge(month: dt.date, lease: _Due) -> Charge:
    days = stay(month, lease.start_date, lease.end_date)
    assert days is not None, "a lease outside the month is not asked for"
    is_whole = days.first == month and days.last == last_day(month)
    part = "" if is_whole else f", {days.first.day} to {days.last.day}"
    rent = prorated(lease.rent_amount, month, days.days)
    lines = [Line("RENT", f"Rent for {month:%B %Y}{part}", rent)]
    if lease.is_first and lease.deposit_amount:
        lines.append(Line("DEPOSIT", "Deposit", lease.deposit_amount))
    due_at = due_date(month, lease.billing_day, days.first)
    return Charge(lease.id, lease.tenant_id, days.first, days.last, due_at, lines, run_period=month)
