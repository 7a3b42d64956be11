"""Runs of benchmarks that were kept."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import Index, Uuid, func
from sqlalchemy.orm import Mapped, mapped_column

from haven.db.base import Base, Instant, new_id, one_of


class BenchmarkRun(Base):
    """What was measured of one revision. Belongs to the platform, not to an agency."""

    __tablename__ = "benchmark_run"

    id: Mapped[uuid.UUID] = mapped_column(Uuid(), primary_key=True, default=new_id)
    started_at: Mapped[Instant] = mapped_column(server_default=func.now())
    kind: Mapped[str]
    revision: Mapped[str]
    is_changed: Mapped[bool] = mapped_column(doc="Files differed from the revision")
    machine: Mapped[dict[str, Any]]
    figures: Mapped[dict[str, Any]] = mapped_column(
        doc="By benchmark: seconds, and the ratio to the calibration"
    )
    verdicts: Mapped[list[Any]] = mapped_column(server_default="[]")

    __table_args__ = (
        one_of("kind", "RUN", "BASELINE", "COMPARE", "REGRESS"),
        Index("benchmark_run_started_idx", "started_at", "id"),
    )
