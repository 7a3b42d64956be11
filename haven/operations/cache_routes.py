"""``/cache``."""

from __future__ import annotations

from typing import Any

from flask import Response
from flask_smorest import Blueprint

from haven.api.bodies import body
from haven.api.encoding import json_response
from haven.api.guard import current_session, requires, runtime
from haven.api.idempotency import idempotent
from haven.api.resource import problems
from haven.operations import cache as service
from haven.operations import cache_schemas as schemas
from haven.operations.routes import job_created
from haven.operations.schemas import JobRow

blueprint = Blueprint(
    "cache", __name__, description="Stored answers: their numbers, clearing and warming them."
)


@blueprint.route("/cache/stats", methods=["GET"])
@requires("cache:read")
@blueprint.response(200, schemas.CacheStatistics)
@blueprint.doc(summary="How often the cache answered, by namespace")
def read_statistics() -> Response:
    return json_response(service.statistics(current_session(), runtime().cache))


@blueprint.route("/cache/invalidate", methods=["POST"])
@requires("cache:write")
@blueprint.response(200, schemas.Invalidated)
@blueprint.doc(summary="Clear stored answers", responses=problems(400, 415, 422))
@body(schemas.InvalidateBody)
def invalidate(values: dict[str, Any]) -> Response:
    is_done = service.invalidate(
        current_session(), runtime().cache, values.get("pattern"), values.get("tags", ())
    )
    return json_response({"status": "DONE" if is_done else "PENDING"})


@blueprint.route("/cache/warm", methods=["POST"])
@requires("cache:write")
@idempotent
@blueprint.response(202, JobRow)
@blueprint.doc(
    summary="Compute the first page of lists, and the dashboard, as a job", responses=problems(400, 415, 422)
)
@body(schemas.WarmBody)
def warm(values: dict[str, Any]) -> Response:
    return job_created(service.request_warm(current_session(), values.get("targets", ())))
