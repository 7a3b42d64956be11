"""``/tenants/{id}/statement`` and ``/owners/{id}/balance``."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from typing import Any

from flask import Response, current_app, request
from flask_smorest import Blueprint

from haven.api.encoding import json_response
from haven.api.guard import current_session, requires
from haven.api.periods import PARAMETERS, read_period
from haven.api.resource import problems
from haven.billing import money_schemas as schemas
from haven.billing import service

blueprint = Blueprint("statements", __name__, description="What tenants owe, and what is the owners'.")


@blueprint.route("/tenants/<uuid:row_id>/statement", methods=["GET"])
@requires("ledger:read")
@blueprint.response(200, schemas.TenantStatement)
@blueprint.doc(
    summary="What happened on a tenant's account", parameters=PARAMETERS, responses=problems(404, 422)
)
def tenant_statement(row_id: uuid.UUID) -> Response:
    day = service.agency_day(current_session(), dt.datetime.now(dt.UTC))
    period = read_period(request.args, day.today)
    most = min(service.STATEMENT_LINES, current_app.config["MAX_RESULT_ROWS"])
    found = service.tenant_statement(current_session(), row_id, day, *period, most)
    lines = [_shown(line) for line in found.lines]
    return _answer(found, day, period, tenant_id=row_id, lines=lines)


@blueprint.route("/owners/<uuid:row_id>/balance", methods=["GET"])
@requires("ledger:read")
@blueprint.response(200, schemas.OwnerBalance)
@blueprint.doc(
    summary="What is collected for an owner, and what is his",
    parameters=PARAMETERS,
    responses=problems(404, 422),
)
def owner_balance(row_id: uuid.UUID) -> Response:
    day = service.agency_day(current_session(), dt.datetime.now(dt.UTC))
    period = read_period(request.args, day.today)
    return _answer(
        service.owner_balance(current_session(), row_id, day, *period), day, period, owner_id=row_id
    )


def _answer(found: Any, day: service.AgencyDay, period: tuple[dt.date, dt.date], **more: Any) -> Response:
    head = {"currency": day.currency, "from": period[0], "to": period[1]}
    return json_response(_shown(found) | head | more)


def _shown(row: Any) -> dict[str, Any]:
    return {one.name: getattr(row, one.name) for one in dataclasses.fields(row)}
