"""Telling agencies of events over HTTP: written down with the event itself, signed, retried for a day.

What is sent follows Standard Webhooks (https://www.standardwebhooks.com): three headers, of which the signature covers
the id, the time and the body, so that a receiver checks it with any library that knows the standard.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import secrets
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final

import httpx
import orjson
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from extensions.circuit_breaker.breaker import Breaker, CircuitOpen
from haven.crypto import Vault
from haven.db.base import new_id
from haven.db.session import tenant_of
from haven.db.statements import Statement
from haven.errors import Conflict, NotFound
from haven.operations import outbound
from haven.operations.jobs import JobContext, submit
from haven.operations.kinds import KINDS
from haven.operations.models import WebhookDelivery, WebhookEndpoint
from haven.operations.webhook_turns import taking_turn

SECRET_PREFIX: Final = "whsec_"  # noqa: S105  the standard's, public
_SECRET_BYTES: Final = 32
TEST_EVENT: Final = "webhook.test"


After = Callable[[Session, WebhookEndpoint, str | None], None]
OFF: Final = "not sent: the webhook is switched off"


class DeliveryFailed(Exception):
    """The receiver did not take the event; it is tried again."""


WANTED_BY: Final = "SELECT id FROM webhook_endpoint WHERE agency_id = :agency_id AND status = 'ACTIVE' AND :event = ANY (events)"
"""Which webhooks want the ``:event``, for a statement that finds out something else with it."""
_WANTED_BY: Final = Statement(WANTED_BY)


def emit(session: Session, event: str, payload: dict[str, Any]) -> None:
    """Tell every webhook that wants ``event``, once the caller's transaction commits. One statement where none does."""
    emit_many(session, event, [payload])


def emit_many(session: Session, event: str, payloads: Sequence[dict[str, Any]]) -> None:
    """The same of many events of a kind; one statement where nobody wants them."""
    wanted = _WANTED_BY.run(session, agency_id=tenant_of(session).agency_id, event=event).scalars().all()
    send_to(session, wanted, event, payloads)


def send_to(
    session: Session, endpoint_ids: Sequence[uuid.UUID], event: str, payloads: Sequence[dict[str, Any]]
) -> None:
    """The same where it is known already which webhooks want the event (``WANTED_BY``)."""
    for payload in payloads if endpoint_ids else ():
        for endpoint_id in endpoint_ids:
            _queue(session, endpoint_id, event, payload)


