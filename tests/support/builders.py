"""Makers of rows for tests: each writes what it is asked for, and what that needs, and gives the id.

Every test makes an agency of its own; the tenant wall keeps it apart from all others.
"""

from __future__ import annotations

import datetime as dt
import itertools
import secrets
import uuid
from decimal import Decimal
from typing import Any

from sqlalchemy import Engine

from haven.billing import service as billing
from haven.db.base import Base, new_id
from haven.db.session import tenant_session
from haven.identity.models import Agency
from haven.leasing.models import Lease, Tenant
from haven.payments import service as payments
from haven.portfolio.models import Owner, Property, Unit

_numbers = itertools.count(1)
_phones = itertools.count(secrets.randbelow(10**8))
YEAR_START = dt.date(2026, 1, 1)


def an_agency(engine: Engine, **columns: Any) -> uuid.UUID:
    """An agency in Nairobi."""
    agency_id = new_id()
    columns = {"name": "Upeo Estates", "slug": f"upeo-{agency_id.hex}"} | columns
    with tenant_session(engine, agency_id, "test", is_platform=True) as session:
        session.add(Agency(id=agency_id, **columns))
    return agency_id


def an_owner(engine: Engine, agency_id: uuid.UUID, fee: str = "8.00", **columns: Any) -> uuid.UUID:
    """A landlord who pays ``fee`` per cent of the rent collected."""
    columns = {"full_name": "Achieng Otieno", "management_fee_percent": Decimal(fee)} | columns
    return _add(engine, agency_id, Owner, columns)


def an_owners_lease(
    engine: Engine, agency_id: uuid.UUID, owner_id: uuid.UUID, *args: Any, **options: Any
) -> uuid.UUID:
    """A lease of a unit of the owner's; arguments as ``a_lease``."""
    unit_id = a_unit(engine, agency_id, a_property(engine, agency_id, owner_id=owner_id))
    return a_lease(engine, agency_id, *args, unit_id=unit_id, **options)


def a_property(engine: Engine, agency_id: uuid.UUID, **columns: Any) -> uuid.UUID:
    """A block of flats."""
    code = f"P{next(_numbers)}{secrets.token_hex(3)}"
    return _add(
        engine, agency_id, Property, {"name": "Jacaranda Court", "code": code, "kind": "APARTMENT"} | columns
    )


def a_unit(
    engine: Engine, agency_id: uuid.UUID, property_id: uuid.UUID | None = None, **columns: Any
) -> uuid.UUID:
    """A flat, in a property of its own when none is given."""
    columns = {
        "property_id": property_id or a_property(engine, agency_id),
        "label": f"A{next(_numbers)}",
        "rent_amount": Decimal("25000.00"),
        "payment_reference": secrets.token_hex(5).upper(),
    } | columns
    return _add(engine, agency_id, Unit, columns)


def a_tenant(engine: Engine, agency_id: uuid.UUID, **columns: Any) -> uuid.UUID:
    """A person who rents."""
    columns = {"full_name": "Wanjiku Kamau", "phone": a_phone(), "status": "ACTIVE"} | columns
    return _add(engine, agency_id, Tenant, columns)


def a_lease(
    engine: Engine,
    agency_id: uuid.UUID,
    rent: str = "25000.00",
    deposit: str = "0.00",
    start: dt.date = YEAR_START,
    end: dt.date | None = None,
    status: str = "ACTIVE",
    **columns: Any,
) -> uuid.UUID:
    """A lease, of a unit and a tenant of its own when none are given."""
    columns = {
        "unit_id": columns.pop("unit_id", None) or a_unit(engine, agency_id),
        "tenant_id": columns.pop("tenant_id", None) or a_tenant(engine, agency_id),
        "start_date": start,
        "end_date": end,
        "rent_amount": Decimal(rent),
        "deposit_amount": Decimal(deposit),
        "status": status,
    } | columns
    return _add(engine, agency_id, Lease, columns)


def a_draft(
    engine: Engine,
    agency_id: uuid.UUID,
    lease_id: uuid.UUID,
    amount: str = "25000.00",
    due: dt.date = dt.date(2099, 1, 1),
    lines: list[dict[str, Any]] | None = None,
) -> uuid.UUID:
    """A draft invoice with one line of rent."""
    body = {
        "lease_id": lease_id,
        "period_start": dt.date(2026, 11, 1),
        "period_end": dt.date(2026, 11, 30),
        "due_at": due,
        "lines": lines or [{"kind": "RENT", "description": "Rent", "amount": Decimal(amount)}],
    }
    with tenant_session(engine, agency_id, "test") as session:
        return billing.create(session, body)


def an_invoice(
    engine: Engine, agency_id: uuid.UUID, lease_id: uuid.UUID, *args: Any, **options: Any
) -> uuid.UUID:
    """An issued invoice; arguments as ``a_draft``."""
    invoice_id = a_draft(engine, agency_id, lease_id, *args, **options)
    with tenant_session(engine, agency_id, "test") as session:
        billing.issue(session, invoice_id)
    return invoice_id


def a_payment(
    engine: Engine, agency_id: uuid.UUID, lease_id: uuid.UUID, amount: str = "25000.00", **body: Any
) -> uuid.UUID:
    """A completed payment, in cash when no method is given."""
    body = {"lease_id": lease_id, "amount": Decimal(amount), "method": "CASH"} | body
    with tenant_session(engine, agency_id, "test") as session:
        return payments.create(session, body)


def a_phone(ending: str = "") -> str:
    """A Kenyan mobile number that no other test uses; ``ending`` chooses what the M-Pesa simulator does with it.

    Counted, not drawn: of 3,000 drawn from a hundred million, two are the same in one run of twenty.
    """
    free = 8 - len(ending)
    return f"+2547{next(_phones) % 10**free:0{free}}{ending}"


def _add(engine: Engine, agency_id: uuid.UUID, model: type[Base], columns: dict[str, Any]) -> uuid.UUID:
    row_id: uuid.UUID = columns.pop("id", None) or new_id()
    with tenant_session(engine, agency_id, "test") as session:
        session.add(model(agency_id=agency_id, id=row_id, **columns))
    return row_id
