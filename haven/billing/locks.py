"""The lock that keeps all money of one lease in order.

Whatever moves money of a lease holds its row first. The order everywhere is: receipt of M-Pesa (an advisory lock) →
lease → invoices (by due date and id) → payments (by id) → M-Pesa attempt → its callback's inbox row → counter → ledger. A
payout or an expense holds its owner's row, and no lease's.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Date, bindparam, cast, func, select
from sqlalchemy.orm import Session

from haven.billing.models import Invoice
from haven.db.session import tenant_of
from haven.errors import NotFound, VersionMismatch
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


LEASE_COLUMNS: Final[tuple[Any, ...]] = (
    *(Lease.id, Lease.tenant_id, Lease.unit_id, Lease.status, Agency.currency),
    cast(func.timezone(Agency.timezone, bindparam("now")), Date),
)
"""What a ``LockedLease`` is made of, for a statement that joins ``Lease`` and ``Agency``, locks the lease, and is given
``now``."""


def lock_lease(session: Session, lease_id: uuid.UUID, now: dt.datetime) -> LockedLease:
    """The lease, locked. Foreign keys that point at it may still be checked (NO KEY UPDATE).

    Raises:
        NotFound: there is none in this agency.
    """
    agency_id = tenant_of(session).agency_id
    row = session.execute(
        select(*LEASE_COLUMNS)
        .join(Agency, Agency.id == Lease.agency_id)
        .where(Lease.agency_id == agency_id, Lease.id == lease_id)
        .with_for_update(of=Lease, key_share=True),
        {"now": now},
    ).one_or_none()
    if row is None:
        raise NotFound(f"There is no lease {lease_id}.")
    return LockedLease(*row)


def lock_leases(
    session: Session, lease_ids: Collection[uuid.UUID], now: dt.datetime
) -> dict[uuid.UUID, LockedLease]:
    """Those of the leases that are there, locked in the order of their ids: one statement."""
    rows = session.execute(
        select(*LEASE_COLUMNS)
        .join(Agency, Agency.id == Lease.agency_id)
        .where(Lease.agency_id == tenant_of(session).agency_id, Lease.id.in_(lease_ids))
        .order_by(Lease.id)
        .with_for_update(of=Lease, key_share=True),
        {"now": now},
    )
    return {row[0]: LockedLease(*row) for row in rows}


def lock_invoice(
    session: Session, invoice_id: uuid.UUID, version: int | None, now: dt.datetime
) -> tuple[Invoice, LockedLease]:
    """The invoice and its lease, both locked, the lease first, in one statement.

    Raises:
        NotFound: there is none in this agency.
        VersionMismatch: it has another version than ``version``.
    """
    agency_id = tenant_of(session).agency_id
    row = session.execute(
        select(
            Invoice,
            Lease.unit_id,
            Lease.status,
            cast(func.timezone(Agency.timezone, now), Date),
        )
        .join(Lease, (Lease.agency_id == Invoice.agency_id) & (Lease.id == Invoice.lease_id))
        .join(Agency, Agency.id == Invoice.agency_id)
        .where(Invoice.agency_id == agency_id, Invoice.id == invoice_id)
        .with_for_update(of=[Lease, Invoice], key_share=True)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        raise NotFound(f"There is no invoice {invoice_id}.")
    invoice, unit_id, lease_status, today = row
    if version is not None and invoice.version != version:
        raise VersionMismatch(f"The invoice is at version {invoice.version}, not {version}: read it again.")
    lease = LockedLease(invoice.lease_id, invoice.tenant_id, unit_id, lease_status, invoice.currency, today)
    return invoice, lease
