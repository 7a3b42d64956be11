"""What people are told, and what became of it."""

from __future__ import annotations

import uuid

from sqlalchemy import Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from haven.db.base import Base, Instant, Owned, one_of, owned_key


class Notification(Owned, Base):
    """One message to one person about one payment, in the words it is sent in."""

    __tablename__ = "notification"

    payment_id: Mapped[uuid.UUID]
    kind: Mapped[str]
    channel: Mapped[str]
    recipient: Mapped[str]
    language: Mapped[str] = mapped_column(server_default="en")
    subject: Mapped[str]
    body: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="QUEUED")
    tries: Mapped[int] = mapped_column(server_default="0")
    last_error: Mapped[str | None]
    created_at: Mapped[Instant] = mapped_column(server_default=func.now())
    sent_at: Mapped[Instant | None]

    __rules__ = (
        one_of("kind", "PAYMENT_COMPLETED", "PAYMENT_FAILED", "PAYMENT_NEEDS_REVIEW"),
        one_of("channel", "EMAIL", "SMS"),
        one_of("status", "QUEUED", "SENT", "FAILED"),
        owned_key("payment_id", "payment"),
        # Whatever happens twice is told once.
        UniqueConstraint(
            "agency_id", "payment_id", "kind", "channel", "recipient", name="notification_once_key"
        ),
        Index(
            "notification_waiting_idx", "agency_id", "payment_id", postgresql_where=text("status = 'QUEUED'")
        ),
    )
