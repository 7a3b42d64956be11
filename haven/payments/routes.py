"""``/payments``."""

from __future__ import annotations

import uuid
from typing import Any

from flask import Response, request
from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from haven.api.bodies import body
from haven.api.encoding import json_response
from haven.api.event_stream import Shown, event_stream, stream_doc
from haven.api.guard import answer_after_commit, current_session, requires, runtime
from haven.api.idempotency import idempotent
from haven.api.listing import next_link
from haven.api.resource import Resource, list_answer, list_doc, page_schema, problems, register
from haven.payments import schemas, service
from haven.payments.listings import PAYMENTS as LISTING
from haven.payments.listings import RECONCILIATIONS, UNMATCHED

_PDF = "application/pdf"
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


@blueprint.route("/payments/<uuid:row_id>/events", methods=["GET"])
@requires("payments:read")
@blueprint.doc(**stream_doc("Wait for a payment", "StatusRow"))
def events(row_id: uuid.UUID) -> Response:
    def look(session: Session) -> Shown:
        found = service.status(session, row_id)
        return Shown(str(found["version"]), found, found["is_final"])

    return event_stream(look)


@blueprint.route("/payments/<uuid:row_id>/receipt", methods=["GET"])
@requires("payments:read")
@blueprint.response(200, schemas.Receipt)
@blueprint.doc(summary="The receipt of a completed payment", responses=problems(404, 409))
def receipt(row_id: uuid.UUID) -> Response:
    return json_response(service.receipt(current_session(), row_id))


@blueprint.route("/payments/<uuid:row_id>/receipt.pdf", methods=["GET"])
@requires("payments:read")
@blueprint.doc(
    summary="The receipt of a completed payment, typeset",
    responses={
        "200": {
            "description": "One page of A5, more where many invoices were paid.",
            "content": {_PDF: {"schema": {"type": "string", "contentMediaType": _PDF}}},
        },
        **problems(404, 409, 503),
    },
)
def receipt_page(row_id: uuid.UUID) -> Response:
    found = service.receipt(current_session(), row_id)

    def typeset() -> Response:
        name = f'inline; filename="{found["number"]}.pdf"'
        return Response(service.receipt_pdf(found), content_type=_PDF, headers={"Content-Disposition": name})

    # Typesetting takes its time, and no transaction waits for it.
    answer_after_commit(typeset)
    return Response(status=204)


@blueprint.route("/payments/<uuid:row_id>/evidence", methods=["GET"])
@requires("payments:read")
@blueprint.response(200, schemas.Evidence)
@blueprint.doc(summary="Everything M-Pesa said of a payment", responses=problems(404))
def evidence(row_id: uuid.UUID) -> Response:
    return json_response(service.evidence(current_session(), row_id))


@blueprint.route("/payments/<uuid:row_id>/notifications", methods=["GET"])
@requires("payments:read")
@blueprint.response(200, schemas.Notifications)
@blueprint.doc(summary="Who was told of a payment", responses=problems(404))
def notifications(row_id: uuid.UUID) -> Response:
    return json_response(service.notifications(current_session(), row_id))


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


@blueprint.route("/payments/<uuid:row_id>/resolve", methods=["POST"])
@requires("payments:resolve")
@idempotent
@blueprint.response(200, schemas.PaymentRow)
@blueprint.doc(summary="Decide a payment that needs review", responses=problems(400, 404, 409, 412, 415, 422))
@body(schemas.ResolveBody)
def resolve(values: dict[str, Any], row_id: uuid.UUID) -> Response:
    return PAYMENTS.changed(
        row_id, lambda session, version: service.resolve(session, row_id, version=version, **values)
    )


@blueprint.route("/payments/mpesa/inbox/<uuid:inbox_id>/replay", methods=["POST"])
@requires("payments:admin")
@blueprint.response(200, schemas.Replayed)
@blueprint.doc(summary="Apply a stored callback again", responses=problems(404))
def replay(inbox_id: uuid.UUID) -> Response:
    return json_response({"id": inbox_id, "outcome": service.replay_callback(current_session(), inbox_id)})


@blueprint.route("/payments/unmatched", methods=["GET"])
@requires("payments:read")
@blueprint.response(200, page_schema(schemas.UnmatchedRow))
@blueprint.doc(summary="Money that waits for a person, with suggestions", **list_doc(UNMATCHED))
def unmatched() -> Response:
    session = current_session()
    page = UNMATCHED.page(session.connection(), UNMATCHED.parse(request.args))
    suggested = service.suggestions(session, [uuid.UUID(row["id"]) for row in page.rows])
    rows = [row | {"suggestions": suggested[row["id"]]} for row in page.rows]
    headers = {"Link": next_link(request.path, request.args, page.next_cursor)} if page.next_cursor else {}
    return json_response(page.document() | {"data": rows}, headers=headers)


@blueprint.route("/payments/unmatched/<uuid:row_id>/match", methods=["POST"])
@requires("payments:write")
@idempotent
@blueprint.response(201, schemas.PaymentRow)
@blueprint.doc(summary="Place money that waits", responses=problems(400, 404, 409, 415, 422))
@body(schemas.MatchBody)
def match(values: dict[str, Any], row_id: uuid.UUID) -> Response:
    payment_id = service.match(current_session(), row_id, values["lease_id"])
    return PAYMENTS.created(payment_id)


@blueprint.route("/payments/mpesa/c2b/register", methods=["POST"])
@requires("payments:admin")
@blueprint.response(201, schemas.C2bAddressRow)
@blueprint.doc(
    summary="Make addresses for what is paid to the paybill, and tell M-Pesa",
    responses=problems(400, 409, 415, 422),
)
@body(schemas.C2bRegisterBody)
def register_c2b(values: dict[str, Any]) -> Response:
    registration = service.start_registration(current_session(), runtime().settings, **values)

    def tell() -> Response:
        return json_response(service.send_registration(runtime(), registration), 201)

    answer_after_commit(tell)
    return Response(status=201)


@blueprint.route("/payments/mpesa/reconciliations", methods=["GET"])
@requires("payments:read")
@blueprint.response(200, page_schema(schemas.ReconciliationRow))
@blueprint.doc(summary="List comparisons with M-Pesa's own list", **list_doc(RECONCILIATIONS))
def reconciliations() -> Response:
    return list_answer(RECONCILIATIONS)
