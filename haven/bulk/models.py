"""What was sent to be done in bulk, kept until it is done: any worker on any host can take it up."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import BigInteger, ForeignKeyConstraint, PrimaryKeyConstraint, Uuid
from sqlalchemy.dialects.postgresql import BYTEA
from sqlalchemy.orm import Mapped, mapped_column

from haven.db.base import Base, Instant, Owned, Timestamps, one_of


class BulkUpload(Owned, Timestamps, Base):
    """One request of more rows than are answered at once, and how far it is."""

    __tablename__ = "bulk_upload"

    resource: Mapped[str]
    operation: Mapped[str]
    mode: Mapped[str]
    format: Mapped[str]
    is_dry_run: Mapped[bool] = mapped_column(server_default="false")
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    # By its line ends, until it is finished: the rows themselves are read once, by the worker.
    row_count: Mapped[int]
    # Moves in the transaction of the rows themselves: whoever takes over begins behind what is done.
    rows_done: Mapped[int] = mapped_column(server_default="0")
    report: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    finished_at: Mapped[Instant | None]

    __rules__ = (
        one_of("operation", "CREATE", "UPDATE", "DELETE"),
        one_of("mode", "ATOMIC", "PARTIAL"),
        one_of("format", "CSV", "NDJSON", "JSON"),
    )


class BulkPiece(Base):
    """A piece of what was sent, as it came."""

    __tablename__ = "bulk_piece"
    __table_args__ = (
        PrimaryKeyConstraint("agency_id", "upload_id", "number"),
        ForeignKeyConstraint(
            ["agency_id", "upload_id"], ["bulk_upload.agency_id", "bulk_upload.id"], ondelete="CASCADE"
        ),
    )

    agency_id: Mapped[uuid.UUID] = mapped_column(Uuid())
    upload_id: Mapped[uuid.UUID] = mapped_column(Uuid())
    number: Mapped[int]
    content: Mapped[bytes] = mapped_column(BYTEA)
