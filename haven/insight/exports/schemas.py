"""The body of an export."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from haven.insight.exports.sink import COMPRESSIONS
from haven.insight.exports.writing import COMPRESSIBLE, FORMATS


class ExportBody(Schema):
    """What to export, and how."""

    format = fields.String(required=True, validate=validate.OneOf(list(FORMATS)))
    filters = fields.Dict(
        keys=fields.String(),
        values=fields.Raw(allow_none=True),
        load_default=dict,
        metadata={
            "description": "As in the list's query, `q` and `sort` among them. Not given: every row.",
            "example": {},
        },
    )
    compression = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.OneOf(list(COMPRESSIONS)),
        metadata={"description": f"Of {' and '.join(COMPRESSIBLE)}; the others compress themselves."},
    )
