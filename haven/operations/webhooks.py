"""Telling agencies of events over HTTP: written down with the event itself, signed, retried for a day."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import ipaddress
import socket
import uuid
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import orjson
from sqlalchemy import any_, literal, select
from sqlalchemy.orm import Session

from haven.crypto import Vault
from haven.db.base import new_id
from haven.db.session import tenant_of
from haven.operations.jobs import JobContext, submit
from haven.operations.models import WebhookDelivery, WebhookEndpoint

SIGNATURE: Final = "Haven-Signature"
_TIMEOUT_S: Final = 10.0


class DeliveryFailed(Exception):
    """The receiver did not take the event; it is tried again."""


def emit(session: Session, event: str, payload: dict[str, Any]) -> None:
    """Tell every webhook that wants ``event``, once the caller's transaction commits. One statement where none does."""
    agency_id = tenant_of(session).agency_id
    endpoints = session.execute(
        select(WebhookEndpoint.id).where(
            WebhookEndpoint.agency_id == agency_id,
            WebhookEndpoint.status == "ACTIVE",
            literal(event) == any_(WebhookEndpoint.events),
        )
    ).scalars()
    for endpoint_id in endpoints.all():
        delivery_id = new_id()
        session.add(
            WebhookDelivery(
                agency_id=agency_id, id=delivery_id, endpoint_id=endpoint_id, event=event, payload=payload
            )
        )
        session.flush()
        submit(session, "webhook_deliver", {"delivery_id": str(delivery_id)}, unique_key=str(delivery_id))


def deliver(context: JobContext, delivery_id: uuid.UUID) -> dict[str, Any]:
    """Send one event.

    Raises:
        DeliveryFailed: it was not taken: the job runs again later.
    """
    with context.session() as session:
        row = session.execute(
            select(WebhookDelivery, WebhookEndpoint)
            .join(
                WebhookEndpoint,
                (WebhookEndpoint.agency_id == WebhookDelivery.agency_id)
                & (WebhookEndpoint.id == WebhookDelivery.endpoint_id),
            )
            .where(WebhookDelivery.id == delivery_id)
        ).one_or_none()
    if row is None or row[0].status == "DELIVERED":
        return {"outcome": "nothing to deliver"}
    delivery, endpoint = row
    status, error = _post(context, delivery, endpoint)
    with context.session() as session:
        stored = session.get(WebhookDelivery, (context.agency_id, delivery_id), with_for_update=True)
        if stored is None:
            return {"outcome": "removed meanwhile"}
        stored.tries += 1
        stored.last_status, stored.last_error = status, error
        if error is None:
            stored.status = "DELIVERED"
            stored.delivered_at = dt.datetime.now(dt.UTC)
    if error is not None:
        raise DeliveryFailed(error)
    return {"outcome": f"delivered with {status}"}


def sign(secret: bytes, at: int, body: bytes) -> str:
    """The value of ``Haven-Signature``: ``t=<unix seconds>,v1=<HMAC-SHA-256 of "t.body" in hex>``."""
    digest = hmac.new(secret, str(at).encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def _post(
    context: JobContext, delivery: WebhookDelivery, endpoint: WebhookEndpoint
) -> tuple[int | None, str | None]:
    settings = context.runtime.settings
    if not settings.webhook_private_addresses and not _is_public(endpoint.url):
        return None, "the address is not a public one"
    secret = Vault(settings.secret_key).decrypt(endpoint.secret)
    body = orjson.dumps({"id": str(delivery.id), "event": delivery.event, "data": delivery.payload})
    signature = sign(secret, int(dt.datetime.now(dt.UTC).timestamp()), body)
    headers = {"Content-Type": "application/json", SIGNATURE: signature, "User-Agent": "Haven"}
    try:
        answer = httpx.post(
            endpoint.url, content=body, headers=headers, timeout=_TIMEOUT_S, follow_redirects=False
        )
    except httpx.HTTPError as error:
        return None, type(error).__name__
    return answer.status_code, None if answer.is_success else f"answered {answer.status_code}"


def _is_public(url: str) -> bool:
    """Whether every address of the host is one of the Internet: a webhook must not reach into the operator's network."""
    host = urlsplit(url).hostname or ""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ipaddress.ip_address(info[4][0]).is_global for info in found)
