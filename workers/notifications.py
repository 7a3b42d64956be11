"""Jobs that tell somebody of something."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from haven.notifications import delivery_reports
from haven.notifications import service as notifications
from haven.operations import alert_delivery, webhook_health, webhooks
from haven.operations.jobs import JobContext


def webhook_deliver(context: JobContext, delivery_id: str) -> dict[str, Any]:
    """Send one event to one webhook."""
    return webhooks.deliver(context, uuid.UUID(delivery_id), webhook_health.note)


def alert_send(context: JobContext, channel: str, message_id: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Tell one channel that an alert fires, or that it is over."""
    return alert_delivery.send(context, channel, message_id, payload)


def notification_send(
    context: JobContext,
    about_id: str = "",
    kind: str = "",
    occasion: str = "",
    notification_id: str = "",
    payment_id: str = "",
    about_ids: Sequence[str] = (),
) -> dict[str, Any]:
    """Send what is queued of one kind about some things, or one message again; jobs of before 0014 say ``payment_id``."""
    if notification_id:
        return notifications.send(context, notification_id=uuid.UUID(notification_id))
    named = about_ids or (about_id or payment_id,)
    return notifications.send(
        context, about_ids=[uuid.UUID(one) for one in named], kind=kind, occasion=occasion
    )


def sms_report(context: JobContext, provider_id: str, status: str, reason: str) -> dict[str, Any]:
    """Look again at a report that came before its message was written down; by now that is there, or is none of ours."""
    return {"outcome": delivery_reports.note(context.runtime.engine, provider_id, status, reason)}
