"""Answers of ``/notifications``."""

from __future__ import annotations

from marshmallow import Schema, fields

from haven.api.fields import choice
from haven.notifications.models import KINDS, STATUSES


class ToldRow(Schema):
    """What one person was told, and what became of it."""

    id = fields.UUID(required=True)
    kind = choice(*KINDS, required=True)
    about_id = fields.UUID(
        required=True, metadata={"description": "The payment, invoice, job or webhook it tells of."}
    )
    occasion = fields.String(required=True, metadata={"description": "Which reminder of several."})
    tenant_id = fields.UUID(required=True, allow_none=True, metadata={"description": "Null: staff."})
    channel = choice("EMAIL", "SMS", required=True)
    recipient = fields.String(required=True)
    language = fields.String(required=True)
    subject = fields.String(required=True)
    body = fields.String(
        required=True, metadata={"description": "Empty where it holds a link that opens a file."}
    )
    status = choice(*STATUSES, required=True)
    tries = fields.Integer(required=True)
    segments = fields.Integer(
        required=True, allow_none=True, metadata={"description": "SMS that it was sent as, once it was sent."}
    )
    last_error = fields.String(required=True, allow_none=True)
    created_at = fields.AwareDateTime(required=True)
    sent_at = fields.AwareDateTime(required=True, allow_none=True)
    delivered_at = fields.AwareDateTime(
        required=True,
        allow_none=True,
        metadata={
            "description": "When the network said that the phone has the SMS; null: it has not said so."
        },
    )
