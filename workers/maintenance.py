"""Jobs that keep Haven in good order."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING, Any

# The lists that can be warmed are known once their routes are.
import haven.billing.routes
import haven.insight.routes
import haven.leasing.routes
import haven.payments.routes
import haven.portfolio.routes  # noqa: F401
from haven.api.warming import warm
from haven.billing import service as billing
from haven.bulk import running as bulk
from haven.operations.cache import agencies_of

if TYPE_CHECKING:
    from haven.operations.jobs import JobContext


def verify_books(context: JobContext) -> dict[str, Any]:
    """Check the agency's books; what is wrong is logged as an error and counted in the result."""
    with context.session() as session:
        return billing.report(session, dt.datetime.now(dt.UTC))


def cache_warm(context: JobContext, targets: list[str]) -> dict[str, Any]:
    """Compute the first page of these lists, and the dashboard; an operator's job does it for every agency."""
    runtime = context.runtime
    agencies = agencies_of(runtime.engine, context.agency_id)
    lives = runtime.settings.flask_config()
    pages = 0
    for done, agency_id in enumerate(agencies, start=1):
        pages += warm(runtime.cache, runtime.engine, agency_id, targets, lives)
        context.progress(done, len(agencies))
    return {"pages": pages}


def bulk_apply(context: JobContext, upload_id: str) -> dict[str, Any]:
    """Do the rows that were sent in one request; the report of them is the result."""
    return bulk.run(context, uuid.UUID(upload_id), context.runtime.settings.bulk_batch_size)
