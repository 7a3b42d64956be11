"""Jobs that look after what is there."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from haven.billing import service as billing

if TYPE_CHECKING:
    from haven.operations.jobs import JobContext


def verify_books(context: JobContext) -> dict[str, Any]:
    """Check the agency's books; what is wrong is logged as an error and counted in the result."""
    with context.session() as session:
        return billing.report(session, dt.datetime.now(dt.UTC))
