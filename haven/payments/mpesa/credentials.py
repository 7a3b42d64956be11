"""The M-Pesa client of an agency: with the credentials it has stored, else with those of the settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson
from sqlalchemy import select
from sqlalchemy.orm import Session

from config import Settings
from haven.crypto import Vault
from haven.db.session import tenant_of
from haven.errors import Conflict
from haven.identity.models import Agency
from haven.payments.mpesa.client import MpesaClient

if TYPE_CHECKING:
    from haven.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Credentials:
    """What signs the calls for one shortcode. ``till`` is the till number, where money goes to a till."""

    shortcode: str
    consumer_key: str = field(repr=False)
    consumer_secret: str = field(repr=False)
    passkey: str = field(repr=False)
    till: str | None = None

    def __post_init__(self) -> None:
        if not all((self.shortcode, self.consumer_key, self.consumer_secret, self.passkey)):
            raise Conflict(
                "M-Pesa is not set up: its shortcode, consumer key, secret and passkey are needed."
            )


def credentials_of(session: Session, settings: Settings) -> Credentials:
    """The credentials of the session's agency: one statement.

    Stored ones are JSON with ``consumer_key``, ``consumer_secret``, ``passkey`` and, if wanted, ``shortcode``
    and ``till``, sealed by ``haven.crypto.Vault``; the shortcode is else the agency's ``mpesa_shortcode``.

    Raises:
        Conflict: neither the agency nor the settings have all that is needed.
    """
    agency = session.execute(
        select(Agency.mpesa_shortcode, Agency.mpesa_credentials).where(
            Agency.id == tenant_of(session).agency_id
        )
    ).one()
    if agency.mpesa_credentials is None:
        return Credentials(
            settings.mpesa_shortcode,
            settings.mpesa_consumer_key,
            settings.mpesa_consumer_secret,
            settings.mpesa_passkey,
        )
    stored: dict[str, Any] = orjson.loads(Vault(settings.secret_key).decrypt(agency.mpesa_credentials))
    return Credentials(
        stored.get("shortcode") or agency.mpesa_shortcode or "",
        stored.get("consumer_key", ""),
        stored.get("consumer_secret", ""),
        stored.get("passkey", ""),
        stored.get("till"),
    )


def client_for(runtime: Runtime, credentials: Credentials) -> MpesaClient:
    """A client with these credentials; its token and its circuit are shared through Redis. Close it."""
    settings = runtime.settings
    host = urlsplit(settings.mpesa_base_url).netloc.rpartition("@")[2]
    return MpesaClient(
        settings.mpesa_base_url,
        credentials.consumer_key,
        credentials.consumer_secret,
        credentials.shortcode,
        credentials.passkey,
        settings.mpesa_timeout,
        runtime.redis,
        till=credentials.till,
        breaker=runtime.breakers[f"M-Pesa {credentials.shortcode} at {host}"],
    )
