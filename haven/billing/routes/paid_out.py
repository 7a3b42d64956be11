"""``/disbursements``, and the payouts and expenses of ``/owners/{id}`` that make them."""

from __future__ import annotations

import uuid
from typing import Any

from flask import Response
from flask_smorest import Blueprint
from marshmallow import fields

from haven.api.bodies import body
from haven.api.fields import Money
from haven.api.guard import current_session, requires
from haven.api.idempotency import idempotent
from haven.api.listing import Filter, Listing
from haven.api.resource import Resource, problems, register
from haven.billing import money_schemas as schemas
from haven.billing import service
from haven.billing.models import Disbursement

blueprint = Blueprint(
    "disbursements", __name__, description="Money that has left: to owners, for owners, deposits given back."
)

_COLUMNS = (
    "kind lease_id owner_id amount currency method reference description status paid_at reversed_at reversal_reason"
    " id created_at updated_at version"
).split()

DISBURSEMENTS = Resource(
    "disbursement",
    "/disbursements",
    "disbursements",
    schemas.DisbursementRow,
    Listing(
        "disbursement",
        Disbursement.id,
        {name: getattr(Disbursement, name) for name in _COLUMNS},
        filters={
            "kind": Filter(Disbursement.kind, fields.String()),
            "lease_id": Filter(Disbursement.lease_id, fields.UUID()),
            "owner_id": Filter(Disbursement.owner_id, fields.UUID()),
            "status": Filter(Disbursement.status, fields.String()),
            "paid_at": Filter(Disbursement.paid_at, fields.AwareDateTime(), ordered=True),
            "amount": Filter(Disbursement.amount, Money(), ordered=True),
        },
        sorts={"paid_at": Disbursement.paid_at, "amount": Disbursement.amount},
    ),
)
register(blueprint, DISBURSEMENTS)


@blueprint.route("/owners/<uuid:row_id>/payouts", methods=["POST"])
@requires("disbursements:write")
@idempotent
@blueprint.response(201, schemas.DisbursementRow)
@blueprint.doc(summary="Record money paid to an owner", responses=problems(400, 404, 409, 415, 422))
@body(schemas.PayoutBody)
def pay_out(values: dict[str, Any], row_id: uuid.UUID) -> Response:
    return DISBURSEMENTS.created(service.pay_out(current_session(), row_id, values))


@blueprint.route("/owners/<uuid:row_id>/expenses", methods=["POST"])
@requires("disbursements:write")
@idempotent
@blueprint.response(201, schemas.DisbursementRow)
@blueprint.doc(summary="Record money spent for an owner", responses=problems(400, 404, 415, 422))
@body(schemas.ExpenseBody)
def spend(values: dict[str, Any], row_id: uuid.UUID) -> Response:
    return DISBURSEMENTS.created(service.spend(current_session(), row_id, values))


@blueprint.route("/disbursements/<uuid:row_id>/reverse", methods=["POST"])
@requires("disbursements:write")
@idempotent
@blueprint.response(200, schemas.DisbursementRow)
@blueprint.doc(
    summary="Undo what was recorded by mistake, or came back",
    responses=problems(400, 404, 409, 412, 415, 422),
)
@body(schemas.ReverseDisbursementBody)
def reverse(values: dict[str, Any], row_id: uuid.UUID) -> Response:
    return DISBURSEMENTS.changed(
        row_id,
        lambda session, version: service.reverse_disbursement(session, row_id, values["reason"], version),
    )
