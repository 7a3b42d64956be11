"""``/monitoring``."""

from __future__ import annotations

import datetime as dt

from flask import Response
from flask_smorest import Blueprint

from haven.api.encoding import json_response
from haven.api.guard import current_session, requires, runtime
from haven.operations import breakers as service
from haven.operations import maintenance
from haven.operations import monitoring_schemas as schemas

monitoring = Blueprint("monitoring", __name__, description="How Haven does, for operators.")


@monitoring.route("/monitoring/breakers", methods=["GET"])
@requires("monitoring:read")
@monitoring.response(200, schemas.Breakers)
@monitoring.doc(summary="What Haven leaves alone because it does not answer")
def read_breakers() -> Response:
    return json_response(service.standing(runtime().breakers, runtime().cache))


@monitoring.route("/monitoring/maintenance", methods=["GET"])
@requires("monitoring:read")
@monitoring.response(200, schemas.Maintenance)
@monitoring.doc(summary="What the clock did last, and when it is due again")
def read_maintenance() -> Response:
    return json_response({"tasks": maintenance.tasks(current_session(), dt.datetime.now(dt.UTC))})
