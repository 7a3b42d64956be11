"""Where agencies want to be told of events: made, changed, removed."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy.orm import Session

from haven.crypto import Vault
from haven.db.base import new_id
from haven.db.rows import change, locked
from haven.db.session import tenant_of
from haven.operations.alerts import WEBHOOK_DISABLED, resolve_alert
from haven.operations.models import WebhookEndpoint
from haven.operations.webhooks import new_secret


def create(session: Session, secret_key: str, body: dict[str, Any]) -> tuple[uuid.UUID, str]:
    """Make a webhook; its id, and the secret that signs its deliveries, kept encrypted."""
    secret = new_secret()
    endpoint = WebhookEndpoint(
        agency_id=tenant_of(session).agency_id,
        id=new_id(),
        secret=Vault(secret_key).encrypt(secret.encode()),
        **body,
    )
    session.add(endpoint)
    session.flush()
    return endpoint.id, secret


def update(session: Session, endpoint_id: uuid.UUID, changes: dict[str, Any], version: int | None) -> None:
    """Change a webhook. One that is switched on begins afresh: what Haven knew of its failures is forgotten."""
    endpoint = locked(session, WebhookEndpoint, endpoint_id, version)
    if changes.get("status") == "ACTIVE" and endpoint.status != "ACTIVE":
        endpoint.failing_since = endpoint.disabled_at = None
        resolve_alert(session, WEBHOOK_DISABLED, f"webhook:{endpoint_id}")
    change(endpoint, changes)


def rotate_secret(
    session: Session, secret_key: str, endpoint_id: uuid.UUID, overlap_s: int, version: int | None
) -> str:
    """Give a webhook a new secret, and return it; the old one signs besides for ``overlap_s`` more seconds."""
    endpoint = locked(session, WebhookEndpoint, endpoint_id, version)
    secret = new_secret()
    has_overlap = overlap_s > 0
    until = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=overlap_s)
    endpoint.old_secret = endpoint.secret if has_overlap else None
    endpoint.old_secret_until = until if has_overlap else None
    endpoint.secret = Vault(secret_key).encrypt(secret.encode())
    session.flush()
    return secret


def delete(session: Session, endpoint_id: uuid.UUID, version: int | None) -> None:
    """Remove a webhook with its delivery log."""
    session.delete(locked(session, WebhookEndpoint, endpoint_id, version))
