"""``POST /exports/{resource}``: ask for a file of a whole list."""

from __future__ import annotations

from typing import Any

from flask import Response
from flask_smorest import Blueprint

from haven.api.bodies import body
from haven.api.guard import current_principal, current_session, requires
from haven.api.idempotency import idempotent
from haven.api.resource import problems
from haven.insight.exports import service
from haven.insight.exports.resources import RESOURCES
from haven.insight.exports.schemas import ExportBody
from haven.operations.routes import job_created
from haven.operations.schemas import JobRow

blueprint = Blueprint("exporting", __name__, description="Whole lists as files.")


def _register(resource: str) -> None:
    known = ", ".join(f"`{one}`" for one in RESOURCES[resource].listing.parameters)

    @blueprint.route(f"/exports/{resource}", methods=["POST"], endpoint=f"export_{resource}")
    @requires("exports:write")
    @idempotent
    @blueprint.response(202, JobRow)
    @blueprint.doc(
        summary=f"Export {resource} into a file, as a job; needs {resource}:read as well",
        description=f"Filters: {known}, `sort`, and `q` where the list has it.",
        responses=problems(400, 415, 422),
    )
    @body(ExportBody)
    def exported(values: dict[str, Any]) -> Response:
        service.check_allowed(current_principal().permissions, resource)
        return job_created(
            service.request(
                current_session(), resource, values["format"], values["filters"], values["compression"]
            )
        )


for _name in RESOURCES:
    _register(_name)
