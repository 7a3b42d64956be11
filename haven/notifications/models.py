"""What people are told, and what became of it."""

from __future__ import annotations

import uuid

from sqlalchemy import Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from haven.db.base import Base, Instant, Owned, one_of, owned_key

TENANT_KINDS = (
    "PAYMENT_COMPLETED",
    "PAYMENT_FAILED",
    "PAYMENT_NEEDS_REVIEW",
    "INVOICE_ISSUED",
    "RENT_DUE",
    "RENT_OVERDUE",
)
KINDS = (*TENANT_KINDS, "EXPORT_READY", "REPORT_READY", "WEBHOOK_DISABLED", "ALERT_FIRING", "ALERT_RESOLVED")
STATUSES = ("QUEUED", "SENDING", "SENT", "FAILED", "UNKNOWN")


class Notification(Owned, Base):
    """One message to one person about one event, in the words it is sent in."""

    __tablename__ = "notification"

    about_id: Mapped[uuid.UUID] = mapped_column(doc="The payment, invoice, job or webhook it tells of")
    occasion: Mapped[str] = mapped_column(server_default="", doc="Which reminder of several, such as 3 days")
    tenant_id: Mapped[uuid.UUID | None] = mapped_column(doc="Null where staff are told")
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
    delivered_at: Mapped[Instant | None] = mapped_column(
        doc="Of an SMS: the network says that the phone has it"
    )
    job_id: Mapped[uuid.UUID | None] = mapped_column(doc="The job that is sending it, or was the last to")
    claimed_at: Mapped[Instant | None]
    segments: Mapped[int | None] = mapped_column(doc="Of an SMS: how many are paid for")
    provider_id: Mapped[str | None]

    __rules__ = (
        one_of("kind", *KINDS),
        one_of("channel", "EMAIL", "SMS"),
        one_of("status", *STATUSES),
        owned_key("tenant_id", "tenant"),
        # Whatever happens twice is told once.
        UniqueConstraint(
            "agency_id", "about_id", "kind", "occasion", "channel", "recipient", name="notification_once_key"
        ),
        Index(None, "agency_id", "tenant_id", "id"),
        Index(None, "agency_id", "status", "id"),
        Index(None, "agency_id", "kind", "id"),
        Index(
            "notification_waiting_idx",
            "agency_id",
            "about_id",
            postgresql_where=text("status IN ('QUEUED', 'SENDING')"),
        ),
    )


class SmsHandover(Base):
    """Whose message the gateway's id is: its report comes before anybody knows which agency it is of.

    The row-level policy shows a row to its own agency and to whoever names the id.
    """

    __tablename__ = "sms_handover"

    provider_id: Mapped[str] = mapped_column(primary_key=True)
    agency_id: Mapped[uuid.UUID]
    notification_id: Mapped[uuid.UUID]

    __table_args__ = (
        owned_key("notification_id", "notification", ondelete="CASCADE"),
        Index(None, "agency_id", "notification_id"),
    )
