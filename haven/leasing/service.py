"""Tenants and leases."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from haven.db.base import new_id
from haven.db.rows import Planned, change, locked, planned, the_one
from haven.db.session import tenant_of
from haven.errors import Conflict, Invalid
from haven.identity.place import today
from haven.leasing.models import Lease, Tenant
from haven.portfolio import service as portfolio
from haven.portfolio.models import Unit

_END_BATCH: Final = 500
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
    values = the_one(plan_leases(session, [body]))
    lease = Lease(agency_id=tenant_of(session).agency_id, id=new_id(), **values)
    session.add(lease)
    session.flush()
    return lease.id


def plan_leases(session: Session, bodies: Sequence[dict[str, Any]]) -> list[Planned]:
    """What is stored of new draft leases: one statement."""
    units = select(Unit.id, Unit.rent_amount, Unit.deposit_amount).where(
        Unit.agency_id == tenant_of(session).agency_id, Unit.id.in_({body["unit_id"] for body in bodies})
    )
    amounts = {row.id: row for row in session.execute(units)}
    return [planned(_new_lease, body, amounts) for body in bodies]


def update_lease(session: Session, lease_id: uuid.UUID, changes: dict[str, Any], version: int | None) -> None:
    """Change a lease. Of an active one only rent, end, grace and late fee; of an ended one nothing."""
    lease = locked(session, Lease, lease_id, version)
    change(lease, lease_changes(lease, changes))


def lease_changes(lease: Any, changes: dict[str, Any]) -> dict[str, Any]:
    """What is set of a locked lease.

    Raises:
        Conflict: its status does not allow it.
        Invalid: a value breaks a rule.
    """
    values = _flat(changes, lease)
    if lease.status == "ACTIVE":
        fixed = sorted(
            name for name in values if name not in _FREE_WHEN_ACTIVE and values[name] != getattr(lease, name)
        )
        if fixed:
            raise Conflict(f"The lease is ACTIVE: {fixed[0]} cannot change any more.")
    elif lease.status != "DRAFT":
        raise Conflict(f"The lease is {lease.status}: it cannot change any more.")
    _check_dates(values.get("start_date", lease.start_date), values.get("end_date", lease.end_date))
    return values


def delete_lease(session: Session, lease_id: uuid.UUID, version: int | None) -> None:
    """Remove a draft lease.

    Raises:
        Conflict: it was active: it is part of the books.
    """
    lease = locked(session, Lease, lease_id, version)
    check_is_draft(lease)
    session.delete(lease)


def check_is_draft(lease: Any) -> None:
    """Refuse to remove a locked lease that is part of the books."""
    if lease.status != "DRAFT":
        raise Conflict(f"The lease is {lease.status}: only a draft can be removed.")


def activate_lease(session: Session, lease_id: uuid.UUID, version: int | None) -> None:
    """The tenancy is agreed: unit and tenant are taken, and rent runs bill it.

    Raises:
        Conflict: it is no draft, or the unit is let to somebody else in these dates.
    """
    lease = locked(session, Lease, lease_id, version)
    if lease.status != "DRAFT":
        raise Conflict(f"The lease is {lease.status}: only a draft can be activated.")
    lease.status = "ACTIVE"
    lease.activated_at = dt.datetime.now(dt.UTC)
    session.flush()
    # Locks the unit, so that of two leases that begin beside each other the second sees the first.
    portfolio.occupy(session, lease.unit_id)
    _refuse_while_notice_runs(session, lease)
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


# Leases that another transaction is changing are left for the next time: the clock never waits and never deadlocks.
_END: Final = text(
    """
    WITH past AS (
      SELECT id FROM lease
       WHERE agency_id = :agency_id AND status = 'ACTIVE' AND end_date < :today
       ORDER BY id LIMIT :most FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE lease l SET status = 'ENDED', version = l.version + 1, updated_at = now()
      FROM past WHERE l.agency_id = :agency_id AND l.id = past.id
    RETURNING l.unit_id, l.tenant_id
    """
)
_VACATE: Final = text(
    """
    UPDATE unit u SET status = 'VACANT', version = u.version + 1, updated_at = now()
     WHERE u.agency_id = :agency_id AND u.id = ANY (:ids) AND u.status = 'OCCUPIED'
       AND NOT EXISTS (SELECT FROM lease l
                        WHERE l.agency_id = :agency_id AND l.unit_id = u.id AND l.status = 'ACTIVE')
    """
)
_PART: Final = text(
    """
    UPDATE tenant t SET status = 'FORMER', version = t.version + 1, updated_at = now()
     WHERE t.agency_id = :agency_id AND t.id = ANY (:ids) AND t.status = 'ACTIVE'
       AND NOT EXISTS (SELECT FROM lease l
                        WHERE l.agency_id = :agency_id AND l.tenant_id = t.id AND l.status = 'ACTIVE')
    """
)


def end_past_leases(session: Session, now: dt.datetime) -> int:
    """End each active lease whose last day is over in the agency's time zone; how many.

    Their units are vacant and their tenants former, unless another active lease says otherwise.
    """
    agency_id = tenant_of(session).agency_id
    values = {"agency_id": agency_id, "today": today(session, now), "most": _END_BATCH}
    ended = session.execute(_END, values).all()
    if ended:
        session.execute(_VACATE, {"agency_id": agency_id, "ids": sorted({row.unit_id for row in ended})})
        session.execute(_PART, {"agency_id": agency_id, "ids": sorted({row.tenant_id for row in ended})})
    return len(ended)


def _refuse_while_notice_runs(session: Session, lease: Lease) -> None:
    """A lease that was terminated for a day to come holds its unit until then (the exclusion constraint keeps active ones)."""
    last_day: dt.date | None = session.execute(
        select(func.max(Lease.end_date)).where(
            Lease.agency_id == lease.agency_id,
            Lease.unit_id == lease.unit_id,
            Lease.status == "TERMINATED",
            Lease.start_date <= (lease.end_date or dt.date.max),
            Lease.end_date >= lease.start_date,
            Lease.end_date >= today(session),
        )
    ).scalar_one()
    if last_day is not None:
        raise Conflict(f"The unit is let until {last_day}: the lease before has notice to that day.")


def _has_active_lease(session: Session, condition: Any) -> bool:
    return (
        session.execute(select(Lease.id).where(condition, Lease.status == "ACTIVE").limit(1)).first()
        is not None
    )


def _new_lease(body: dict[str, Any], units: Mapping[uuid.UUID, Any]) -> dict[str, Any]:
    unit = units.get(body["unit_id"])
    if unit is None:
        raise Invalid.field("unit_id", "there is no unit with this id")
    values = {"rent_amount": unit.rent_amount, "deposit_amount": unit.deposit_amount, **_flat(body)}
    if values["rent_amount"] <= 0:
        raise Invalid.field("rent_amount", "Must be above 0.00.")
    _check_dates(values["start_date"], values.get("end_date"))
    return values


def _flat(body: dict[str, Any], lease: Any = None) -> dict[str, Any]:
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


def _check_dates(start: dt.date, end: dt.date | None) -> None:
    if end is not None and end < start:
        raise Invalid.field("end_date", "must not be before start_date")
