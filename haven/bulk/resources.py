"""What can be done in bulk, and with what: the schemas and services of the single endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from marshmallow import Schema

from haven.api.resource import Create, Delete, Update
from haven.leasing import schemas as leasing_schemas
from haven.leasing import service as leasing
from haven.leasing.models import Tenant
from haven.payments import schemas as payment_schemas
from haven.payments import service as payments
from haven.portfolio import schemas as portfolio_schemas
from haven.portfolio import service as portfolio
from haven.portfolio.models import Property


@dataclass(frozen=True)
class Bulk:
    """One resource in bulk.

    Args:
        name: as in the path and its permission ("tenants").
        noun: one row in words.
        row: the schema of an answer: its columns that nobody may set are passed over in a CSV file.
        table: where its rows can be copied as they are, since the service adds nothing to them; ``defaults`` are the
            table's own for what a row leaves out.
        delete: None where rows are never removed.
    """

    name: str
    noun: str
    row: type[Schema]
    body: type[Schema]
    patch: type[Schema]
    create: Create
    update: Update
    delete: Delete | None
    table: type[Any] | None = None
    defaults: tuple[tuple[str, Any], ...] = ()


BULK: Final = {
    one.name: one
    for one in (
        Bulk(
            "properties",
            "property",
            portfolio_schemas.PropertyRow,
            portfolio_schemas.PropertyBody,
            portfolio_schemas.PropertyBody,
            portfolio.create_property,
            portfolio.update_property,
            portfolio.delete_property,
            Property,
            (("status", "ACTIVE"),),
        ),
        Bulk(
            "units",
            "unit",
            portfolio_schemas.UnitRow,
            portfolio_schemas.UnitBody,
            portfolio_schemas.UnitBody,
            portfolio.create_unit,
            portfolio.update_unit,
            portfolio.delete_unit,
        ),
        Bulk(
            "tenants",
            "tenant",
            leasing_schemas.TenantRow,
            leasing_schemas.TenantBody,
            leasing_schemas.TenantBody,
            leasing.create_tenant,
            leasing.update_tenant,
            leasing.delete_tenant,
            Tenant,
            (("status", "PROSPECT"), ("opt_outs", ())),
        ),
        Bulk(
            "leases",
            "lease",
            leasing_schemas.LeaseRow,
            leasing_schemas.LeaseBody,
            leasing_schemas.LeaseBody,
            leasing.create_lease,
            leasing.update_lease,
            leasing.delete_lease,
        ),
        Bulk(
            "payments",
            "payment",
            payment_schemas.PaymentRow,
            payment_schemas.PaymentBody,
            payment_schemas.PaymentPatch,
            payments.create,
            payments.update,
            None,
        ),
    )
}
