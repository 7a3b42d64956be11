"""``/monitoring``."""

from __future__ import annotations

from flask import Response
from flask_smorest import Blueprint

from haven.api.encoding import json_response
from haven.api.guard import requires, runtime
from haven.operations import breakers as service
from haven.operations import monitoring_schemas as schemas

monitoring = Blueprint("monitoring", __name__, description="How Haven does, for operators.")


@monitoring.route("/monitoring/breakers", methods=["GET"])
@requires("monitoring:read")
@monitoring.response(200, schemas.Breakers)
@monitoring.doc(summary="What Haven leaves alone because it does not answer")
def read_breakers() -> Response:
    return json_response(service.standing(runtime().breakers, runtime().cache))
