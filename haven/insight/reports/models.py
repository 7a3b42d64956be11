"""Reports that were asked for, and what came of them."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import Index, func
from sqlalchemy.orm import Mapped, mapped_column

from haven.db.base import Base, Instant, Owned, one_of, owned_key


class Report(Owned, Base):
    """One report: what was asked, and once its job is done what came of it.

    ``key`` is the same for the same ask on the same day; ``generation`` says what the agency's rows were when it was
    computed, and is null where that is not certain: then it is never handed out again. Its file is its job's
    (``export_file``).
    """

    __tablename__ = "report"

    job_id: Mapped[uuid.UUID]
    schedule_id: Mapped[uuid.UUID | None]
    kind: Mapped[str]
    format: Mapped[str]
    first_day: Mapped[dt.date]
    last_day: Mapped[dt.date]
    filters: Mapped[dict[str, Any]]
    key: Mapped[str]
    generation: Mapped[str | None]
    created_at: Mapped[Instant] = mapped_column(server_default=func.now())
    finished_at: Mapped[Instant | None]
    expires_at: Mapped[Instant | None]
    figures: Mapped[dict[str, Any] | None]
    rows: Mapped[int | None]
    filename: Mapped[str | None]
    size_bytes: Mapped[int | None]

    __rules__ = (
        one_of("format", "json", "xlsx", "pdf"),
        owned_key("job_id", "job", ondelete="CASCADE"),
        Index(None, "agency_id", "job_id"),
        Index(None, "agency_id", "kind", "id"),
        Index(None, "agency_id", "key", "id"),
        Index(None, "agency_id", "schedule_id", "id"),
        Index(None, "agency_id", "expires_at"),
    )
