"""From a token to who is asking. Redis answers for a warm session; PostgreSQL holds the truth and always can.

An answer is believed from Redis for ``ttl_s`` at the most. Signing out, a new password or a changed role overwrites it
with a tombstone that lives longer, and a late reader fills the cache only where nothing is (SET NX), so a sign-in
that ended never comes back.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import hiredis
import orjson
import redis
import structlog
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from extensions.hold_off import HeldOff
from haven.db.base import PLATFORM
from haven.db.session import Tenant, set_tenant
from haven.errors import NotSignedIn
from haven.identity.models import Agency, ApiKey, SignInSession, User
from haven.identity.permissions import permissions_of
from haven.identity.tokens import ACCESS, API_KEY, Token, digest, read_token

log = structlog.get_logger(__name__)

_ENDED: Final = b"ended"
_TOMBSTONE_TIMES: Final = 3
"""A tombstone outlives any answer that was read before it was written."""
_SEEN_KEPT: Final = 10_000
"""Tokens of which a process keeps who holds them, about 1 KB each."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking. ``session_id`` is None for an API key, ``api_key_id`` for a sign-in."""

    agency_id: uuid.UUID
    user_id: uuid.UUID
    role: str
    permissions: frozenset[str]
    session_id: uuid.UUID | None
    api_key_id: uuid.UUID | None

    @property
    def is_platform(self) -> bool:
        return self.agency_id == PLATFORM

    @property
    def actor(self) -> str:
        """How the audit trail names the caller."""
        return f"user:{self.user_id}" if self.api_key_id is None else f"key:{self.api_key_id}"

    def tenant(self, request_id: str = "") -> Tenant:
        return Tenant(self.agency_id, self.actor, request_id, self.is_platform)


@dataclass(frozen=True, slots=True)
class Seen:
    """What Redis said of a token last, and who that is; it counts only where ``command`` gets the same again."""

    stored: bytes
    principal: Principal
    command: bytes


class Principals:
    """Answers who a token belongs to."""

    def __init__(self, cache: redis.Redis, ttl_s: int) -> None:
        self._cache = cache
        self._ttl_s = ttl_s
        self._untold: dict[bytes, tuple[float, bool]] = {}
        """What Redis could not be told: token → from when it need not be (monotonic, s), and whether it has ended."""
        self._seen: dict[bytes, Seen] = {}

    def authenticate(self, session: Session, text: str) -> Principal:
        """Who holds the token ``text``.

        Raises:
            NotSignedIn: it is no token, has ended or expired, or its user or agency is disabled.
        """
        token = read_token(text)
        if token is None or token.kind not in (ACCESS, API_KEY):
            raise NotSignedIn("This is no access token or API key.")
        stored = self._remembered(token)
        if stored == _ENDED:
            raise _ended()
        if stored:
            return self._read(token.hash, stored)
        found = _look_up(session, token)
        self._remember(token, found)
        return _principal(found)

    def seen(self, text: str) -> Seen | None:
        """Who held the token ``text`` when this process last asked Redis, to be asked again.

        None: it has not, or Redis has still to be told of a sign-in that ended.
        """
        return None if self._untold else self._seen.get(digest(text))

    def forget(self, hashes: Iterable[bytes]) -> None:
        """Sign-ins or keys that have ended, or whose user has changed: nobody believes them any more."""
        self._change(hashes, ended=True)

    def refresh(self, hashes: Iterable[bytes]) -> None:
        """Sign-ins that stand, but whose user has changed: read again from PostgreSQL."""
        self._change(hashes, ended=False)

    def _read(self, token_hash: bytes, stored: bytes) -> Principal:
        seen = self._seen.get(token_hash)
        if seen is None or seen.stored != stored:
            command = hiredis.pack_command(("GET", _name(token_hash)))  # type: ignore[arg-type]  # its stub
            seen = Seen(stored, _principal(orjson.loads(stored)), command)
            if len(self._seen) >= _SEEN_KEPT:
                self._seen.clear()
            self._seen[token_hash] = seen
        return seen.principal

    def _change(self, hashes: Iterable[bytes], *, ended: bool) -> None:
        # PostgreSQL has it. What Redis may still say ends with its time to live, or when it can be told again.
        needless_at = time.monotonic() + self._ttl_s
        for token_hash in hashes:
            _, has_ended = self._untold.get(token_hash, (0.0, False))
            self._untold[token_hash] = needless_at, ended or has_ended
        self._tell()

    def _tell(self) -> None:
        """Tell Redis what it does not know yet."""
        for token_hash, untold in list(self._untold.items()):
            needless_at, has_ended = untold
            name = _name(token_hash)
            try:
                if needless_at <= time.monotonic():
                    pass
                elif has_ended:
                    self._cache.set(name, _ENDED, ex=self._ttl_s * _TOMBSTONE_TIMES)
                else:
                    self._cache.delete(name)
            except redis.RedisError as error:
                _note(error)
                return
            if self._untold.get(token_hash) == untold:
                self._untold.pop(token_hash, None)

    def _remembered(self, token: Token) -> bytes | None:
        if self._untold:
            self._tell()
        try:
            return self._cache.get(_name(token.hash))  # type: ignore[return-value]
        except redis.RedisError as error:
            _note(error)
            return None

    def _remember(self, token: Token, found: dict[str, Any]) -> None:
        expires_at = datetime.fromisoformat(found["expires_at"]) if found["expires_at"] else None
        left_s = (expires_at - datetime.now(UTC)).total_seconds() if expires_at else self._ttl_s
        ttl_s = int(min(self._ttl_s, left_s))
        if ttl_s < 1:
            return
        try:
            self._cache.set(_name(token.hash), orjson.dumps(found), ex=ttl_s, nx=True)
        except redis.RedisError as error:
            _note(error)


