"""What a tenant or a lease owes: Σ balance of issued invoices that are not void, less Σ credit."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, func, literal, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from haven.billing.allocation import UNPAID
from haven.billing.models import Invoice
from haven.db.session import tenant_of
from haven.payments.models import Payment

_Expression = ColumnElement[Any] | InstrumentedAttribute[Any]


def tenant_balance(session: Session, tenant_id: uuid.UUID) -> Decimal:
    """What the tenant owes over all leases; below nought: what he has in credit."""
    agency_id = literal(tenant_of(session).agency_id)
    return session.execute(select(balance_of_tenant(agency_id, literal(tenant_id)))).scalar_one()


def lease_balance(session: Session, lease_id: uuid.UUID) -> Decimal:
    """What is owed on the lease; below nought: its credit."""
    agency_id = literal(tenant_of(session).agency_id)
    return session.execute(select(balance_of_lease(agency_id, literal(lease_id)))).scalar_one()


def balance_of_tenant(agency_id: _Expression, tenant_id: _Expression) -> ColumnElement[Decimal]:
    """The same as an expression, for a list: ``balance_of_tenant(Tenant.agency_id, Tenant.id)``."""
    return _balance(agency_id, Invoice.tenant_id == tenant_id, Payment.tenant_id == tenant_id)


def balance_of_lease(agency_id: _Expression, lease_id: _Expression) -> ColumnElement[Decimal]:
    """The same as an expression, for a list: ``balance_of_lease(Lease.agency_id, Lease.id)``."""
    return _balance(agency_id, Invoice.lease_id == lease_id, Payment.lease_id == lease_id)


def _balance(
    agency_id: _Expression, of_invoice: ColumnElement[bool], of_payment: ColumnElement[bool]
) -> ColumnElement[Decimal]:
    owed = (
        select(func.coalesce(func.sum(Invoice.balance), 0))
        .where(Invoice.agency_id == agency_id, of_invoice, Invoice.status.in_(UNPAID))
        .correlate_except(Invoice)
        .scalar_subquery()
    )
    credit = (
        select(func.coalesce(func.sum(Payment.unallocated), 0))
        .where(Payment.agency_id == agency_id, of_payment, Payment.unallocated > 0)
        .correlate_except(Payment)
        .scalar_subquery()
    )
    difference: ColumnElement[Decimal] = owed - credit
    return difference
