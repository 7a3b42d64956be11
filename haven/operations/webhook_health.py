"""A webhook that has taken nothing for days is switched off, and the agency is told by an alert and by mail."""

from __future__ import annotations

import datetime as dt
from typing import Final

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from haven.db.session import tenant_of
from haven.identity.models import User
from haven.notifications.queueing import queue_mail
from haven.operations.alerts import WEBHOOK_DISABLED, raise_alert
from haven.operations.models import WebhookEndpoint

log = structlog.get_logger(__name__)
GIVEN_UP_AFTER: Final = dt.timedelta(days=5)
_MOST_TOLD: Final = 20


def note(session: Session, endpoint: WebhookEndpoint, error: str | None) -> None:
    """Write down how the webhook does; for ``webhooks.deliver``. Nothing is written while nothing changes."""
    if error is None:
        _set(session, endpoint, WebhookEndpoint.failing_since.is_not(None), failing_since=None)
        return
    now = dt.datetime.now(dt.UTC)
    if endpoint.failing_since is None:
        _set(session, endpoint, WebhookEndpoint.failing_since.is_(None), failing_since=now)
    elif now - endpoint.failing_since >= GIVEN_UP_AFTER:
        _switch_off(session, endpoint, endpoint.failing_since, error)


def _switch_off(session: Session, endpoint: WebhookEndpoint, since: dt.datetime, error: str) -> None:
    # Whoever has repaired it meanwhile, or switched it off first, is not overruled.
    still = (WebhookEndpoint.status == "ACTIVE") & (WebhookEndpoint.failing_since == since)
    if not _set(session, endpoint, still, status="DISABLED", disabled_at=func.now()):
        return
    log.warning("webhook_disabled", webhook=str(endpoint.id), why=error)
    raise_alert(session, WEBHOOK_DISABLED, f"webhook:{endpoint.id}", webhook_id=str(endpoint.id), why=error)
    values = {"url": endpoint.url, "since": f"{since.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC", "error": error}
    queue_mail(session, template="webhook_disabled", recipients=_administrators(session), values=values)


def _set(session: Session, endpoint: WebhookEndpoint, condition: object, **values: object) -> bool:
    changed = session.execute(
        update(WebhookEndpoint)
        .where(
            WebhookEndpoint.agency_id == endpoint.agency_id,
            WebhookEndpoint.id == endpoint.id,
            condition,  # type: ignore[arg-type]  # a column expression
        )
        .values(version=WebhookEndpoint.version + 1, **values)
        .returning(WebhookEndpoint.id)
    )
    return changed.first() is not None


def _administrators(session: Session) -> list[str]:
    wanted = (
        select(User.email)
        .where(
            User.agency_id == tenant_of(session).agency_id,
            User.role == "AGENCY_ADMIN",
            User.status == "ACTIVE",
        )
        .order_by(User.id)
        .limit(_MOST_TOLD)
    )
    return list(session.scalars(wanted))
