"""``/reports``."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import replace
from typing import Any, Final

from flask import Response
from flask_smorest import Blueprint
from marshmallow import fields
from sqlalchemy import String, and_, cast, select

from haven.api.bodies import body
from haven.api.encoding import json_response
from haven.api.guard import current_session, requires, runtime
from haven.api.idempotency import idempotent
from haven.api.listing import Filter, Listing
from haven.api.resource import API, Resource, list_answer, list_doc, page_schema, problems, register
from haven.billing.days import agency_day
from haven.db.session import tenant_of
from haven.files import service as files
from haven.insight.reports import schedules, schemas, service
from haven.insight.reports.asking import KINDS, checked
from haven.insight.reports.models import Report
from haven.operations.models import Job, ReportSchedule
from haven.operations.routes import JOBS

blueprint = Blueprint("reports", __name__, description="What the books say of a period, on paper too.")

_COLUMNS: Final = (
    "id kind format filters job_id schedule_id rows filename size_bytes created_at finished_at expires_at".split()
)  # fmt: skip
REPORTS: Final = Listing(
    "report",
    Report.id,
    {name: getattr(Report, name) for name in _COLUMNS}
    | {"from": Report.first_day, "to": Report.last_day, "status": Job.status, "error": Job.error}
    | {"progress": JOBS.columns["progress"]},
    joined=Report.__table__.join(Job, and_(Job.agency_id == Report.agency_id, Job.id == Report.job_id)),
    filters={
        "kind": Filter(Report.kind, fields.String()),
        "format": Filter(Report.format, fields.String()),
        "schedule_id": Filter(Report.schedule_id, fields.UUID()),
    },
)
REPORT: Final = replace(REPORTS, columns={**REPORTS.columns, "figures": Report.figures})
_last = and_(Report.agency_id == ReportSchedule.agency_id, Report.id == ReportSchedule.last_report_id)
_job = and_(Job.agency_id == Report.agency_id, Job.id == Report.job_id)


def _of_last(column: Any) -> Any:
    found = select(column).select_from(Report).join(Job, _job).where(_last)
    return cast(found.correlate(ReportSchedule).scalar_subquery(), String)


_SCHEDULE_COLUMNS: Final = (
    "kind format filters cron period recipients status next_run_at last_run_at last_report_id id created_at updated_at"
    " version".split()
)  # fmt: skip
SCHEDULES: Final = Resource(
    "schedule",
    "/reports/schedules",
    "reports",
    schemas.ScheduleRow,
    Listing(
        "schedule",
        ReportSchedule.id,
        {name: getattr(ReportSchedule, name) for name in _SCHEDULE_COLUMNS}
        | {"last_status": _of_last(Job.status), "last_error": _of_last(Job.error)},
        filters={
            "kind": Filter(ReportSchedule.kind, fields.String()),
            "status": Filter(ReportSchedule.status, fields.String()),
        },
    ),
    schemas.ScheduleBody,
    derived=("last_status", "last_error"),
    create=schedules.create,
    update=schedules.update,
    delete=schedules.delete,
)
register(blueprint, SCHEDULES)


@blueprint.route("/reports", methods=["GET"], endpoint="list_all")
@requires("reports:read")
@blueprint.response(200, page_schema(schemas.ReportRow))
@blueprint.doc(summary="List reports", **list_doc(REPORTS))
def listed() -> Response:
    return list_answer(REPORTS)


@blueprint.route("/reports/<uuid:report_id>", methods=["GET"])
@requires("reports:read")
@blueprint.response(200, schemas.ReportWithFigures)
@blueprint.doc(summary="Read one report, with the link to its file", responses=problems(404))
def read_report(report_id: uuid.UUID) -> Response:
    session = current_session()
    row = REPORT.one(session, report_id)
    row["url"] = None
    if row["expires_at"] is not None:
        agency_id = tenant_of(session).agency_id
        row["url"] = files.link(runtime().settings, agency_id, row["filename"], row["expires_at"])
    return json_response(row)


def _make_route(kind: str) -> None:
    @blueprint.route(f"/reports/{kind}", methods=["POST"], endpoint=f"make_{kind.replace('-', '_')}")
    @requires("reports:write")
    @idempotent
    @blueprint.response(202, schemas.ReportJob)
    @blueprint.doc(summary=f"Make a report: {KINDS[kind].title.lower()}", responses=problems(400, 415, 422))
    @body(schemas.BODIES[kind])
    def make_report(values: dict[str, Any]) -> Response:
        session, now = current_session(), dt.datetime.now(dt.UTC)
        today = agency_day(session, now).today
        ask = checked(
            kind, values["first_day"], values["last_day"], values["format"], values["filters"], today
        )
        asked = service.request(session, runtime(), ask, now)
        session.flush()
        job = JOBS.one(session, asked.job_id) | {"report_id": str(asked.report_id)}
        return json_response(job, 202, {"Location": f"{API}/reports/{asked.report_id}"})


for _kind in KINDS:
    _make_route(_kind)
