"""Tenants and leases."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from haven.db.base import new_id
from haven.db.rows import change, locked
from haven.db.session import tenant_of
from haven.errors import Conflict, Invalid
from haven.leasing.models import Lease, Tenant
from haven.portfolio import service as portfolio
from haven.portfolio.models import Unit

_FREE_WHEN_ACTIVE = frozenset({"grace_days", "late_fee_kind", "late_fee_amount", "rent_amount", "end_date"})


def create_tenant(session: Session, body: dict[str, Any]) -> uuid.UUID:
    """Make a tenant."""
    tenant = Tenant(agency_id=tenant_of(session).agency_id, id=new_id(), **body)
    session.add(tenant)
    session.flush()
    return tenant.id


def update_tenant(
    session: Session, tenant_id: uuid.UUID, changes: dict[str, Any], version: int | None
) -> None:
    """Change a tenant."""
    change(locked(session, Tenant, tenant_id, version), changes)


def delete_tenant(session: Session, tenant_id: uuid.UUID, version: int | None) -> None:
    """Remove a tenant who never had a lease."""
    session.delete(locked(session, Tenant, tenant_id, version))


def create_lease(session: Session, body: dict[str, Any]) -> uuid.UUID:
    """Make a draft lease; rent and deposit are the unit's where they are not given."""
    amounts = session.execute(
        select(Unit.rent_amount, Unit.deposit_amount).where(Unit.id == body["unit_id"])
    ).first()
    if amounts is None:
        raise Invalid.field("unit_id", "there is no unit with this id")
    values = {"rent_amount": amounts.rent_amount, "deposit_amount": amounts.deposit_amount, **_flat(body)}
    if values["rent_amount"] <= 0:
        raise Invalid.field("rent_amount", "Must be above 0.00.")
    lease = Lease(agency_id=tenant_of(session).agency_id, id=new_id(), **values)
    _check(lease)
    session.add(lease)
    session.flush()
    return lease.id


def update_lease(session: Session, lease_id: uuid.UUID, changes: dict[str, Any], version: int | None) -> None:
    """Change a lease. Of an active one only rent, end, grace and late fee; of an ended one nothing."""
    lease = locked(session, Lease, lease_id, version)
    values = _flat(changes, lease)
    if lease.status == "ACTIVE":
        fixed = sorted(
            name for name in values if name not in _FREE_WHEN_ACTIVE and values[name] != getattr(lease, name)
        )
        if fixed:
            raise Conflict(f"The lease is ACTIVE: {fixed[0]} cannot change any more.")
    elif lease.status != "DRAFT":
        raise Conflict(f"The lease is {lease.status}: it cannot change any more.")
    change(lease, values)
    _check(lease)


def delete_lease(session: Session, lease_id: uuid.UUID, version: int | None) -> None:
    """Remove a draft lease.

    Raises:
        Conflict: it was active: it is part of the books.
    """
    lease = locked(session, Lease, lease_id, version)
    if lease.status != "DRAFT":
        raise Conflict(f"The lease is {lease.status}: only a draft can be removed.")
    session.delete(lease)


def activate_lease(session: Session, lease_id: uuid.UUID, version: int | None) -> None:
    """The tenancy is agreed: unit and tenant are taken, and rent runs bill it.

    Raises:
        Conflict: it is no draft, or the unit has another active lease in these dates.
    """
    lease = locked(session, Lease, lease_id, version)
    if lease.status != "DRAFT":
        raise Conflict(f"The lease is {lease.status}: only a draft can be activated.")
    lease.status = "ACTIVE"
    lease.activated_at = dt.datetime.now(dt.UTC)
    session.flush()
    portfolio.occupy(session, lease.unit_id)
    locked(session, Tenant, lease.tenant_id).status = "ACTIVE"


def terminate_lease(
    session: Session, lease_id: uuid.UUID, on: dt.date, reason: str, version: int | None
) -> None:
    """End a lease on a day; the unit is vacant again when no other lease of it is active.

    Raises:
        Conflict: it is not active.
        Invalid: the day is before its start or after its end.
    """
    lease = locked(session, Lease, lease_id, version)
    if lease.status != "ACTIVE":
        raise Conflict(f"The lease is {lease.status}: only an active one can be terminated.")
    if on < lease.start_date:
        raise Invalid.field("date", f"must not be before the lease's start, {lease.start_date}")
    if lease.end_date is not None and on > lease.end_date:
        raise Invalid.field("date", f"must not be after the lease's end, {lease.end_date}")
    lease.status = "TERMINATED"
    lease.end_date = on
    lease.terminated_at = dt.datetime.now(dt.UTC)
    lease.termination_reason = reason
    session.flush()
    if not _has_active_lease(session, Lease.unit_id == lease.unit_id):
        portfolio.vacate(session, lease.unit_id)
    if not _has_active_lease(session, Lease.tenant_id == lease.tenant_id):
        locked(session, Tenant, lease.tenant_id).status = "FORMER"


def _has_active_lease(session: Session, condition: Any) -> bool:
    return (
        session.execute(select(Lease.id).where(condition, Lease.status == "ACTIVE").limit(1)).first()
        is not None
    )


def _flat(body: dict[str, Any], lease: Lease | None = None) -> dict[str, Any]:
    """The body with ``late_fee`` in the two columns it is kept in."""
    values = dict(body)
    fee = values.pop("late_fee", None)
    if fee is None:
        return values
    known_kind = lease.late_fee_kind if lease else "NONE"
    known_amount = lease.late_fee_amount if lease else Decimal(0)
    kind = fee.get("kind", known_kind)
    amount = Decimal(0) if kind == "NONE" else fee.get("amount", known_amount)
    if kind != "NONE" and amount <= 0:
        raise Invalid.field("late_fee/amount", "Must be above 0.00.")
    if kind == "PERCENT" and amount > 100:
        raise Invalid.field("late_fee/amount", "Must be at most 100 per cent.")
    return values | {"late_fee_kind": kind, "late_fee_amount": amount}


def _check(lease: Lease) -> None:
    if lease.end_date is not None and lease.end_date < lease.start_date:
        raise Invalid.field("end_date", "must not be before start_date")
