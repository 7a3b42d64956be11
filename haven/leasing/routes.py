"""``/tenants`` and ``/leases``."""

from __future__ import annotations

import uuid
from typing import Any

from flask import Response
from flask_smorest import Blueprint
from marshmallow import fields
from sqlalchemy import Numeric, Text, cast, func

from haven.api.bodies import body
from haven.api.fields import Money
from haven.api.guard import requires
from haven.api.idempotency import idempotent
from haven.api.listing import Filter, Listing
from haven.api.resource import Resource, problems, register
from haven.billing import service as billing
from haven.identity.place import own_currency
from haven.leasing import schemas, service
from haven.leasing.models import Lease, Tenant
from haven.operations import webhooks

tenants = Blueprint("tenants", __name__, description="People and firms that rent.")
leases = Blueprint("leases", __name__, description="Tenancies.")
blueprints = [tenants, leases]

_COMMON = ("id", "created_at", "updated_at", "version")
_TENANT_COLUMNS = "full_name email phone national_id status notes language opt_outs".split()

_balance = cast(cast(billing.balance_of_tenant(Tenant.agency_id, Tenant.id), Numeric(14, 2)), Text)

TENANTS = Resource(
    "tenant",
    "/tenants",
    "tenants",
    schemas.TenantRow,
    Listing(
        "tenant",
        Tenant.id,
        {name: getattr(Tenant, name) for name in (*_TENANT_COLUMNS, *_COMMON)}
        | {"balance": _balance, "currency": own_currency()},
        filters={
            "full_name": Filter(Tenant.full_name, fields.String()),
            "email": Filter(Tenant.email, fields.String()),
            "phone": Filter(Tenant.phone, fields.String()),
            "national_id": Filter(Tenant.national_id, fields.String()),
            "status": Filter(Tenant.status, fields.String()),
        },
        sorts={"full_name": Tenant.full_name},
        search=Tenant.search,
    ),
    schemas.TenantBody,
    derived=("balance",),
    create=service.create_tenant,
    update=service.update_tenant,
    delete=service.delete_tenant,
    is_cached=True,
)
register(tenants, TENANTS)

_LEASE_COLUMNS = (
    "unit_id tenant_id start_date end_date rent_amount deposit_amount billing_day grace_days status activated_at"
    " terminated_at termination_reason"
).split()
_deposit_held = billing.deposit_held_of_lease(Lease.agency_id, Lease.id)
_late_fee = func.jsonb_build_object("kind", Lease.late_fee_kind, "amount", cast(Lease.late_fee_amount, Text))

LEASES = Resource(
    "lease",
    "/leases",
    "leases",
    schemas.LeaseRow,
    Listing(
        "lease",
        Lease.id,
        {name: getattr(Lease, name) for name in (*_LEASE_COLUMNS, *_COMMON)}
        | {"late_fee": _late_fee, "deposit_held": _deposit_held, "currency": own_currency()},
        filters={
            "unit_id": Filter(Lease.unit_id, fields.UUID()),
            "tenant_id": Filter(Lease.tenant_id, fields.UUID()),
            "status": Filter(Lease.status, fields.String()),
            "start_date": Filter(Lease.start_date, fields.Date(), ordered=True),
            "end_date": Filter(Lease.end_date, fields.Date(), ordered=True),
            "rent_amount": Filter(Lease.rent_amount, Money(), ordered=True),
        },
        sorts={"start_date": Lease.start_date, "end_date": Lease.end_date},
    ),
    schemas.LeaseBody,
    derived=("deposit_held",),
    create=service.create_lease,
    update=service.update_lease,
    delete=service.delete_lease,
    is_cached=True,
)
register(leases, LEASES)


@leases.route("/leases/<uuid:row_id>/activate", methods=["POST"])
@requires("leases:write")
@idempotent
@leases.response(200, schemas.LeaseRow)
@leases.doc(summary="Activate a draft lease", responses=problems(404, 409, 412))
def activate(row_id: uuid.UUID) -> Response:
    def act(session: Any, version: int | None) -> None:
        service.activate_lease(session, row_id, version)
        webhooks.emit(session, "lease.activated", {"lease_id": str(row_id)})

    return LEASES.changed(row_id, act)


@leases.route("/leases/<uuid:row_id>/terminate", methods=["POST"])
@requires("leases:write")
@idempotent
@leases.response(200, schemas.LeaseRow)
@leases.doc(summary="End an active lease", responses=problems(400, 404, 409, 412, 415, 422))
@body(schemas.TerminateBody)
def terminate(values: dict[str, Any], row_id: uuid.UUID) -> Response:
    return LEASES.changed(
        row_id,
        lambda session, version: service.terminate_lease(
            session, row_id, values["date"], values["reason"], version
        ),
    )
