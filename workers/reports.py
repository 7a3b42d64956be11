"""Jobs that make reports."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from haven.insight.reports import worker

if TYPE_CHECKING:
    from haven.operations.jobs import JobContext


def report(context: JobContext, report_id: str) -> dict[str, Any]:
    """Make one report; started again, it makes it again, or finds it made."""
    return worker.run(context, uuid.UUID(report_id))
