"""The life of an invoice: draft, issued, void."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Date, cast, delete, func, insert, select, text
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import flag_modified

from haven.billing import ledger, numbers
from haven.billing.allocation import UNPAID, apply_credit, credit_again, release_invoice, status_of
from haven.billing.deposit_held import check_not_overdrawn
from haven.billing.issuing import issued_event
from haven.billing.locks import LockedLease, lock_invoice
from haven.billing.models import Invoice, InvoiceLine
from haven.billing.owner_shares import owner_postings
from haven.billing.proration import due_date
from haven.db.rows import locked
from haven.db.session import tenant_of
from haven.errors import Conflict, Fault, Invalid
from haven.identity.models import Agency
from haven.leasing.models import Lease
from haven.operations.webhooks import emit

MAX_LINES: Final = 200
LINE_KINDS: Final = tuple(ledger.INCOME_OF_LINE)
_CHANGEABLE: Final = frozenset({"lease_id", "period_start", "period_end", "due_at", "lines"})
_LARGEST: Final = Decimal("999999999999.99")


def create(session: Session, body: Mapping[str, Any]) -> uuid.UUID:
    """Make a draft invoice.

    Args:
        body: ``lease_id``, ``period_start``, ``period_end`` (inclusive), ``lines`` and, if wanted,
            ``due_at``; without it the invoice is due on the lease's billing day of the month it begins in,
            but not before it begins. A line is ``{"kind", "description", "amount"}``; the amount of a CREDIT
            is below nought.

    Raises:
        Invalid: there is no such lease, the period ends before it starts, or the lines come to less than
        nought.
    """
    total = _total(body["lines"])
    _check_period(body["period_start"], body["period_end"])
    lease = _lease(session, body["lease_id"])
    invoice = Invoice(
        agency_id=tenant_of(session).agency_id,
        lease_id=lease.id,
        tenant_id=lease.tenant_id,
        currency=lease.currency,
        period_start=body["period_start"],
        period_end=body["period_end"],
        due_at=body.get("due_at") or _usual_due_date(lease, body["period_start"]),
        total=total,
    )
    session.add(invoice)
    session.flush()
    _write_lines(session, invoice.id, body["lines"])
    return invoice.id


def update(session: Session, invoice_id: uuid.UUID, changes: Mapping[str, Any], version: int | None) -> None:
    """Change the given fields of a draft; ``lines`` replaces all of them.

    Raises:
        NotFound, VersionMismatch: see ``haven.db.rows.locked``.
        Conflict: the invoice is issued: void it and make another.
        Invalid: a value breaks a rule of ``create``.
    """
    invoice = locked(session, Invoice, invoice_id, version)
    if invoice.status != "DRAFT":
        raise Conflict(f"{_name(invoice)} is issued and cannot change: void it and make another.")
    unknown = sorted(changes.keys() - _CHANGEABLE)
    if unknown:
        raise Invalid.field(unknown[0], "cannot be changed")
    if "lease_id" in changes:
        _move(session, invoice, changes["lease_id"])
    if "due_at" in changes and changes["due_at"] is None:
        raise Invalid.field("due_at", "must not be null")
    for field in ("period_start", "period_end", "due_at"):
        if field in changes:
            setattr(invoice, field, changes[field])
    _check_period(invoice.period_start, invoice.period_end)
    if "lines" in changes:
        _replace_lines(session, invoice, changes["lines"])
    session.flush()


def remove(session: Session, invoice_id: uuid.UUID, version: int | None) -> None:
    """Delete a draft and its lines.

    Raises:
        NotFound, VersionMismatch: see ``haven.db.rows.locked``.
        Conflict: the invoice has been issued: its number must stay.
    """
    invoice = locked(session, Invoice, invoice_id, version)
    if invoice.status != "DRAFT":
        raise Conflict(f"{_name(invoice)} is issued and is never deleted: void it.")
    session.delete(invoice)
    session.flush()


def issue(
    session: Session, invoice_id: uuid.UUID, version: int | None = None, now: dt.datetime | None = None
) -> None:
    """Issue a draft: it gets its number, is posted to the ledger, and the tenant's credit pays what it can.

    Credit pays the oldest unpaid invoice of the lease first. An invoice of nought is PAID at once and posts
    nothing.

    Raises:
        NotFound: there is none in this agency.
        VersionMismatch: it has another version.
        Conflict: it is issued already, has no lines, or its lease is a draft.
    """
    now = now or dt.datetime.now(dt.UTC)
    invoice, lease = lock_invoice(session, invoice_id, version, now)
    if invoice.status != "DRAFT":
        raise Conflict(f"{_name(invoice)} is already issued.")
    if lease.status == "DRAFT":
        raise Conflict("The lease is a draft: activate it before issuing its invoice.")
    lines = _sums_by_kind(session, invoice_id)
    if not lines:
        raise Conflict("The invoice has no lines.")
    invoice.number = numbers.take(session, "INVOICE")
    invoice.issued_at = now
    invoice.status = status_of(invoice.total, ledger.NOUGHT, invoice.due_at, lease.today)
    session.flush()
    if invoice.total > 0:
        ledger.post(session, [ledger.invoice_posting(invoice.id, lease.id, _name(invoice), now, lines)])
        apply_credit(session, [lease.id], lease.today, now)
    emit(session, "invoice.issued", issued_event(invoice))
    session.expire(invoice)


def void(
    session: Session,
    invoice_id: uuid.UUID,
    reason: str,
    version: int | None = None,
    now: dt.datetime | None = None,
) -> None:
    """Void an issued invoice. What was paid for it is credit again, for the next invoice of the lease.

    A late fee that was charged on it goes with it.

    Raises:
        NotFound: there is none in this agency.
        VersionMismatch: it has another version.
        Conflict: it is a draft (delete it) or void already; it or its late fee has a credit note (credit the
            rest); or the deposit it asked for has been used.
    """
    now = now or dt.datetime.now(dt.UTC)
    if not reason.strip():
        raise Invalid.field("reason", "must say why")
    invoice, lease = lock_invoice(session, invoice_id, version, now)
    if invoice.status == "DRAFT":
        raise Conflict("A draft is not voided: delete it.")
    if invoice.status == "VOID":
        raise Conflict(f"{_name(invoice)} is already void.")
    name = _name(invoice)
    _void(session, invoice, lease, reason.strip(), now)
    fee = _late_fee_on(session, invoice_id)
    if fee is not None:
        _void(session, fee, lease, f"{name} is void: {reason.strip()}", now)
    check_not_overdrawn(session, lease)


def _void(session: Session, invoice: Invoice, lease: LockedLease, reason: str, now: dt.datetime) -> None:
    if invoice.credited > 0:
        raise Conflict(f"{_name(invoice)} has a credit note: credit the rest of it instead of voiding it.")
    name, invoice_id = _name(invoice), invoice.id
    invoice.status = "VOID"
    invoice.voided_at = now
    invoice.void_reason = reason
    session.flush()
    shares = release_invoice(session, lease, invoice_id)
    ledger.mirror_invoice(session, invoice_id, now, f"{name} voided: {reason}")
    freed = credit_again("INVOICE_VOID", now, f"Paid for {name}, now credit", shares)
    ledger.post(session, [*freed, *owner_postings(session, {s.invoice_id for s in shares}, now)])
    session.expire(invoice)


def _late_fee_on(session: Session, invoice_id: uuid.UUID) -> Invoice | None:
    """The late fee charged on an invoice, where something of it still stands."""
    return session.execute(
        select(Invoice).where(
            Invoice.agency_id == tenant_of(session).agency_id,
            Invoice.late_fee_of == invoice_id,
            Invoice.status != "VOID",
            Invoice.credited < Invoice.total,
        )
    ).scalar_one_or_none()


# Rows that another transaction is changing are left for the next sweep: it never waits and never deadlocks.
_MARK_OVERDUE: Final = text(
    """
    WITH late AS (
      SELECT id FROM invoice
       WHERE agency_id = :agency_id AND status IN ('OPEN', 'PARTIALLY_PAID')
         AND due_at < :today AND balance > 0
       ORDER BY due_at, id FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE invoice i SET status = 'OVERDUE', version = i.version + 1, updated_at = now()
      FROM late WHERE i.agency_id = :agency_id AND i.id = late.id
    RETURNING i.id
    """
)


def mark_overdue(session: Session, today: dt.date | None = None, now: dt.datetime | None = None) -> int:
    """Mark every unpaid invoice that was due before ``today``; how many.

    Reads invoice(agency_id, status, due_at, id): only those that are late and not marked yet.

    Args:
        today: the agency's date at ``now`` when not given.
    """
    agency_id = tenant_of(session).agency_id
    if today is None:
        moment = now or dt.datetime.now(dt.UTC)
        today = session.execute(
            select(cast(func.timezone(Agency.timezone, moment), Date)).where(Agency.id == agency_id)
        ).scalar_one()
    return len(session.execute(_MARK_OVERDUE, {"agency_id": agency_id, "today": today}).all())


@dataclass(frozen=True, slots=True)
class _Billed:
    """The lease that an invoice is for."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    billing_day: int
    currency: str


def _lease(session: Session, lease_id: uuid.UUID) -> _Billed:
    agency_id = tenant_of(session).agency_id
    row = session.execute(
        select(Lease.id, Lease.tenant_id, Lease.billing_day, Agency.currency)
        .join(Agency, Agency.id == Lease.agency_id)
        .where(Lease.agency_id == agency_id, Lease.id == lease_id)
    ).one_or_none()
    if row is None:
        raise Invalid.field("lease_id", "there is no lease with this id")
    return _Billed(*row)


def _usual_due_date(lease: _Billed, period_start: dt.date) -> dt.date:
    return due_date(period_start.replace(day=1), lease.billing_day, period_start)


def _move(session: Session, invoice: Invoice, lease_id: uuid.UUID) -> None:
    lease = _lease(session, lease_id)
    invoice.lease_id = lease.id
    invoice.tenant_id = lease.tenant_id


def _replace_lines(session: Session, invoice: Invoice, lines: Sequence[Mapping[str, Any]]) -> None:
    invoice.total = _total(lines)
    # The version must rise even when the new lines come to the same total.
    flag_modified(invoice, "total")
    session.execute(
        delete(InvoiceLine).where(
            InvoiceLine.agency_id == invoice.agency_id, InvoiceLine.invoice_id == invoice.id
        )
    )
    _write_lines(session, invoice.id, lines)


def _write_lines(session: Session, invoice_id: uuid.UUID, lines: Sequence[Mapping[str, Any]]) -> None:
    agency_id = tenant_of(session).agency_id
    session.execute(
        insert(InvoiceLine),
        [
            {
                "agency_id": agency_id,
                "invoice_id": invoice_id,
                "position": position,
                "kind": line["kind"],
                "description": line["description"],
                "amount": line["amount"],
            }
            for position, line in enumerate(lines, start=1)
        ],
    )


def _total(lines: Sequence[Mapping[str, Any]]) -> Decimal:
    """The sum of the lines, each of them checked."""
    if not 1 <= len(lines) <= MAX_LINES:
        raise Invalid.field("lines", f"must be 1 to {MAX_LINES} lines")
    for place, line in enumerate(lines):
        _check_line(place, line)
    total = sum((line["amount"] for line in lines), ledger.NOUGHT)
    if total < 0:
        raise Invalid.field("lines", "the credits must not come to more than the charges")
    if total > _LARGEST:
        raise Invalid.field("lines", f"must come to at most {_LARGEST}")
    return total


def _check_line(place: int, line: Mapping[str, Any]) -> None:
    if line["kind"] not in ledger.INCOME_OF_LINE:
        _refuse_line(place, "kind", f"must be one of {', '.join(LINE_KINDS)}")
    if line["amount"] != round(line["amount"], 2):
        _refuse_line(place, "amount", "must have at most two decimals")
    if (line["kind"] == "CREDIT") != (line["amount"] < 0):
        _refuse_line(place, "amount", "must be below nought for a CREDIT, and only for one")


def _refuse_line(place: int, field: str, detail: str) -> None:
    raise Invalid(f"lines[{place}].{field}: {detail}", faults=(Fault(f"/lines/{place}/{field}", detail),))


def _check_period(start: dt.date | None, end: dt.date | None) -> None:
    for field, day in (("period_start", start), ("period_end", end)):
        if day is None:
            raise Invalid.field(field, "must not be null")
    assert start is not None
    assert end is not None
    if end < start:
        raise Invalid.field("period_end", "must not be before period_start")


def _sums_by_kind(session: Session, invoice_id: uuid.UUID) -> dict[str, Decimal]:
    rows = session.execute(
        select(InvoiceLine.kind, func.sum(InvoiceLine.amount))
        .where(InvoiceLine.agency_id == tenant_of(session).agency_id, InvoiceLine.invoice_id == invoice_id)
        .group_by(InvoiceLine.kind)
    )
    return {row[0]: row[1] for row in rows}


def _name(invoice: Invoice) -> str:
    return "The invoice" if invoice.number is None else numbers.invoice_number(invoice.number)


__all__ = [
    "LINE_KINDS",
    "MAX_LINES",
    "UNPAID",
    "create",
    "issue",
    "mark_overdue",
    "remove",
    "update",
    "void",
]
