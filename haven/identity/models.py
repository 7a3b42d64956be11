"""Agencies, users, sign-in sessions, API keys, and the record of who changed what."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import (
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA
from sqlalchemy.orm import Mapped, mapped_column

from haven.db.base import (
    Base,
    Instant,
    Owned,
    Timestamps,
    Versioned,
    new_id,
    one_of,
    owned_key,
    search_index,
    searchable,
)


class Agency(Timestamps, Base):
    """A letting agency: the tenant of this database. All others' ``agency_id`` points here."""

    __tablename__ = "agency"

    id: Mapped[uuid.UUID] = mapped_column(Uuid(), primary_key=True, default=new_id)
    name: Mapped[str]
    slug: Mapped[str] = mapped_column(Text, unique=True)
    timezone: Mapped[str] = mapped_column(Text, server_default="Africa/Nairobi")
    currency: Mapped[str] = mapped_column(Text, server_default="KES")
    status: Mapped[str] = mapped_column(Text, server_default="ACTIVE")
    mpesa_shortcode: Mapped[str | None]
    mpesa_credentials: Mapped[bytes | None] = mapped_column(BYTEA)
    c2b_reject_unknown_accounts: Mapped[bool] = mapped_column(server_default="false")
    language: Mapped[str] = mapped_column(server_default="en")
    notify_invoices: Mapped[bool] = mapped_column(server_default="false")
    reminders_before_due: Mapped[list[int]] = mapped_column(ARRAY(Integer), server_default="{}", doc="Days")
    reminders_after_due: Mapped[list[int]] = mapped_column(ARRAY(Integer), server_default="{}", doc="Days")
    version: Mapped[int] = mapped_column(server_default="1", default=1)
    search: Mapped[str] = searchable("name", "slug")

    __table_args__ = (one_of("status", "ACTIVE", "SUSPENDED"), one_of("language", "en", "sw"))
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012


class User(Versioned, Base):
    """A person who signs in."""

    __tablename__ = "user_account"

    email: Mapped[str]
    full_name: Mapped[str]
    phone: Mapped[str | None]
    role: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="ACTIVE")
    password_hash: Mapped[str]
    search: Mapped[str] = searchable("full_name", "email", "phone")

    __rules__ = (
        search_index("user_account"),
        one_of("role", "PLATFORM_ADMIN", "AGENCY_ADMIN", "MANAGER", "ACCOUNTANT", "VIEWER"),
        one_of("status", "ACTIVE", "DISABLED"),
        UniqueConstraint("agency_id", "email"),
        Index(None, "agency_id", "full_name", "id"),
    )


class SignInAddress(Base):
    """Which account an e-mail address signs in to. Addresses are unique over all agencies, so login needs no agency.

    The row-level policy shows a row to its own agency and to whoever names the address.
    """

    __tablename__ = "sign_in_address"

    email: Mapped[str] = mapped_column(Text, primary_key=True)
    agency_id: Mapped[uuid.UUID]
    user_id: Mapped[uuid.UUID]

    __table_args__ = (
        owned_key("user_id", "user_account", ondelete="CASCADE"),
        Index(None, "agency_id", "user_id"),
    )


class SignInThrottle(Base):
    """Failed sign-ins of one account from one address. Counted by both, so a stranger slows only himself."""

    __tablename__ = "sign_in_throttle"

    key: Mapped[str] = mapped_column(Text, primary_key=True, doc="SHA-256 of account and address")
    failures: Mapped[int] = mapped_column(server_default="0")
    last_failure_at: Mapped[Instant]
    locked_until: Mapped[Instant | None]

    __table_args__ = (Index(None, "last_failure_at"),)


class SignInSession(Owned, Base):
    """One sign-in: the current access token, and a chain of refresh tokens."""

    __tablename__ = "sign_in_session"

    user_id: Mapped[uuid.UUID]
    access_token_hash: Mapped[bytes] = mapped_column(BYTEA)
    access_expires_at: Mapped[Instant]
    expires_at: Mapped[Instant]
    created_at: Mapped[Instant] = mapped_column(server_default=func.now())
    last_used_at: Mapped[Instant] = mapped_column(server_default=func.now())
    revoked_at: Mapped[Instant | None]
    revoked_reason: Mapped[str | None]
    address: Mapped[str | None]
    user_agent: Mapped[str | None]

    __rules__ = (
        owned_key("user_id", "user_account", ondelete="CASCADE"),
        UniqueConstraint("agency_id", "access_token_hash"),
        Index(None, "agency_id", "user_id", "id"),
        Index(None, "expires_at"),
    )


class RefreshToken(Owned, Base):
    """A refresh token, good for one use. One that comes a second time has been stolen: its session ends."""

    __tablename__ = "refresh_token"

    session_id: Mapped[uuid.UUID]
    token_hash: Mapped[bytes] = mapped_column(BYTEA)
    expires_at: Mapped[Instant]
    used_at: Mapped[Instant | None]

    __rules__ = (
        owned_key("session_id", "sign_in_session", ondelete="CASCADE"),
        UniqueConstraint("agency_id", "token_hash"),
        Index(None, "agency_id", "session_id"),
        Index(None, "expires_at"),
    )


class ApiKey(Owned, Base):
    """A program's key; the secret is stored only as its hash."""

    __tablename__ = "api_key"

    name: Mapped[str]
    prefix: Mapped[str]
    secret_hash: Mapped[bytes] = mapped_column(BYTEA)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_by: Mapped[uuid.UUID]
    created_at: Mapped[Instant] = mapped_column(server_default=func.now())
    last_used_at: Mapped[Instant | None]
    expires_at: Mapped[Instant | None]
    revoked_at: Mapped[Instant | None]

    __rules__ = (
        owned_key("created_by", "user_account"),
        UniqueConstraint("agency_id", "secret_hash"),
        Index(None, "agency_id", "created_by"),
    )


class IdempotencyKey(Base):
    """The answer to a POST with an ``Idempotency-Key``, kept so that a repeat has the same one and no second effect."""

    __tablename__ = "idempotency_key"

    agency_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("agency.id"))
    user_id: Mapped[uuid.UUID]
    key: Mapped[str]
    request_hash: Mapped[bytes] = mapped_column(BYTEA)
    status: Mapped[int | None]
    headers: Mapped[dict[str, Any] | None]
    body: Mapped[bytes | None] = mapped_column(BYTEA)
    created_at: Mapped[Instant] = mapped_column(server_default=func.now())
    locked_until: Mapped[Instant]

    __table_args__ = (
        PrimaryKeyConstraint("agency_id", "user_id", "key"),
        Index(None, "agency_id", "created_at"),
    )


class AuditEntry(Owned, Base):
    """Who changed what, from what to what. Written by a trigger, so nothing that changes a row can forget it."""

    __tablename__ = "audit_entry"

    id: Mapped[uuid.UUID] = mapped_column(Uuid(), server_default=text("uuidv7()"), sort_order=-2)
    at: Mapped[Instant] = mapped_column(server_default=func.now())
    actor: Mapped[str]
    request_id: Mapped[str]
    action: Mapped[str]
    entity: Mapped[str]
    entity_id: Mapped[uuid.UUID]
    changes: Mapped[dict[str, Any]]

    __rules__ = (
        one_of("action", "INSERT", "UPDATE", "DELETE"),
        Index(None, "agency_id", "entity", "entity_id", "id"),
        Index(None, "agency_id", "at", "id"),
    )
