"""Removing what was sent in bulk once nobody can need it any more."""

from __future__ import annotations

import datetime as dt
from typing import Final

from sqlalchemy import String, and_, cast, delete, or_, select
from sqlalchemy.orm import Session

from haven.bulk.models import BulkUpload
from haven.db.session import tenant_of
from haven.operations.jobs import UNFINISHED
from haven.operations.models import Job

KIND: Final = "bulk_apply"
FINISHED_KEPT: Final = dt.timedelta(days=1)
UNFINISHED_KEPT: Final = dt.timedelta(days=7)
"""How long a job that failed or was cancelled can be retried."""
_BATCH: Final = 100


def remove_uploads(session: Session, now: dt.datetime) -> int:
    """Remove uploads of one agency, at most 100 a time: done a day ago, or given up seven days ago; how many.

    One whose job still waits or runs stays, however old it is.
    """
    agency_id = tenant_of(session).agency_id
    is_needed = (
        select(Job.id)
        .where(
            Job.agency_id == BulkUpload.agency_id,
            Job.kind == KIND,
            Job.arguments["upload_id"].astext == cast(BulkUpload.id, String),
            or_(
                Job.status.in_(UNFINISHED),
                and_(BulkUpload.finished_at.is_(None), Job.finished_at >= now - UNFINISHED_KEPT),
            ),
        )
        .exists()
    )
    is_old = or_(
        BulkUpload.finished_at < now - FINISHED_KEPT,
        and_(BulkUpload.finished_at.is_(None), BulkUpload.created_at < now - UNFINISHED_KEPT),
    )
    old = (
        select(BulkUpload.id)
        .where(BulkUpload.agency_id == agency_id, is_old, ~is_needed)
        .order_by(BulkUpload.created_at)
        .limit(_BATCH)
    )
    # The pieces go with it.
    removed = session.execute(
        delete(BulkUpload).where(BulkUpload.agency_id == agency_id, BulkUpload.id.in_(old))
    )
    return int(removed.rowcount)  # type: ignore[attr-defined]
