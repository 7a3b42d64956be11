"""Issuing many invoices at once: written, numbered and posted in a handful of statements, whatever their number."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import any_, exists, literal, select, text
from sqlalchemy.orm import Session

from haven.billing import ledger, numbers
from haven.billing.allocation import status_of
from haven.billing.days import AgencyDay
from haven.billing.models import Invoice
from haven.db.base import new_id
from haven.db.session import tenant_of
from haven.operations.models import WebhookEndpoint
from haven.operations.webhooks import emit


@dataclass(frozen=True, slots=True)
class Line:
    """A charge; ``amount`` is above nought."""

    kind: str
    description: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Charge:
    """An invoice to be, of a locked lease.

    Args:
        first, last: the days it is for, inclusive.
        run_period: the month of the rent run that makes it.
        late_fee_of: the invoice whose lateness it charges for.
    """

    lease_id: uuid.UUID
    tenant_id: uuid.UUID
    first: dt.date
    last: dt.date
    due_at: dt.date
    lines: Sequence[Line]
    run_period: dt.date | None = None
    late_fee_of: uuid.UUID | None = None
    invoice_id: uuid.UUID = field(default_factory=new_id)

    @property
    def total(self) -> Decimal:
        return sum((line.amount for line in self.lines), ledger.NOUGHT)

    def sums_by_kind(self) -> dict[str, Decimal]:
        """Line kind → the sum of its amounts."""
        sums: dict[str, Decimal] = {}
        for line in self.lines:
            sums[line.kind] = sums.get(line.kind, ledger.NOUGHT) + line.amount
        return sums


def plan_afresh(session: Session) -> None:
    """Forget the plans of this connection, those of its foreign keys' checks too, before a batch is written.

    A plan made while a table was empty reads it from end to end, and is kept while the table grows: the first
    10,000 invoices of an installation took twice as long.
    """
    session.execute(text("DISCARD PLANS"))


def issue_charges(session: Session, charges: Sequence[Charge], day: AgencyDay, now: dt.datetime) -> None:
    """Write the invoices, number them and post them to the ledger. Letting credit pay them is the caller's."""
    first_number = numbers.take(session, "INVOICE", len(charges))
    numbered = list(enumerate(charges, start=first_number))
    _write(session, numbered, day, now)
    ledger.post(
        session,
        (
            ledger.invoice_posting(
                charge.invoice_id,
                charge.lease_id,
                numbers.invoice_number(number),
                now,
                charge.sums_by_kind(),
            )
            for number, charge in numbered
        ),
    )


def tell_issued(session: Session, invoice_ids: Collection[uuid.UUID]) -> None:
    """Emit each invoice's event, but only where somebody listens: ten thousand invoices are much news."""
    agency_id = tenant_of(session).agency_id
    listening = exists().where(
        WebhookEndpoint.agency_id == agency_id,
        WebhookEndpoint.status == "ACTIVE",
        literal("invoice.issued") == any_(WebhookEndpoint.events),
    )
    if not invoice_ids or not session.execute(select(listening)).scalar_one():
        return
    issued = select(Invoice).where(Invoice.agency_id == agency_id, Invoice.id.in_(invoice_ids))
    for invoice in session.execute(issued.order_by(Invoice.number)).scalars():
        emit(session, "invoice.issued", issued_event(invoice))


def issued_event(invoice: Invoice) -> dict[str, Any]:
    """What the webhook ``invoice.issued`` says."""
    assert invoice.number is not None
    return {
        "invoice_id": str(invoice.id),
        "number": numbers.invoice_number(invoice.number),
        "lease_id": str(invoice.lease_id),
        "tenant_id": str(invoice.tenant_id),
        "total": str(invoice.total),
        "currency": invoice.currency,
        "due_at": invoice.due_at.isoformat(),
    }


_WRITE: Final = text(
    """
    WITH charge AS MATERIALIZED (
      SELECT * FROM jsonb_to_recordset(CAST(:charges AS jsonb))
        AS c(invoice_id uuid, lease_id uuid, tenant_id uuid, number int, period_start date, period_end date,
             due_at date, total numeric, status text, run_period date, late_fee_of uuid)
    ), issued AS (
      INSERT INTO invoice (agency_id, id, lease_id, tenant_id, number, period_start, period_end, issued_at,
                           due_at, currency, total, status, run_period, late_fee_of)
      SELECT :agency_id, invoice_id, lease_id, tenant_id, number, period_start, period_end, :now, due_at,
             :currency, total, status, run_period, late_fee_of FROM charge
    )
    INSERT INTO invoice_line (agency_id, id, invoice_id, position, kind, description, amount)
    SELECT :agency_id, uuidv7(), invoice_id, position, kind, description, amount
      FROM jsonb_to_recordset(CAST(:lines AS jsonb))
        AS l(invoice_id uuid, position int, kind text, description text, amount numeric)
    """
)


def _write(
    session: Session, numbered: Sequence[tuple[int, Charge]], day: AgencyDay, now: dt.datetime
) -> None:
    heads = [
        {
            "invoice_id": charge.invoice_id,
            "lease_id": charge.lease_id,
            "tenant_id": charge.tenant_id,
            "number": number,
            "period_start": charge.first,
            "period_end": charge.last,
            "due_at": charge.due_at,
            "total": str(charge.total),
            "status": status_of(charge.total, ledger.NOUGHT, charge.due_at, day.today),
            "run_period": charge.run_period,
            "late_fee_of": charge.late_fee_of,
        }
        for number, charge in numbered
    ]
    lines = [
        {
            "invoice_id": charge.invoice_id,
            "position": position,
            "kind": line.kind,
            "description": line.description,
            "amount": str(line.amount),
        }
        for _, charge in numbered
        for position, line in enumerate(charge.lines, start=1)
    ]
    session.execute(
        _WRITE,
        {
            "agency_id": tenant_of(session).agency_id,
            "charges": ledger.as_json(heads),
            "lines": ledger.as_json(lines),
            "now": now,
            "currency": day.currency,
        },
    )