def _note(error: redis.RedisError) -> None:
    """Say once that Redis went away, not in each request that finds it so."""
    if not isinstance(error, HeldOff):
        log.warning("session_cache_unavailable", error=type(error).__name__)


def _name(token_hash: bytes) -> str:
    return f"haven:sign-in:{token_hash.hex()}"


def _ended() -> NotSignedIn:
    return NotSignedIn("This sign-in has ended or expired: sign in again.")


def _look_up(session: Session, token: Token) -> dict[str, Any]:
    set_tenant(session, Tenant(token.agency_id, "sign-in", is_platform=token.agency_id == PLATFORM))
    found = _of_session(session, token) if token.kind == ACCESS else _of_api_key(session, token)
    session.commit()
    if found is None:
        raise _ended()
    return found


def _of_session(session: Session, token: Token) -> dict[str, Any] | None:
    now = datetime.now(UTC)
    row = session.execute(
        select(SignInSession.id, SignInSession.access_expires_at, User.id, User.role)
        .join(User, (User.agency_id == SignInSession.agency_id) & (User.id == SignInSession.user_id))
        .join(Agency, Agency.id == SignInSession.agency_id)
        .where(
            SignInSession.agency_id == token.agency_id,
            SignInSession.access_token_hash == token.hash,
            SignInSession.revoked_at.is_(None),
            SignInSession.access_expires_at > now,
            User.status == "ACTIVE",
            Agency.status == "ACTIVE",
        )
    ).first()
    if row is None:
        return None
    session_id, expires_at, user_id, role = row
    session.execute(
        update(SignInSession)
        .where(SignInSession.agency_id == token.agency_id, SignInSession.id == session_id)
        .values(last_used_at=func.now())
    )
    return _stored(token.agency_id, user_id, role, None, session_id, None, expires_at)


def _of_api_key(session: Session, token: Token) -> dict[str, Any] | None:
    now = datetime.now(UTC)
    row = session.execute(
        select(ApiKey.id, ApiKey.scopes, ApiKey.expires_at, User.id, User.role)
        .join(User, (User.agency_id == ApiKey.agency_id) & (User.id == ApiKey.created_by))
        .join(Agency, Agency.id == ApiKey.agency_id)
        .where(
            ApiKey.agency_id == token.agency_id,
            ApiKey.secret_hash == token.hash,
            ApiKey.revoked_at.is_(None),
            (ApiKey.expires_at.is_(None)) | (ApiKey.expires_at > now),
            User.status == "ACTIVE",
            Agency.status == "ACTIVE",
        )
    ).first()
    if row is None:
        return None
    key_id, scopes, expires_at, user_id, role = row
    session.execute(
        update(ApiKey)
        .where(ApiKey.agency_id == token.agency_id, ApiKey.id == key_id)
        .values(last_used_at=func.now())
    )
    return _stored(token.agency_id, user_id, role, scopes, None, key_id, expires_at)


def _stored(
    agency_id: uuid.UUID,
    user_id: uuid.UUID,
    role: str,
    scopes: list[str] | None,
    session_id: uuid.UUID | None,
    key_id: uuid.UUID | None,
    expires_at: datetime | None,
) -> dict[str, Any]:
    return {
        "agency_id": str(agency_id),
        "user_id": str(user_id),
        "role": role,
        "scopes": scopes,
        "session_id": str(session_id) if session_id else None,
        "api_key_id": str(key_id) if key_id else None,
        "expires_at": expires_at.isoformat() if expires_at else None,
    }


def _principal(stored: dict[str, Any]) -> Principal:
    return Principal(
        uuid.UUID(stored["agency_id"]),
        uuid.UUID(stored["user_id"]),
        stored["role"],
        permissions_of(stored["role"], stored["scopes"]),
        uuid.UUID(stored["session_id"]) if stored["session_id"] else None,
        uuid.UUID(stored["api_key_id"]) if stored["api_key_id"] else None,
    )
