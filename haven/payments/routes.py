"""``/payments``."""

from __future__ import annotations

import uuid
from typing import Any

from flask import Response
from flask_smorest import Blueprint

from haven.api.bodies import body
from haven.api.encoding import json_response
from haven.api.guard import answer_after_commit, current_session, requires, runtime
from haven.api.idempotency import idempotent
from haven.api.resource import Resource, problems, register
from haven.payments import schemas, service
from haven.payments.listings import PAYMENTS as LISTING

blueprint = Blueprint(
    "payments", __name__, description="Rent received: by M-Pesa, cash, bank, card and cheque."
)

PAYMENTS = Resource(
    "payment",
    "/payments",
    "payments",
    schemas.PaymentRow,
    LISTING,
    schemas.PaymentBody,
    schemas.PaymentPatch,
    create=service.create,
    update=service.update,
    is_cached=True,
)
register(blueprint, PAYMENTS)


@blueprint.route("/payments/mpesa/stk-push", methods=["POST"])
@requires("payments:write")
@idempotent
@blueprint.response(202, schemas.PaymentRow)
@blueprint.doc(summary="Ring a phone for rent", responses=problems(400, 409, 415, 422, 503))
@body(schemas.StkPushBody)
def stk_push(values: dict[str, Any]) -> Response:
    push = service.start_push(current_session(), **values)

    def ring() -> Response:
        service.send_push(runtime(), push)
        return PAYMENTS.created(push.payment_id, 202)

    answer_after_commit(ring)
    return PAYMENTS.created(push.payment_id, 202)


@blueprint.route("/payments/<uuid:row_id>/status", methods=["GET"])
@requires("payments:read")
@blueprint.response(200, schemas.StatusRow)
@blueprint.doc(summary="Where a payment stands", responses=problems(404))
def status(row_id: uuid.UUID) -> Response:
    return json_response(service.status(current_session(), row_id))


@blueprint.route("/payments/<uuid:row_id>/receipt", methods=["GET"])
@requires("payments:read")
@blueprint.response(200, schemas.Receipt)
@blueprint.doc(summary="The receipt of a completed payment", responses=problems(404, 409))
def receipt(row_id: uuid.UUID) -> Response:
    return json_response(service.receipt(current_session(), row_id))


@blueprint.route("/payments/<uuid:row_id>/evidence", methods=["GET"])
@requires("payments:read")
@blueprint.response(200, schemas.Evidence)
@blueprint.doc(summary="Everything M-Pesa said of a payment", responses=problems(404))
def evidence(row_id: uuid.UUID) -> Response:
    return json_response(service.evidence(current_session(), row_id))


@blueprint.route("/payments/<uuid:row_id>/reverse", methods=["POST"])
@requires("payments:reverse")
@idempotent
@blueprint.response(200, schemas.PaymentRow)
@blueprint.doc(summary="Reverse a completed payment", responses=problems(400, 404, 409, 412, 415, 422))
@body(schemas.ReverseBody)
def reverse(values: dict[str, Any], row_id: uuid.UUID) -> Response:
    return PAYMENTS.changed(
        row_id, lambda session, version: service.reverse(session, row_id, values["reason"], version)
    )


@blueprint.route("/payments/mpesa/inbox/<uuid:inbox_id>/replay", methods=["POST"])
@requires("payments:admin")
@blueprint.response(200, schemas.Replayed)
@blueprint.doc(summary="Apply a stored callback again", responses=problems(404))
def replay(inbox_id: uuid.UUID) -> Response:
    return json_response({"id": inbox_id, "outcome": service.replay_callback(current_session(), inbox_id)})
