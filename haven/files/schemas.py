"""What is shown of files."""

from __future__ import annotations

from marshmallow import Schema, fields


class FileRow(Schema):
    """A file that an export or report made."""

    id = fields.UUID(required=True)
    job_id = fields.UUID(required=True)
    kind = fields.String(required=True, metadata={"description": "Of the job that made it."})
    filename = fields.String(required=True)
    content_type = fields.String(required=True)
    size_bytes = fields.Integer(required=True)
    sha256 = fields.String(required=True, metadata={"description": "Of its bytes, hexadecimal."})
    created_at = fields.DateTime(required=True)
    expires_at = fields.DateTime(required=True, metadata={"description": "Then it is removed."})
    url = fields.String(
        required=True,
        metadata={"description": "A signed link that works without a sign-in until `expires_at`."},
    )
