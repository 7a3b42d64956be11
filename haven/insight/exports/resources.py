"""What can be exported: each list with its own columns and filters, and the names that make a row readable by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Cast,
    ColumnElement,
    Date,
    DateTime,
    Integer,
    Numeric,
    Text,
    Uuid,
    cast,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.selectable import FromClause
from sqlalchemy.types import NullType

from haven.api.listing import Column, Listing
from haven.billing.models import Invoice
from haven.billing.routes import INVOICES
from haven.leasing.models import Lease, Tenant
from haven.leasing.routes import LEASES, TENANTS
from haven.payments.listings import PAYMENTS
from haven.payments.models import Payment
from haven.portfolio.models import Owner, Property, Unit
from haven.portfolio.routes import PROPERTIES, UNITS

MONEY: Final = Numeric(14, 2)
_MONEY_AS_TEXT: Final = frozenset({"balance", "deposit_held"})
"""Money that the lists show as text already."""
_CHOSEN: Final = frozenset({"status", "lease_status", "method", "kind", "currency", "language"})
"""Text of a fixed set of words, kept by a check of its table."""


@dataclass(frozen=True, slots=True)
class Field:
    """One column of an export, with the type it has in the database."""

    name: str
    column: ColumnElement[Any]
    is_free: bool
    """Whether people write what is in it, so that it may look like a formula."""

    @property
    def kind(self) -> str:
        """``money decimal integer instant date list json id`` or ``text``."""
        kind = self.column.type
        if isinstance(kind, Numeric):
            return "money" if kind.scale == MONEY.scale else "decimal"
        for types, name in _KINDS:
            if isinstance(kind, types):
                return name
        return "text"


_KINDS: Final[tuple[tuple[Any, str], ...]] = (
    ((Integer, BigInteger), "integer"),
    (DateTime, "instant"),
    (Date, "date"),
    (ARRAY, "list"),
    ((JSONB, NullType), "json"),
    (Uuid, "id"),
)


@dataclass(frozen=True)
class Exported:
    """One resource: its list, the names beside it, and where those come from."""

    name: str
    listing: Listing
    names: Mapping[str, Column] = field(default_factory=dict)
    joined: FromClause | None = None

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """The list's columns, then the names."""
        columns = {**self.listing.columns, **self.names}
        return tuple(_field(name, column) for name, column in columns.items())


def _field(name: str, column: Any) -> Field:
    if name in _MONEY_AS_TEXT:
        inner = column.clause if isinstance(column, Cast) else column
        return Field(name, cast(inner, MONEY), is_free=False)
    is_own = isinstance(column, InstrumentedAttribute) or hasattr(column, "property")
    is_free = is_own and isinstance(column.type, Text) and name not in _CHOSEN
    return Field(name, column, is_free)


def _outer(left: FromClause, right: Any, column: Any) -> FromClause:
    """``left`` with the row of ``right`` that ``column`` names, if it names one."""
    return left.outerjoin(
        right.__table__, (right.agency_id == column.class_.agency_id) & (right.id == column)
    )


_UNIT_NAMES: Final = {
    "unit_label": Unit.label,
    "property_name": Property.name,
    "property_code": Property.code,
}


def _with_place(left: FromClause, lease_is_own: bool = False) -> FromClause:
    found = (
        left
        if lease_is_own
        else left.join(Lease.__table__, (Lease.agency_id == left.c.agency_id) & (Lease.id == left.c.lease_id))
    )
    return _outer(
        _outer(_outer(found, Tenant, Lease.tenant_id), Unit, Lease.unit_id), Property, Unit.property_id
    )


_LEASE_NAMES: Final = {
    "unit_id": Lease.unit_id,
    "lease_start_date": Lease.start_date,
    "lease_end_date": Lease.end_date,
    "lease_status": Lease.status,
    "tenant_name": Tenant.full_name,
    "tenant_phone": Tenant.phone,
    "property_id": Unit.property_id,
    **_UNIT_NAMES,
}

RESOURCES: Final = {
    one.name: one
    for one in (
        Exported(
            "properties",
            PROPERTIES.listing,
            {"owner_name": Owner.full_name},
            _outer(Property.__table__, Owner, Property.owner_id),
        ),
        Exported(
            "units",
            UNITS.listing,
            {"property_name": Property.name, "property_code": Property.code},
            _outer(Unit.__table__, Property, Unit.property_id),
        ),
        Exported("tenants", TENANTS.listing),
        Exported(
            "leases",
            LEASES.listing,
            {
                "tenant_name": Tenant.full_name,
                "tenant_phone": Tenant.phone,
                "property_id": Unit.property_id,
                **_UNIT_NAMES,
            },
            _with_place(Lease.__table__, lease_is_own=True),
        ),
        Exported("invoices", INVOICES.listing, _LEASE_NAMES, _with_place(Invoice.__table__)),
        Exported("payments", PAYMENTS, _LEASE_NAMES, _with_place(Payment.__table__)),
    )
}
