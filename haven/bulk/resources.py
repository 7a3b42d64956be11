"""What can be done in bulk, and with what: the schemas and rules of the single endpoints."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from marshmallow import Schema
from sqlalchemy.orm import Session

from haven.db.base import Versioned
from haven.db.rows import Planned, planned
from haven.errors import HavenError
from haven.leasing import schemas as leasing_schemas
from haven.leasing import service as leasing
from haven.leasing.models import Lease, Tenant
from haven.payments import schemas as payment_schemas
from haven.payments import service as payments
from haven.payments.models import Payment
from haven.portfolio import schemas as portfolio_schemas
from haven.portfolio import service as portfolio
from haven.portfolio.models import Property, Unit

Changes = Mapping[str, Any]
Plan = Callable[[Session, Sequence[dict[str, Any]]], list[Planned]]
PlanChanges = Callable[[Session, Sequence[tuple[Any, dict[str, Any]]]], list[Planned]]


class CreateMany(Protocol):
    """Makes many rows; ``are_locked``: what ``Bulk.lock_all`` locks is."""

    def __call__(
        self, session: Session, bodies: Sequence[dict[str, Any]], *, are_locked: bool
    ) -> list[uuid.UUID | HavenError]: ...


@dataclass(frozen=True)
class Bulk:
    """One resource in bulk.

    Args:
        name: as in the path and its permission ("tenants").
        noun: one row in words.
        row: the schema of an answer: its columns that nobody may set are passed over in a CSV file.
        plan: what is stored of new rows; None: what the body says.
        plan_changes: (locked row, changes) → the columns to be set.
        check_delete: refuses to remove a locked row; None: only the database does.
        is_removable: whether rows are ever removed.
        create_many, lock_all: where more is to be done for a new row than storing it.
        batch: rows that are done as one set where all are one transaction.
    """

    name: str
    noun: str
    model: type[Versioned]
    row: type[Schema]
    body: type[Schema]
    patch: type[Schema]
    plan: Plan | None = None
    plan_changes: PlanChanges = lambda _session, wanted: [changes for _, changes in wanted]
    check_delete: Callable[[Any], None] | None = None
    is_removable: bool = True
    create_many: CreateMany | None = None
    lock_all: Callable[[Session], None] | None = None
    batch: int = 2000


def _each(plan: Callable[[Any, dict[str, Any]], dict[str, Any]]) -> PlanChanges:
    """The changes of many rows by the rule of one, where no other row has a say."""
    return lambda _session, wanted: [planned(plan, row, changes) for row, changes in wanted]


BULK: Final = {
    one.name: one
    for one in (
        Bulk(
            "properties",
            "property",
            Property,
            portfolio_schemas.PropertyRow,
            portfolio_schemas.PropertyBody,
            portfolio_schemas.PropertyBody,
        ),
        Bulk(
            "units",
            "unit",
            Unit,
            portfolio_schemas.UnitRow,
            portfolio_schemas.UnitBody,
            portfolio_schemas.UnitBody,
            plan=portfolio.plan_units,
            plan_changes=_each(portfolio.unit_changes),
        ),
        Bulk(
            "tenants",
            "tenant",
            Tenant,
            leasing_schemas.TenantRow,
            leasing_schemas.TenantBody,
            leasing_schemas.TenantBody,
        ),
        Bulk(
            "leases",
            "lease",
            Lease,
            leasing_schemas.LeaseRow,
            leasing_schemas.LeaseBody,
            leasing_schemas.LeaseBody,
            plan=leasing.plan_leases,
            plan_changes=_each(leasing.lease_changes),
            check_delete=leasing.check_is_draft,
        ),
        Bulk(
            "payments",
            "payment",
            Payment,
            payment_schemas.PaymentRow,
            payment_schemas.PaymentBody,
            payment_schemas.PaymentPatch,
            plan_changes=payments.plan_changes,
            is_removable=False,
            create_many=payments.create_many,
            lock_all=payments.lock_all_receipts,
            batch=250,
        ),
    )
}
