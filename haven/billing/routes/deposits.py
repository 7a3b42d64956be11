"""``/leases/{id}/deposit``: what is held, and what becomes of it when the lease is over."""

from __future__ import annotations

import uuid
from typing import Any

from flask import Response
from flask_smorest import Blueprint

from haven.api.bodies import body
from haven.api.encoding import json_response
from haven.api.guard import current_session, requires
from haven.api.idempotency import idempotent
from haven.api.resource import API, problems
from haven.billing import money_schemas as schemas
from haven.billing import service

blueprint = Blueprint("deposits", __name__, description="Deposits: held, used, given back.")
_PROBLEMS = problems(400, 404, 409, 415, 422)


def _made(description: str) -> dict[str, Any]:
    return {"Location": {"description": description, "schema": {"type": "string"}}}


@blueprint.route("/leases/<uuid:row_id>/deposit", methods=["GET"])
@requires("leases:read")
@blueprint.response(200, schemas.DepositRow)
@blueprint.doc(summary="The deposit of a lease", responses=problems(404))
def read_deposit(row_id: uuid.UUID) -> Response:
    return _deposit(row_id)


@blueprint.route("/leases/<uuid:row_id>/deposit/apply", methods=["POST"])
@requires("disbursements:write")
@idempotent
@blueprint.response(200, schemas.DepositRow, headers=_made("The payment."))
@blueprint.doc(summary="Let the deposit pay arrears", responses=_PROBLEMS)
@body(schemas.ApplyDepositBody)
def apply_deposit(values: dict[str, Any], row_id: uuid.UUID) -> Response:
    payment_id = service.apply_to_arrears(current_session(), row_id, values.get("amount"))
    return _deposit(row_id, f"/payments/{payment_id}")


@blueprint.route("/leases/<uuid:row_id>/deposit/retain", methods=["POST"])
@requires("disbursements:write")
@idempotent
@blueprint.response(200, schemas.DepositRow, headers=_made("The invoice."))
@blueprint.doc(summary="Keep some of the deposit, for a reason", responses=_PROBLEMS)
@body(schemas.RetainDepositBody)
def retain_deposit(values: dict[str, Any], row_id: uuid.UUID) -> Response:
    invoice_id = service.retain(current_session(), row_id, values["amount"], values["reason"])
    return _deposit(row_id, f"/invoices/{invoice_id}")


@blueprint.route("/leases/<uuid:row_id>/deposit/refund", methods=["POST"])
@requires("disbursements:write")
@idempotent
@blueprint.response(200, schemas.DepositRow, headers=_made("The disbursement."))
@blueprint.doc(summary="Record that the deposit has gone back", responses=_PROBLEMS)
@body(schemas.RefundDepositBody)
def refund_deposit(values: dict[str, Any], row_id: uuid.UUID) -> Response:
    disbursement_id = service.refund(current_session(), row_id, values)
    return _deposit(row_id, f"/disbursements/{disbursement_id}")


def _deposit(lease_id: uuid.UUID, made: str | None = None) -> Response:
    found = service.deposit(current_session(), lease_id)
    row = {name: f"{getattr(found, name):.2f}" for name in ("charged", "paid", "used", "refunded", "held")}
    headers = {} if made is None else {"Location": f"{API}{made}"}
    return json_response({"lease_id": lease_id, **row}, headers=headers)
