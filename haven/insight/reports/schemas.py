"""Bodies and answers of ``/reports``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from marshmallow import Schema, fields, validate

from haven.api.fields import Body, Email, Line, Row, choice
from haven.insight.reports.asking import FORMATS, KINDS
from haven.insight.reports.days import PERIODS
from haven.operations.schemas import JOB_STATUS, JobRow, Progress

_FILTERS = "`property_id` or `owner_id`; of an owner statement `owner_id`, of a tenant statement `tenant_id`."


def _filters(**options: object) -> fields.Dict:
    described = {"description": _FILTERS, "example": {}}
    return fields.Dict(keys=fields.String(), values=fields.String(), metadata=described, **options)  # type: ignore[arg-type]


class PlaceFilters(Body):
    """What is left out of a report of the agency."""

    property_id = fields.UUID(metadata={"description": "Only this property."})
    owner_id = fields.UUID(metadata={"description": "Only this owner's properties."})


class OwnerFilters(Body):
    """Whose statement it is."""

    owner_id = fields.UUID(required=True)


class TenantFilters(Body):
    """Whose statement it is."""

    tenant_id = fields.UUID(required=True)


class ReportBody(Body):
    """Which days a report is of, what is left out, and what it is made as."""

    first_day = fields.Date(
        required=True,
        data_key="from",
        metadata={"description": "The first day, where the agency is; balances are of the last."},
    )
    last_day = fields.Date(required=True, data_key="to")
    format = choice(*FORMATS, load_default="json")
    filters = fields.Nested(PlaceFilters, load_default=dict)


class OwnerStatementBody(ReportBody):
    """Which days an owner's statement is of, and what it is made as."""

    filters = fields.Nested(
        OwnerFilters, required=True, error_messages={"required": "Must be given, with `owner_id`."}
    )


class TenantStatementBody(ReportBody):
    """Which days a tenant's statement is of, and what it is made as."""

    filters = fields.Nested(
        TenantFilters, required=True, error_messages={"required": "Must be given, with `tenant_id`."}
    )


BODIES: Final[Mapping[str, type[ReportBody]]] = {
    kind: {"owner-statement": OwnerStatementBody, "tenant-statement": TenantStatementBody}.get(
        kind, ReportBody
    )
    for kind in KINDS
}
"""Kind of report → the body that asks for it."""


class ReportJob(JobRow):
    """The job that makes a report, or made it where nothing has changed since."""

    report_id = fields.UUID(required=True)


class ReportRow(Schema):
    """A report: what was asked, how far it is, and where its file is."""

    id = fields.UUID(required=True)
    kind = choice(*KINDS, required=True)
    format = choice(*FORMATS, required=True)
    first_day = fields.Date(required=True, data_key="from")
    last_day = fields.Date(required=True, data_key="to")
    filters = fields.Dict(required=True)
    status = choice(*JOB_STATUS, required=True)
    progress = fields.Nested(Progress, required=True)
    error = fields.String(required=True, allow_none=True)
    job_id = fields.UUID(required=True)
    schedule_id = fields.UUID(required=True, allow_none=True)
    rows = fields.Integer(required=True, allow_none=True)
    filename = fields.String(required=True, allow_none=True)
    size_bytes = fields.Integer(required=True, allow_none=True)
    created_at = fields.AwareDateTime(required=True)
    finished_at = fields.AwareDateTime(required=True, allow_none=True)
    expires_at = fields.AwareDateTime(required=True, allow_none=True)


class ReportWithFigures(ReportRow):
    """A report with the link to its file once it is done, and the figures of a JSON report."""

    url = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "Signed, good until `expires_at`; whoever has it may download the file."},
    )
    figures = fields.Dict(
        required=True,
        allow_none=True,
        metadata={"description": "Of a JSON report; with more than 2,000 rows these are only in the file."},
    )


class ScheduleBody(Body):
    """A report that is made again and again, and mailed. Times are where the agency is."""

    kind = choice(*KINDS, required=True)
    format = choice(*FORMATS)
    filters = _filters()
    cron = Line(
        100,
        required=True,
        metadata={
            "example": "0 6 * * 1",
            "description": "`daily`, `weekly` or `monthly` (at 6:00; on Mondays; on the first), or a cron that runs at"
            " most once an hour.",
        },
    )
    period = choice(*PERIODS, metadata={"description": "Which days each report is of, seen from its run."})
    recipients = fields.List(Email(), validate=validate.Length(max=50))
    status = choice("ACTIVE", "PAUSED")


class ScheduleRow(Row):
    """A report that is made again and again."""

    kind = choice(*KINDS, required=True)
    format = choice(*FORMATS, required=True)
    filters = fields.Dict(required=True)
    cron = fields.String(required=True)
    period = choice(*PERIODS, required=True)
    recipients = fields.List(fields.String(), required=True)
    status = choice("ACTIVE", "PAUSED", required=True)
    next_run_at = fields.AwareDateTime(required=True)
    last_run_at = fields.AwareDateTime(required=True, allow_none=True)
    last_report_id = fields.UUID(required=True, allow_none=True)
    last_status = fields.String(
        required=True, allow_none=True, metadata={"description": "Of its last report's job."}
    )
    last_error = fields.String(required=True, allow_none=True)
