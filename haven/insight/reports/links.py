"""Signed links to reports' files: whoever has one may download that file until it expires, without signing in."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Final

from flask import Blueprint, Response
from itsdangerous import BadSignature, URLSafeSerializer
from sqlalchemy import select

from haven.api.guard import runtime
from haven.db.session import tenant_session
from haven.errors import NotFound
from haven.insight.reports.models import Report, ReportFile

blueprint = Blueprint("report_files", __name__)
_PATH: Final = "/api/v1/reports/files"


def file_path(secret_key: str, agency_id: uuid.UUID, report_id: uuid.UUID, expires_at: dt.datetime) -> str:
    """The path of the report's file, good until ``expires_at``."""
    return f"{_PATH}/{_signer(secret_key).dumps([agency_id.hex, report_id.hex, int(expires_at.timestamp())])}"


@blueprint.get("/<string:token>")
def download(token: str) -> Response:
    """The file. A link that is wrong, over, or of a file that is gone is 404 all the same."""
    try:
        agency, report, expires = _signer(runtime().settings.secret_key).loads(token)
    except BadSignature:
        raise NotFound("This link is not one of ours.") from None
    if expires < dt.datetime.now(dt.UTC).timestamp():
        raise NotFound("This link has expired: make the report again.")
    agency_id, report_id = uuid.UUID(agency), uuid.UUID(report)
    wanted = (
        select(Report.filename, Report.content_type, Report.sha256, ReportFile.content)
        .join(ReportFile, (ReportFile.agency_id == Report.agency_id) & (ReportFile.id == Report.id))
        .where(Report.agency_id == agency_id, Report.id == report_id)
    )
    with tenant_session(runtime().engine, agency_id, "link") as session:
        row = session.execute(wanted).first()
    if row is None:
        raise NotFound("The file is gone: make the report again.")
    answer = Response(row.content, content_type=row.content_type)
    answer.headers["Content-Disposition"] = f'attachment; filename="{row.filename}"'
    answer.set_etag(row.sha256.hex())
    return answer


def _signer(secret_key: str) -> URLSafeSerializer:
    return URLSafeSerializer(secret_key, salt="haven.report.file")
