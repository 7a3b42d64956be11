"""Credit notes: taking something off an issued invoice, with a document of its own that says why."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from haven.billing import ledger, numbers
from haven.billing.allocation import apply_credit, credit_again, credit_invoice
from haven.billing.deposit_held import check_not_overdrawn
from haven.billing.locks import LockedLease, lock_invoice
from haven.billing.models import CreditNote, CreditNoteLine, Invoice, InvoiceLine
from haven.billing.owner_shares import owner_postings
from haven.db.base import new_id
from haven.db.session import tenant_of
from haven.errors import Conflict, Fault, Invalid

CREDITABLE: Final = ("RENT", "UTILITY", "LATE_FEE", "OTHER", "DEPOSIT")
"""Kinds of charge, in the order in which a credit that names none takes from them: a deposit is touched last."""


def credit(
    session: Session,
    invoice_id: uuid.UUID,
    amount: Decimal,
    reason: str,
    kind: str | None = None,
    version: int | None = None,
    now: dt.datetime | None = None,
) -> uuid.UUID:
    """Issue a credit note on an invoice; its id.

    What is owed on the invoice falls. Where more has been paid than is left, that money is the tenant's credit,
    and pays what else the lease owes, the oldest first.

    Args:
        amount: above nought, at most the invoice's total less earlier credit notes.
        kind: the kind of charge it is taken off; None: as ``CREDITABLE`` says.
        version: of the invoice.

    Raises:
        NotFound: there is no such invoice in this agency.
        VersionMismatch: it has another version.
        Conflict: it is a draft or void, there is less left to credit, or its deposit has been used.
        Invalid: no reason is given, or the amount is no sum of money.
    """
    now = now or dt.datetime.now(dt.UTC)
    if not reason.strip():
        raise Invalid.field("reason", "must say why")
    if amount <= 0 or amount != round(amount, 2):
        raise Invalid.field("amount", "must be above 0.00, with at most two decimals")
    invoice, lease = lock_invoice(session, invoice_id, version, now)
    name = _creditable_name(invoice)
    parts = _parts(session, invoice, name, amount, kind)
    note_id, note = _write(session, invoice, reason.strip(), parts, now)
    shares = credit_invoice(session, lease, invoice_id, amount)
    ledger.post(
        session,
        [
            _posting(invoice_id, lease, parts, now, f"{note} on {name}: {reason.strip()}"),
            *credit_again("CREDIT_NOTE", now, f"Paid for {name}, now credit", shares),
            *owner_postings(session, [invoice_id], now),
        ],
    )
    session.expire(invoice)
    if "DEPOSIT" in parts:
        check_not_overdrawn(session, lease)
    if shares:
        apply_credit(session, [lease.id], lease.today, now)
    return note_id


def _creditable_name(invoice: Invoice) -> str:
    if invoice.number is None:
        raise Conflict("A draft is not credited: change it.")
    name = numbers.invoice_number(invoice.number)
    if invoice.status == "VOID":
        raise Conflict(f"{name} is void: there is nothing to credit.")
    return name


def _parts(
    session: Session, invoice: Invoice, name: str, amount: Decimal, kind: str | None
) -> dict[str, Decimal]:
    """Kind of charge → how much of ``amount`` is taken off it."""
    left = _left_by_kind(session, invoice.id)
    kinds = CREDITABLE if kind is None else (kind,)
    available = min(
        invoice.total - invoice.credited, sum((left.get(one, ledger.NOUGHT) for one in kinds), ledger.NOUGHT)
    )
    if amount > available:
        of_kind = "" if kind is None else f" of {kind}"
        detail = f"{name} has {available:.2f}{of_kind} left to credit, not {amount:.2f}."
        raise Conflict(detail, faults=(Fault("/amount", detail),))
    parts: dict[str, Decimal] = {}
    for one in kinds:
        part = min(left.get(one, ledger.NOUGHT), amount - sum(parts.values(), ledger.NOUGHT))
        if part > 0:
            parts[one] = part
    return parts


def _left_by_kind(session: Session, invoice_id: uuid.UUID) -> dict[str, Decimal]:
    """What is left to credit of each kind of charge of a locked invoice."""
    agency_id = tenant_of(session).agency_id
    charged = select(InvoiceLine.kind, InvoiceLine.amount).where(
        InvoiceLine.agency_id == agency_id, InvoiceLine.invoice_id == invoice_id, InvoiceLine.kind != "CREDIT"
    )
    credited = select(CreditNoteLine.kind, -CreditNoteLine.amount).where(
        CreditNoteLine.agency_id == agency_id, CreditNoteLine.invoice_id == invoice_id
    )
    both = charged.union_all(credited).subquery()
    rows = session.execute(select(both.c.kind, func.sum(both.c.amount)).group_by(both.c.kind))
    return {row[0]: row[1] for row in rows}


def _write(
    session: Session, invoice: Invoice, reason: str, parts: Mapping[str, Decimal], now: dt.datetime
) -> tuple[uuid.UUID, str]:
    """The note's id and its number as people read it."""
    agency_id, note_id = invoice.agency_id, new_id()
    number = numbers.take(session, "CREDIT_NOTE")
    session.execute(
        insert(CreditNote).values(
            agency_id=agency_id,
            id=note_id,
            invoice_id=invoice.id,
            lease_id=invoice.lease_id,
            tenant_id=invoice.tenant_id,
            number=number,
            issued_at=now,
            currency=invoice.currency,
            amount=sum(parts.values(), ledger.NOUGHT),
            reason=reason,
        )
    )
    session.execute(
        insert(CreditNoteLine),
        [
            {
                "agency_id": agency_id,
                "credit_note_id": note_id,
                "invoice_id": invoice.id,
                "kind": kind,
                "amount": part,
            }
            for kind, part in parts.items()
        ],
    )
    return note_id, numbers.credit_note_number(number)


def _posting(
    invoice_id: uuid.UUID, lease: LockedLease, parts: Mapping[str, Decimal], at: dt.datetime, description: str
) -> ledger.Posting:
    """The opposite of what issuing the charges has posted: Dr their accounts, Cr tenant receivable."""
    entries = [ledger.Entry(ledger.INCOME_OF_LINE[kind], debit=part) for kind, part in parts.items()]
    total = sum(parts.values(), ledger.NOUGHT)
    entries.append(ledger.Entry(ledger.TENANT_RECEIVABLE, credit=total, lease_id=lease.id))
    return ledger.Posting("CREDIT_NOTE", at, description, entries, invoice_id=invoice_id)
