"""How much of a lease's deposit the agency holds.

A deposit is charged by a DEPOSIT line. It is held once it is paid, and what is paid for an invoice pays its other
charges first; so no more can be given back than has come in. What has paid arrears (a payment by DEPOSIT) or has
been refunded is held no more.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Numeric, cast, func, literal, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session

from haven.billing.locks import LockedLease
from haven.billing.models import CreditNoteLine, Disbursement, Invoice, InvoiceLine
from haven.db.session import tenant_of
from haven.errors import Conflict
from haven.payments.models import Payment

_Expression = ColumnElement[Any] | InstrumentedAttribute[Any]


@dataclass(frozen=True, slots=True)
class Deposit:
    """A lease's deposit. ``charged`` is less what is credited; ``used`` has paid arrears or was retained."""

    charged: Decimal
    paid: Decimal
    used: Decimal
    refunded: Decimal

    @property
    def held(self) -> Decimal:
        """What may be used or refunded; never below nought, even where a payment was reversed afterwards."""
        return max(self.paid - self.used - self.refunded, Decimal("0.00"))

    @property
    def owed(self) -> Decimal:
        """What stands on the lease's part of the account of deposits held."""
        return self.charged - self.used - self.refunded


def deposit_of(session: Session, lease_id: uuid.UUID) -> Deposit:
    """The deposit of a lease: one statement."""
    agency_id, lease = literal(tenant_of(session).agency_id), literal(lease_id)
    charged, paid = _charged_and_paid(agency_id, lease)
    row = session.execute(select(charged, paid, _used(agency_id, lease), _refunded(agency_id, lease))).one()
    return Deposit(*row)


def deposit_held_of_lease(agency_id: _Expression, lease_id: _Expression) -> ColumnElement[Decimal]:
    """``Deposit.held`` as an expression, for a list: ``deposit_held_of_lease(Lease.agency_id, Lease.id)``."""
    _, paid = _charged_and_paid(agency_id, lease_id)
    rest = paid - _used(agency_id, lease_id) - _refunded(agency_id, lease_id)
    held: ColumnElement[Decimal] = cast(func.greatest(rest, 0), Numeric(14, 2))
    return held


def check_not_overdrawn(session: Session, lease: LockedLease) -> None:
    """Refuse what has just been done when more of the deposit has gone than is charged now.

    Raises:
        Conflict: the deposit has been used or refunded: undo that first.
    """
    if deposit_of(session, lease.id).owed < 0:
        raise Conflict("The deposit it asked for has been used or refunded: reverse that first.")


def _charged_and_paid(
    agency_id: _Expression, lease_id: _Expression
) -> tuple[ColumnElement[Decimal], ColumnElement[Decimal]]:
    """Both are sub-selects over the lease's invoices that ask for a deposit (invoice_line_deposit_idx)."""
    line = (
        select(func.sum(InvoiceLine.amount).label("amount"))
        .where(
            InvoiceLine.agency_id == Invoice.agency_id,
            InvoiceLine.invoice_id == Invoice.id,
            InvoiceLine.kind == "DEPOSIT",
        )
        .correlate(Invoice)
        .lateral("line")
    )
    note = (
        select(func.coalesce(func.sum(CreditNoteLine.amount), 0).label("amount"))
        .where(
            CreditNoteLine.agency_id == Invoice.agency_id,
            CreditNoteLine.invoice_id == Invoice.id,
            CreditNoteLine.kind == "DEPOSIT",
        )
        .correlate(Invoice)
        .lateral("note")
    )
    deposit = line.c.amount - note.c.amount
    others = func.greatest(Invoice.total - Invoice.credited - deposit, 0)
    paid = func.greatest(func.least(deposit, Invoice.paid - others), 0)

    def over_invoices(amount: Any) -> ColumnElement[Decimal]:
        summed: ColumnElement[Decimal] = (
            select(func.coalesce(func.sum(amount), 0))
            .select_from(Invoice)
            .join(line, true())
            .join(note, true())
            .where(
                Invoice.agency_id == agency_id,
                Invoice.lease_id == lease_id,
                Invoice.status.not_in(("DRAFT", "VOID")),
                line.c.amount.is_not(None),
            )
            .correlate_except(Invoice, line, note)
            .scalar_subquery()
        )
        return summed

    return over_invoices(deposit), over_invoices(paid)


def _used(agency_id: _Expression, lease_id: _Expression) -> ColumnElement[Decimal]:
    used: ColumnElement[Decimal] = (
        select(func.coalesce(func.sum(Payment.amount), 0))
        .where(
            Payment.agency_id == agency_id,
            Payment.lease_id == lease_id,
            Payment.method == "DEPOSIT",
            Payment.status == "COMPLETED",
        )
        .correlate_except(Payment)
        .scalar_subquery()
    )
    return used


def _refunded(agency_id: _Expression, lease_id: _Expression) -> ColumnElement[Decimal]:
    refunded: ColumnElement[Decimal] = (
        select(func.coalesce(func.sum(Disbursement.amount), 0))
        .where(
            Disbursement.agency_id == agency_id,
            Disbursement.lease_id == lease_id,
            Disbursement.status == "RECORDED",
        )
        .correlate_except(Disbursement)
        .scalar_subquery()
    )
    return refunded