def deliver(context: JobContext, delivery_id: uuid.UUID, after: After | None = None) -> dict[str, Any]:
    """Send one event; none to a webhook that is switched off.

    Args:
        after: told of the endpoint and what went wrong (None: nothing), in the transaction that writes it down.

    Raises:
        DeliveryFailed: it was not taken: the job runs again later.
        Postponed: another delivery to the endpoint takes long, or it is left alone for a while; that counts as no try.
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
    if endpoint.status != "ACTIVE":
        with context.session() as session:
            _give_up(session, delivery_id)
        return {"outcome": "the webhook is switched off"}
    with taking_turn(context.runtime.redis, endpoint.id) as turn:
        status, error = _post(context, delivery, endpoint)
        turn.failed = error is not None
    with context.session() as session:
        stored = session.get(WebhookDelivery, (context.agency_id, delivery_id), with_for_update=True)
        if stored is None:
            return {"outcome": "removed meanwhile"}
        stored.tries += 1
        stored.last_status, stored.last_error = status, error
        if error is None:
            stored.status = "DELIVERED"
            stored.delivered_at = dt.datetime.now(dt.UTC)
        elif stored.tries >= KINDS["webhook_deliver"].max_attempts:
            stored.status = "FAILED"
        if after is not None:
            after(session, endpoint, error)
    if error is not None:
        raise DeliveryFailed(error)
    return {"outcome": f"delivered with {status}"}


def send_test(session: Session, endpoint_id: uuid.UUID) -> uuid.UUID:
    """Send a webhook an event that tells of nothing, whatever events it wants; the delivery's id.

    Raises:
        NotFound: there is none in this agency.
        Conflict: it is switched off.
    """
    endpoint = active(session, endpoint_id)
    return _queue(
        session, endpoint.id, TEST_EVENT, {"message": "A test of this webhook, asked for by a person."}
    )


def redeliver(session: Session, endpoint_id: uuid.UUID, delivery_id: uuid.UUID) -> None:
    """Send an event again, with its id and body as they were, and all its tries.

    Raises:
        NotFound: the webhook has no such delivery.
        Conflict: it is still being tried, or the webhook is switched off.
    """
    active(session, endpoint_id)
    delivery = session.get(WebhookDelivery, (tenant_of(session).agency_id, delivery_id), with_for_update=True)
    if delivery is None or delivery.endpoint_id != endpoint_id:
        raise NotFound(f"The webhook {endpoint_id} has no delivery {delivery_id}.")
    if delivery.status == "PENDING":
        raise Conflict("The event is still being sent: wait until it is DELIVERED or FAILED.")
    delivery.status, delivery.tries, delivery.delivered_at = "PENDING", 0, None
    session.flush()
    _submit(session, delivery_id)


def active(session: Session, endpoint_id: uuid.UUID) -> WebhookEndpoint:
    """The webhook, which is not switched off.

    Raises:
        NotFound: there is none in this agency.
        Conflict: it is switched off.
    """
    endpoint = session.get(WebhookEndpoint, (tenant_of(session).agency_id, endpoint_id))
    if endpoint is None:
        raise NotFound(f"There is no webhook {endpoint_id}.")
    if endpoint.status != "ACTIVE":
        raise Conflict("The webhook is switched off: set its status to ACTIVE first.")
    return endpoint


def new_secret() -> str:
    """A signing secret as Standard Webhooks writes one: ``whsec_`` and the base64 of 256 random bits."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def sign(secret: str, message_id: str, at: int, body: bytes) -> str:
    """The value of ``webhook-signature``: ``v1,<base64 of the HMAC-SHA-256 of "id.at.body">``.

    Args:
        secret: ``whsec_…``; the key is what its base64 says.
        at: Unix seconds, as in ``webhook-timestamp``.
    """
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    digest = hmac.digest(key, f"{message_id}.{at}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def _queue(session: Session, endpoint_id: uuid.UUID, event: str, payload: dict[str, Any]) -> uuid.UUID:
    delivery_id = new_id()
    session.add(
        WebhookDelivery(
            agency_id=tenant_of(session).agency_id,
            id=delivery_id,
            endpoint_id=endpoint_id,
            event=event,
            payload=payload,
        )
    )
    session.flush()
    _submit(session, delivery_id)
    return delivery_id


def _submit(session: Session, delivery_id: uuid.UUID) -> None:
    submit(session, "webhook_deliver", {"delivery_id": str(delivery_id)}, unique_key=str(delivery_id))


def _give_up(session: Session, delivery_id: uuid.UUID) -> None:
    session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.agency_id == tenant_of(session).agency_id, WebhookDelivery.id == delivery_id)
        .values(status="FAILED", last_error=OFF)
    )


def _secrets(vault: Vault, endpoint: WebhookEndpoint, now: dt.datetime) -> list[str]:
    """What signs: the secret, and the one before it until its time is over."""
    stored = [endpoint.secret]
    if endpoint.old_secret is not None and endpoint.old_secret_until is not None:
        stored += [endpoint.old_secret] if now < endpoint.old_secret_until else []
    return [vault.decrypt(one).decode() for one in stored]


def _post(
    context: JobContext, delivery: WebhookDelivery, endpoint: WebhookEndpoint
) -> tuple[int | None, str | None]:
    """The status that was answered, and what is wrong, where something is."""
    settings = context.runtime.settings
    now = dt.datetime.now(dt.UTC)
    secrets_now = _secrets(Vault(settings.secret_key), endpoint, now)
    body = _message(delivery)
    headers = _headers(secrets_now, str(delivery.id), int(now.timestamp()), body)
    try:
        with _circuit(context, endpoint).calling(
            lambda error: isinstance(error, httpx.TransportError)
        ) as call:
            status = outbound.post(
                endpoint.url, body, headers, may_be_private=settings.webhook_private_addresses
            )
            if status >= 500:
                call.fail()
    except outbound.Refused as refused:
        return None, str(refused)
    except CircuitOpen as refused:
        return (
            None,
            f"not called: the receiver does not answer; left alone for another {refused.retry_after_s} s",
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return None, type(error).__name__
    return status, None if 200 <= status < 300 else f"answered {status}"


def _circuit(context: JobContext, endpoint: WebhookEndpoint) -> Breaker:
    """The circuit of the endpoint's host, for this agency: what one calls in vain must not keep others from a host of many."""
    host = httpx.URL(endpoint.url).netloc.decode("ascii")
    return context.runtime.breakers[f"webhooks of {context.agency_id} to {host}"]


def _message(delivery: WebhookDelivery) -> bytes:
    """The body: the same bytes at each try; ``timestamp`` is when it happened, not when it is sent."""
    return orjson.dumps(
        {"type": delivery.event, "timestamp": delivery.created_at, "data": delivery.payload},
        option=orjson.OPT_UTC_Z,
    )


def _headers(signers: list[str], message_id: str, at: int, body: bytes) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "User-Agent": "Haven",
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(sign(secret, message_id, at, body) for secret in signers),
    }
