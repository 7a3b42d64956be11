"""``/credit-notes``, and ``/invoices/{id}/credit`` that makes one."""

from __future__ import annotations

import uuid
from typing import Any

from flask import Response
from flask_smorest import Blueprint
from marshmallow import fields
from sqlalchemy import Text, cast, func, literal, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from haven.api.bodies import body
from haven.api.conditional import expected_version
from haven.api.encoding import json_response
from haven.api.fields import Money
from haven.api.guard import current_session, requires
from haven.api.idempotency import idempotent
from haven.api.listing import Filter, Listing
from haven.api.resource import API, list_answer, list_doc, page_schema, problems
from haven.billing import schemas, service
from haven.billing.models import CreditNote, CreditNoteLine

blueprint = Blueprint("credit-notes", __name__, description="What was taken off issued invoices.")

_line = func.jsonb_build_object(
    "kind",
    "CREDIT",
    "charge_kind",
    CreditNoteLine.kind,
    "description",
    CreditNote.reason,
    "amount",
    cast(-CreditNoteLine.amount, Text),
)
_lines = (
    select(func.jsonb_agg(aggregate_order_by(_line, CreditNoteLine.id)))
    .where(CreditNoteLine.agency_id == CreditNote.agency_id, CreditNoteLine.credit_note_id == CreditNote.id)
    .correlate(CreditNote)
    .scalar_subquery()
)
_number = literal("CN-").concat(func.lpad(cast(CreditNote.number, Text), 6, "0"))
_COLUMNS = "id invoice_id lease_id tenant_id issued_at currency amount reason created_at".split()

CREDIT_NOTES = Listing(
    "credit note",
    CreditNote.id,
    {name: getattr(CreditNote, name) for name in _COLUMNS} | {"number": _number, "lines": _lines},
    filters={
        "invoice_id": Filter(CreditNote.invoice_id, fields.UUID()),
        "lease_id": Filter(CreditNote.lease_id, fields.UUID()),
        "tenant_id": Filter(CreditNote.tenant_id, fields.UUID()),
        "issued_at": Filter(CreditNote.issued_at, fields.AwareDateTime(), ordered=True),
        "amount": Filter(CreditNote.amount, Money(), ordered=True),
    },
    sorts={"issued_at": CreditNote.issued_at, "amount": CreditNote.amount},
)


@blueprint.route("/credit-notes", methods=["GET"])
@requires("invoices:read")
@blueprint.response(200, page_schema(schemas.CreditNoteRow))
@blueprint.doc(summary="List credit notes", **list_doc(CREDIT_NOTES))
def list_credit_notes() -> Response:
    return list_answer(CREDIT_NOTES)


@blueprint.route("/credit-notes/<uuid:row_id>", methods=["GET"])
@requires("invoices:read")
@blueprint.response(200, schemas.CreditNoteRow)
@blueprint.doc(summary="Read one credit note", responses=problems(404))
def read_credit_note(row_id: uuid.UUID) -> Response:
    return json_response(CREDIT_NOTES.one(current_session(), row_id))


@blueprint.route("/invoices/<uuid:row_id>/credit", methods=["POST"])
@requires("invoices:write")
@idempotent
@blueprint.response(201, schemas.CreditNoteRow)
@blueprint.doc(
    summary="Take something off an issued invoice", responses=problems(400, 404, 409, 412, 415, 422)
)
@body(schemas.CreditBody)
def credit(values: dict[str, Any], row_id: uuid.UUID) -> Response:
    note_id = service.credit(current_session(), row_id, **values, version=expected_version())
    row = CREDIT_NOTES.one(current_session(), note_id)
    return json_response(row, 201, {"Location": f"{API}/credit-notes/{note_id}"})
