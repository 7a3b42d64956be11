"""Links that fetch one file of one agency until a given time, without a sign-in.

A token is the agency's id (16 bytes), the time it ends (8 bytes, seconds since 1970) and an HMAC-SHA-256 of both and the file's
name, in URL-safe Base64. Nobody without SECRET_KEY makes one, and none opens another file.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import hmac
import uuid
from typing import Final
from urllib.parse import quote

from haven.errors import Forbidden

_PATH: Final = "/api/v1/exports/download"
_BODY: Final = 24
_LENGTH: Final = _BODY + hashlib.sha256().digest_size


def link(secret_key: str, agency_id: uuid.UUID, filename: str, expires_at: dt.datetime) -> str:
    """The path, with its token, under which the file is fetched until ``expires_at``."""
    body = agency_id.bytes + int(expires_at.timestamp()).to_bytes(8, "big")
    token = base64.urlsafe_b64encode(body + _mac(secret_key, body, filename)).rstrip(b"=").decode()
    return f"{_PATH}/{quote(filename)}?token={token}"


def agency_of(secret_key: str, token: str, filename: str, now: dt.datetime) -> uuid.UUID:
    """Whose file ``filename`` the token opens.

    Raises:
        Forbidden: it was not made here for this file, or its time is over.
    """
    raw = _decoded(token)
    body, mac = raw[:_BODY], raw[_BODY:]
    if len(raw) != _LENGTH or not hmac.compare_digest(mac, _mac(secret_key, body, filename)):
        raise Forbidden("This link is not good for this file: take it whole, as it was given.")
    if int.from_bytes(body[16:], "big") <= now.timestamp():
        raise Forbidden("The time of this link is over: GET /api/v1/exports has new ones, or export again.")
    return uuid.UUID(bytes=body[:16])


def _mac(secret_key: str, body: bytes, filename: str) -> bytes:
    key = hashlib.sha256(b"haven files\n" + secret_key.encode()).digest()
    return hmac.digest(key, body + filename.encode(), "sha256")


def _decoded(token: str) -> bytes:
    try:
        raw = base64.b64decode(
            token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True
        )
    except (ValueError, binascii.Error):
        return b""
    # Base64 has spare bits: a token is good as it was given, in no other spelling.
    return raw if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == token else b""
