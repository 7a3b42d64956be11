"""The lock that keeps all money of one lease in order.

Whatever moves money of a lease holds its row first. The order everywhere is: receipt of M-Pesa (an advisory lock) →
lease → invoices (by due date and id) → payments (by id) → M-Pesa attempt → counter → ledger.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass

from sqlalchemy import Date, cast, func, select
from sqlalchemy.orm import Session

from haven.db.session import tenant_of
from haven.errors import NotFound
from haven.identity.models import Agency
from haven.leasing.models import Lease


@dataclass(frozen=True, slots=True)
class LockedLease:
    """A lease whose row is locked until the transaction ends; ``today`` is the date where the agency is."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    unit_id: uuid.UUID
    status: str
    currency: str
    today: dt.date


def lock_lease(session: Session, lease_id: uuid.UUID, now: dt.datetime) -> LockedLease:
    """The lease, locked. Foreign keys that point at it may still be checked (NO KEY UPDATE).

    Raises:
        NotFound: there is none in this agency.
    """
    agency_id = tenant_of(session).agency_id
    row = session.execute(
        select(
            Lease.id,
            Lease.tenant_id,
            Lease.unit_id,
            Lease.status,
            Agency.currency,
            cast(func.timezone(Agency.timezone, now), Date),
        )
        .join(Agency, Agency.id == Lease.agency_id)
        .where(Lease.agency_id == agency_id, Lease.id == lease_id)
        .with_for_update(of=Lease, key_share=True)
    ).one_or_none()
    if row is None:
        raise NotFound(f"There is no lease {lease_id}.")
    return LockedLease(*row)
