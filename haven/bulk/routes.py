"""``/{resource}/bulk``: many rows in one request."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from copy import deepcopy
from functools import wraps
from itertools import islice
from typing import Any, BinaryIO, Final, cast

from flask import Response, g, request
from flask_smorest import Blueprint
from marshmallow import Schema, fields
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from haven.api.encoding import json_response
from haven.api.guard import current_session, requires, runtime
from haven.api.idempotency import idempotent
from haven.api.resource import problems
from haven.bulk import running
from haven.bulk.reading import FORMATS
from haven.bulk.resources import BULK, Bulk
from haven.errors import Invalid
from haven.operations import jobs
from haven.operations.routes import job_created
from haven.operations.schemas import JobRow

blueprint = Blueprint("bulk", __name__, description="Many rows at once.")

AT_ONCE_MOST: Final = 1000
_OPERATIONS: Final = {"POST": "CREATE", "PATCH": "UPDATE", "DELETE": "DELETE"}
_WORDS: Final = {"POST": "Make", "PATCH": "Change", "DELETE": "Remove"}
_IN_MEMORY: Final = 1_048_576
_BLOCK: Final = 65_536
View = Callable[..., Any]


class BulkError(Schema):
    """One cell that breaks a rule."""

    pointer = fields.String(required=True)
    detail = fields.String(required=True)
    row = fields.Integer(required=True, metadata={"description": "As a spreadsheet counts; in JSON from 1."})
    column = fields.String(required=True, allow_none=True)
    value = fields.String()


class BulkReport(Schema):
    """What came of the rows."""

    resource = fields.String(required=True)
    operation = fields.String(required=True)
    mode = fields.String(required=True)
    dry_run = fields.Boolean(required=True)
    applied = fields.Boolean(required=True, metadata={"description": "Whether anything may have changed."})
    rows = fields.Integer(required=True)
    succeeded = fields.Integer(required=True)
    failed = fields.Integer(required=True)
    errors = fields.List(
        fields.Nested(BulkError), required=True, metadata={"description": "The first 1,000."}
    )
    ids = fields.List(fields.UUID(), required=True, metadata={"description": "Of the rows that are done."})


def _spooled(view: View) -> View:
    """Take the body to a file as it comes in, and give it to the view: it is never held in memory."""

    @wraps(view)
    def with_file(*args: Any, **kwargs: Any) -> Any:
        form = FORMATS.get(request.mimetype)
        if form is None:
            raise UnsupportedMediaType(f"Send the rows as {', '.join(FORMATS)}.")
        settings = runtime().settings
        most = settings.max_body_bytes if form == "JSON" else settings.bulk_max_bytes
        request.max_content_length = most
        if (request.content_length or 0) > most:
            raise RequestEntityTooLarge(f"At most {most:,} bytes; more rows fit as CSV or NDJSON.")
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
            file = cast("BinaryIO", spool)
            digest = hashlib.sha256(request.mimetype.encode())
            while block := request.stream.read(_BLOCK):
                digest.update(block)
                file.write(block)
            g.body_digest = digest.digest()
            return view(file, form, *args, **kwargs)

    with_file._apidoc = deepcopy(getattr(view, "_apidoc", {}))  # type: ignore[attr-defined]
    return with_file


def _register(bulk: Bulk, method: str) -> None:
    @blueprint.route(f"/{bulk.name}/bulk", methods=[method], endpoint=f"bulk_{method.lower()}_{bulk.name}")
    @requires(f"{bulk.name}:write")
    @_spooled
    @idempotent
    @blueprint.response(200, BulkReport)
    @blueprint.alt_response(202, schema=JobRow, description="More than 1,000 rows: the job that does them")
    @blueprint.doc(
        summary=f"{_WORDS[method]} many {bulk.name}",
        parameters=_PARAMETERS,
        requestBody=_request_body(bulk, method),
        responses=problems(400, 409, 415, 422),
    )
    def view(file: BinaryIO, form: str) -> Response:
        return _answer(_order(bulk, _OPERATIONS[method], form), file)


def _answer(order: running.Order, file: BinaryIO) -> Response:
    session = current_session()
    rows = order.rows(file, running.zone_of(session))
    first = list(islice(rows, AT_ONCE_MOST + 1))
    if len(first) <= AT_ONCE_MOST:
        return json_response(running.at_once(session, order, first))
    # The rest is read by the worker alone.
    rows.close()
    upload_id = running.keep(session, order, file)
    return job_created(jobs.submit(session, "bulk_apply", {"upload_id": str(upload_id)}))


def _order(bulk: Bulk, operation: str, form: str) -> running.Order:
    for name in request.args:
        if name not in ("mode", "dry_run"):
            raise Invalid.field(name, "is not a parameter here; known are mode and dry_run")
    mode = request.args.get("mode", "atomic")
    trial = request.args.get("dry_run", "false")
    if mode not in ("atomic", "partial"):
        raise Invalid.field("mode", "must be atomic or partial")
    if trial not in ("true", "false"):
        raise Invalid.field("dry_run", "must be true or false")
    return running.Order(bulk.name, operation, mode.upper(), form, trial == "true")


_PARAMETERS: Final = [
    {
        "in": "query",
        "name": "mode",
        "schema": {"type": "string", "enum": ["atomic", "partial"], "default": "atomic"},
        "description": "`atomic`: all or nothing. `partial`: what is good is done, with an error for each other row.",
    },
    {
        "in": "query",
        "name": "dry_run",
        "schema": {"type": "boolean", "default": False},
        "description": "Check every row and change nothing.",
    },
]


def _request_body(bulk: Bulk, method: str) -> dict[str, Any]:
    target = {
        "type": "object",
        "required": ["id"],
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "version": {"type": "integer", "description": "Refused where the row has another one."},
        },
    }
    body = {"$ref": f"#/components/schemas/{bulk.body.__name__}"}
    if method == "POST":
        item: dict[str, Any] = body
    elif method == "DELETE":
        item = target
    else:
        item = target | {"additionalProperties": True, "description": "With the fields that change."}
    text = {"schema": {"type": "string"}}
    rows = {"type": "array", "minItems": 1, "items": item}
    return {
        "required": True,
        "content": {"application/json": {"schema": rows}, "application/x-ndjson": text, "text/csv": text},
    }


for _bulk in BULK.values():
    for _method in _OPERATIONS:
        if _method != "DELETE" or _bulk.is_removable:
            _register(_bulk, _method)
