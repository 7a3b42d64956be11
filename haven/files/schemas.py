"""What is shown of exports and reports, and of their files."""

from __future__ import annotations

from marshmallow import Schema, fields

from haven.api.fields import choice
from haven.operations.schemas import JOB_STATUS, Progress


class FileRow(Schema):
    """An export or report: how far it is, and its file once it is done."""

    id = fields.UUID(required=True, metadata={"description": "Of the job that makes it."})
    kind = choice("export", "report", required=True)
    resource = fields.String(
        required=True, allow_none=True, metadata={"description": "Of an export: which list."}
    )
    status = choice(*JOB_STATUS, required=True)
    progress = fields.Nested(Progress, required=True)
    error = fields.String(required=True, allow_none=True)
    created_at = fields.AwareDateTime(required=True)
    finished_at = fields.AwareDateTime(required=True, allow_none=True)
    job = fields.String(
        required=True, metadata={"description": "The job's path, to watch it, cancel it or run it again."}
    )
    filename = fields.String(required=True, allow_none=True)
    content_type = fields.String(required=True, allow_none=True)
    size_bytes = fields.Integer(required=True, allow_none=True)
    sha256 = fields.String(
        required=True, allow_none=True, metadata={"description": "Of its bytes, hexadecimal."}
    )
    expires_at = fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "Then the file is removed."}
    )
    url = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "A signed link that works without a sign-in until `expires_at`."},
    )
