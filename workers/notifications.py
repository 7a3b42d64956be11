"""Jobs that tell somebody of something."""

from __future__ import annotations

import uuid
from typing import Any

from haven.notifications import service as notifications
from haven.operations import webhooks
from haven.operations.jobs import JobContext


def webhook_deliver(context: JobContext, delivery_id: str) -> dict[str, Any]:
    """Send one event to one webhook."""
    return webhooks.deliver(context, uuid.UUID(delivery_id))


def notification_send(context: JobContext, payment_id: str, kind: str) -> dict[str, Any]:
    """Send what is queued of one kind about one payment."""
    return notifications.send(context, uuid.UUID(payment_id), kind)
