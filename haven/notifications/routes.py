"""``/notifications``."""

from __future__ import annotations

import uuid
from typing import Final

from flask import Response
from flask_smorest import Blueprint
from marshmallow import fields
from sqlalchemy import case

from haven.api.encoding import json_response
from haven.api.guard import current_session, requires
from haven.api.idempotency import idempotent
from haven.api.listing import Filter, Listing
from haven.api.resource import list_answer, list_doc, page_schema, problems
from haven.notifications import service
from haven.notifications.models import Notification
from haven.notifications.schemas import ToldRow

blueprint = Blueprint("notifications", __name__, description="Who was told what, by e-mail and SMS.")

_COLUMNS: Final = (
    "id kind about_id occasion tenant_id channel recipient language subject status tries segments last_error"
    " created_at sent_at delivered_at"
).split()
# Whoever has the link of a file can open it: it is for its recipient alone.
_body = case((Notification.kind.in_(("EXPORT_READY", "REPORT_READY")), ""), else_=Notification.body)
NOTIFICATIONS: Final = Listing(
    "notification",
    Notification.id,
    {name: getattr(Notification, name) for name in _COLUMNS} | {"body": _body},
    filters={
        "status": Filter(Notification.status, fields.String()),
        "channel": Filter(Notification.channel, fields.String()),
        "kind": Filter(Notification.kind, fields.String()),
        "tenant_id": Filter(Notification.tenant_id, fields.UUID()),
        "about_id": Filter(Notification.about_id, fields.UUID()),
    },
)


@blueprint.route("/notifications", methods=["GET"])
@requires("notifications:read")
@blueprint.response(200, page_schema(ToldRow))
@blueprint.doc(summary="Who was told what", **list_doc(NOTIFICATIONS))
def list_notifications() -> Response:
    return list_answer(NOTIFICATIONS)


@blueprint.route("/notifications/<uuid:row_id>", methods=["GET"])
@requires("notifications:read")
@blueprint.response(200, ToldRow)
@blueprint.doc(summary="Read one notification", responses=problems(404))
def read_notification(row_id: uuid.UUID) -> Response:
    return json_response(NOTIFICATIONS.one(current_session(), row_id))


@blueprint.route("/notifications/<uuid:row_id>/resend", methods=["POST"])
@requires("notifications:write")
@idempotent
@blueprint.response(202, ToldRow)
@blueprint.doc(summary="Send a failed notification again", responses=problems(404, 409))
def resend(row_id: uuid.UUID) -> Response:
    service.resend(current_session(), row_id)
    return json_response(NOTIFICATIONS.one(current_session(), row_id), 202)
