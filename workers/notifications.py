"""Jobs that tell somebody of something."""

from __future__ import annotations

import uuid
from typing import Any

from haven.operations import webhooks
from haven.operations.jobs import JobContext


def webhook_deliver(context: JobContext, delivery_id: str) -> dict[str, Any]:
    """Send one event to one webhook."""
    return webhooks.deliver(context, uuid.UUID(delivery_id))
