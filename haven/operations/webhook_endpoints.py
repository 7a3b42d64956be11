"""Where agencies want to be told of events: made, changed, removed."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy.orm import Session

from haven.crypto import Vault
from haven.db.base import new_id
from haven.db.rows import change, locked
from haven.db.session import tenant_of
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
    """Change a webhook."""
    change(locked(session, WebhookEndpoint, endpoint_id, version), changes)


def delete(session: Session, endpoint_id: uuid.UUID, version: int | None) -> None:
    """Remove a webhook with its delivery log."""
    session.delete(locked(session, WebhookEndpoint, endpoint_id, version))
