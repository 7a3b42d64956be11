"""``/exports``: what was asked for and the files it became, and fetching one."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from flask import Response, request
from flask_smorest import Blueprint
from marshmallow import fields
from sqlalchemy import ColumnElement, func, or_

from haven.api.guard import current_principal, current_session, in_transaction, requires, runtime
from haven.api.listing import Filter, Listing
from haven.api.resource import API, list_doc, page_answer, page_schema, problems
from haven.db.session import Tenant, set_tenant
from haven.files import links, service
from haven.files.schemas import FileRow
from haven.operations.models import ExportFile, Job
from haven.operations.routes import JOBS

blueprint = Blueprint("exports", __name__, description="Files of exports and reports.")
_EXPORT: Final = "export"
_KINDS: Final = ("export", "report")
_OF_JOB: Final = "id queue kind status error created_at finished_at".split()
_OF_FILE: Final = "filename content_type size_bytes expires_at".split()

FILES: Final = Listing(
    "export",
    Job.id,
    {name: getattr(Job, name) for name in _OF_JOB}
    | {"resource": Job.arguments["resource"].astext, "progress": JOBS.columns["progress"]}
    | {name: getattr(ExportFile, name) for name in _OF_FILE}
    | {"sha256": func.encode(ExportFile.sha256, "hex")},
    joined=Job.__table__.outerjoin(
        ExportFile.__table__,
        (ExportFile.agency_id == Job.agency_id)
        & (ExportFile.job_id == Job.id)
        & (Job.status == "SUCCEEDED")
        & (ExportFile.expires_at > func.now()),
    ),
    filters={
        "kind": Filter(Job.kind, fields.String()),
        "status": Filter(Job.status, fields.String()),
        "resource": Filter(Job.arguments["resource"].astext, fields.String()),
        "filename": Filter(ExportFile.filename, fields.String()),
    },
)


@blueprint.route("/exports", methods=["GET"])
@requires("exports:read")
@blueprint.response(200, page_schema(FileRow))
@blueprint.doc(
    summary="List the agency's exports and reports: those that wait, run or have failed, and the files, each with a new link;"
    " of lists that one may read",
    **list_doc(FILES),
)
def list_files() -> Response:
    listing = replace(FILES, always=_visible())
    page = listing.page(current_session().connection(), listing.parse(request.args))
    for row in page.rows:
        row["job"] = f"{API}/jobs/{row.pop('queue')}/{row['id']}"
        row["url"] = _url(row)
    return page_answer(page)


def _url(row: dict[str, Any]) -> str | None:
    if row["filename"] is None:
        return None
    agency_id = current_principal().agency_id
    return service.link(runtime().settings, agency_id, row["filename"], row["expires_at"])


def _visible() -> tuple[ColumnElement[bool], ...]:
    """All but those whose file has been removed, of rows that the caller may read where they are."""
    held = current_principal().permissions
    readable = [one.removesuffix(":read") for one in held if one.endswith(":read")]
    may_read: ColumnElement[bool] = Job.arguments["resource"].astext.in_(readable)
    if "reports:read" in held:
        may_read = or_(may_read, Job.kind != _EXPORT)
    is_of_use = or_(Job.status != "SUCCEEDED", ExportFile.id.is_not(None))
    return (Job.kind.in_(_KINDS), is_of_use, may_read)


@blueprint.route("/exports/download/<string:filename>", methods=["GET"])
@blueprint.response(200, {"type": "string", "format": "binary"}, content_type="application/octet-stream")
@blueprint.doc(
    summary="Fetch a file by its signed link; whole, or a range of its bytes",
    security=[],
    parameters=[
        {"in": "query", "name": "token", "required": True, "schema": {"type": "string"}},
        {"in": "header", "name": "Range", "required": False, "schema": {"type": "string"}},
        {"in": "header", "name": "If-Range", "required": False, "schema": {"type": "string"}},
    ],
    responses=problems(404, 503)
    | {
        "206": {"description": "The range"},
        "304": {"description": "Not modified"},
        "403": {"description": "The link is not good, or its time is over"},
        "416": {"description": "Beyond the end of the file"},
    },
)
def download(filename: str) -> Response:
    settings, now = runtime().settings, dt.datetime.now(dt.UTC)
    agency_id = links.agency_of(settings.secret_key, request.args.get("token", ""), filename, now)
    session = current_session()
    set_tenant(session, Tenant(agency_id, "link"))
    # The connection goes back before the first byte is sent: a slow reader holds none.
    found: Any = in_transaction(session, service.find, session, filename, now)
    return _answer(found)


def _answer(row: ExportFile) -> Response:
    """The file, the part of it that is asked for, or nothing where the caller has it already."""
    tag = bytes(row.sha256).hex()
    answer = Response(content_type=row.content_type)
    answer.set_etag(tag)
    answer.headers["Accept-Ranges"] = "bytes"
    answer.headers["Content-Disposition"] = _disposition(row.filename)
    # A file of this name never changes, but its link ends: kept by its reader alone, and asked for again.
    answer.headers["Cache-Control"] = "private, no-cache"
    if tag in request.if_none_match:
        answer.status_code = 304
        return answer
    start, length = _asked(row, tag)
    if length == 0 and row.size_bytes > 0:
        answer.status_code = 416
        answer.headers["Content-Range"] = f"bytes */{row.size_bytes}"
        return answer
    if length < row.size_bytes:
        answer.status_code = 206
        answer.headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{row.size_bytes}"
    answer.response = service.read(runtime().settings, row, start, length)
    answer.headers["Content-Length"] = str(length)
    return answer


def _asked(row: ExportFile, tag: str) -> tuple[int, int]:
    """Where to begin and how many bytes; none where the range lies beyond the end.

    A range that cannot be read, several at once, and one of another file (If-Range) are the whole file, as RFC 9110 allows.
    """
    whole = (0, row.size_bytes)
    asked = request.range
    if asked is None or asked.units != "bytes" or len(asked.ranges) != 1 or not _is_of(tag):
        return whole
    begin, end = asked.ranges[0]
    if begin >= row.size_bytes:
        return row.size_bytes, 0
    if begin < 0:
        begin = max(row.size_bytes + begin, 0)
    end = row.size_bytes if end is None else min(end, row.size_bytes)
    return begin, end - begin


def _is_of(tag: str) -> bool:
    """Whether If-Range, where it is sent, names the file as it is."""
    sent = request.headers.get("If-Range")
    return sent is None or sent.strip() == f'"{tag}"'


def _disposition(filename: str) -> str:
    plain = filename.encode("ascii", "replace").decode().replace('"', "_").replace("\\", "_")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename)}"
