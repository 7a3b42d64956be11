"""Opaque tokens: random, stored only as their SHA-256, with the agency inside so that no lookup crosses the tenant wall.

``hvn_`` (API key), ``hva_`` (access token), ``hvr_`` (refresh token), then the agency's id as 32 hex digits, then 256
random bits as base64url. A fast hash is right here: it is only weak for secrets that can be guessed.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import uuid
from dataclasses import dataclass
from typing import Final

API_KEY: Final = "hvn_"
ACCESS: Final = "hva_"
REFRESH: Final = "hvr_"
_SHOWN = 44
_SHAPE = re.compile(r"(hvn_|hva_|hvr_)([0-9a-f]{32})[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made: ``text`` goes to the caller once, ``prefix`` (not secret) and ``hash`` are stored."""

    text: str
    prefix: str
    hash: bytes


@dataclass(frozen=True, slots=True)
class Token:
    """What a token that was sent says of itself; whether it is good is for the database to say."""

    kind: str
    agency_id: uuid.UUID
    hash: bytes


def new_token(kind: str, agency_id: uuid.UUID) -> NewToken:
    """A token of ``kind`` (``API_KEY``, ``ACCESS`` or ``REFRESH``) of an agency."""
    text = f"{kind}{agency_id.hex}{secrets.token_urlsafe(32)}"
    return NewToken(text, text[:_SHOWN], digest(text))


def new_api_key(agency_id: uuid.UUID) -> NewToken:
    """An API key of an agency."""
    return new_token(API_KEY, agency_id)


def read_token(text: str) -> Token | None:
    """The token in ``text``, or None where it has not the shape of one."""
    match = _SHAPE.fullmatch(text)
    if match is None:
        return None
    return Token(match[1], uuid.UUID(match[2]), digest(text))


def digest(text: str) -> bytes:
    """SHA-256 of a token: what is stored of it."""
    return hashlib.sha256(text.encode()).digest()
