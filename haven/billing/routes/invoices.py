"""``/invoices``."""

from __future__ import annotations

import uuid
from typing import Any

from flask import Response
from flask_smorest import Blueprint
from marshmallow import fields
from sqlalchemy import Text, cast, func, literal, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from haven.api.bodies import body
from haven.api.fields import Money
from haven.api.guard import current_session, requires
from haven.api.idempotency import idempotent
from haven.api.listing import Filter, Listing
from haven.api.resource import Resource, problems, register
from haven.billing import schemas, service
from haven.billing.models import Invoice, InvoiceLine
from haven.operations.routes import job_created
from haven.operations.schemas import JobRow

blueprint = Blueprint("invoices", __name__, description="Invoices, and the month's rent run.")

_line = func.jsonb_build_object(
    "kind", InvoiceLine.kind, "description", InvoiceLine.description, "amount", cast(InvoiceLine.amount, Text)
)
_lines = (
    select(
        func.coalesce(
            func.jsonb_agg(aggregate_order_by(_line, InvoiceLine.position)), func.jsonb_build_array()
        )
    )
    .where(InvoiceLine.agency_id == Invoice.agency_id, InvoiceLine.invoice_id == Invoice.id)
    .correlate(Invoice)
    .scalar_subquery()
)
# null while it is a draft: || with null is null.
_number = literal("INV-").concat(func.lpad(cast(Invoice.number, Text), 6, "0"))
_COLUMNS = (
    "lease_id tenant_id period_start period_end issued_at due_at currency total credited paid balance status late_fee_of"
    " voided_at void_reason id created_at updated_at version"
).split()

INVOICES = Resource(
    "invoice",
    "/invoices",
    "invoices",
    schemas.InvoiceRow,
    Listing(
        "invoice",
        Invoice.id,
        {name: getattr(Invoice, name) for name in _COLUMNS} | {"number": _number, "lines": _lines},
        filters={
            "lease_id": Filter(Invoice.lease_id, fields.UUID()),
            "tenant_id": Filter(Invoice.tenant_id, fields.UUID()),
            "status": Filter(Invoice.status, fields.String()),
            "due_at": Filter(Invoice.due_at, fields.Date(), ordered=True),
            "period_start": Filter(Invoice.period_start, fields.Date(), ordered=True),
            "total": Filter(Invoice.total, Money(), ordered=True),
        },
        sorts={"due_at": Invoice.due_at, "period_start": Invoice.period_start, "total": Invoice.total},
        search=Invoice.search,
    ),
    schemas.InvoiceBody,
    create=service.create,
    update=service.update,
    delete=service.remove,
    is_cached=True,
)
register(blueprint, INVOICES)


@blueprint.route("/invoices/<uuid:row_id>/issue", methods=["POST"])
@requires("invoices:write")
@idempotent
@blueprint.response(200, schemas.InvoiceRow)
@blueprint.doc(summary="Issue a draft: number, ledger, credit", responses=problems(404, 409, 412))
def issue(row_id: uuid.UUID) -> Response:
    return INVOICES.changed(row_id, lambda session, version: service.issue(session, row_id, version))


@blueprint.route("/invoices/<uuid:row_id>/void", methods=["POST"])
@requires("invoices:write")
@idempotent
@blueprint.response(200, schemas.InvoiceRow)
@blueprint.doc(summary="Void an issued invoice", responses=problems(400, 404, 409, 412, 415, 422))
@body(schemas.VoidBody)
def void(values: dict[str, Any], row_id: uuid.UUID) -> Response:
    return INVOICES.changed(
        row_id, lambda session, version: service.void(session, row_id, values["reason"], version)
    )


@blueprint.route("/invoices/run", methods=["POST"])
@requires("invoices:write")
@idempotent
@blueprint.response(202, JobRow)
@blueprint.doc(summary="Bill every active lease for a month, as a job", responses=problems(400, 415, 422))
@body(schemas.RunBody)
def run(values: dict[str, Any]) -> Response:
    return job_created(service.request_run(current_session(), values["period"]))
