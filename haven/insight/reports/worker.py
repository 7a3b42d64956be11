"""Making one report: its figures in one snapshot, its file, the mail that tells of it."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy.orm import Session

from haven.db.reading import reading_from_replica
from haven.db.session import Tenant, tenant_of
from haven.files import service as files
from haven.insight.reports.asking import KINDS, ask_of
from haven.insight.reports.document import Document, figures
from haven.insight.reports.freshness import generation
from haven.insight.reports.making import make
from haven.insight.reports.models import Report
from haven.insight.reports.rendering import CONTENT_TYPES, filename, rendered
from haven.notifications.service import queue_mail
from haven.operations.jobs import JobContext
from haven.operations.models import ReportSchedule

_ROWS_IN_ANSWER: Final = 2_000
"""A longer JSON report has only its totals in the answer; its rows are in the file."""


def run(context: JobContext, report_id: uuid.UUID) -> dict[str, Any]:
    """Make the report, keep its file where exports' are, and mail it to its schedule's recipients. Run again, it makes it anew.

    Returns:
        The file as ``haven.files.service.keep`` tells of it, ``report_id`` and ``rows``.

    Raises:
        Invalid, NotFound: a filter names what is not there (any more), or there are more rows than the format holds.
        StorageFull, Unavailable: the storage does not take the file.
    """
    with context.session() as session:
        ask = ask_of(_arguments(_report(session, report_id)))
    context.progress(0, 3, "Adding up")
    # Before the rows are read: what is written in between gives another generation.
    before = generation(context.runtime.cache, context.agency_id)
    now = dt.datetime.now(dt.UTC)
    with _snapshot(context) as (session, is_primary):
        document = make(session, ask, now)
    context.progress(1, 3, "Setting")
    content = rendered(document, ask.format)
    context.progress(2, 3, "Keeping")
    kept = _keep(context, document, ask.format, content)
    with context.session() as session:
        # What a replica shows may be older than the generation.
        _finish(session, report_id, document, kept, before if is_primary else None)
    return {"report_id": str(report_id), "rows": document.rows, **kept}


@contextmanager
def _snapshot(context: JobContext) -> Iterator[tuple[Session, bool]]:
    """One snapshot of all tables, from the replica where it is fresh; and whether it is the primary's."""
    tenant = Tenant(context.agency_id, context.actor, context.request_id)
    with reading_from_replica(context.runtime, tenant) as session:
        is_primary = session.get_bind() is context.runtime.engine
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        yield session, is_primary


def _report(session: Session, report_id: uuid.UUID) -> Report:
    key = (tenant_of(session).agency_id, report_id)
    return session.get_one(Report, key, with_for_update=True, populate_existing=True)


def _arguments(report: Report) -> dict[str, Any]:
    days = {"first": report.first_day.isoformat(), "last": report.last_day.isoformat()}
    return {"kind": report.kind, "format": report.format, "filters": report.filters, **days}


def _keep(context: JobContext, document: Document, form: str, content: bytes) -> dict[str, Any]:
    name = filename(document, form)
    with files.scratch(context.runtime.settings) as folder:
        path = folder / name
        path.write_bytes(content)
        return files.keep(context, path, name, CONTENT_TYPES[form])


def _finish(
    session: Session, report_id: uuid.UUID, document: Document, kept: Mapping[str, Any], made_of: str | None
) -> None:
    report = _report(session, report_id)
    report.generation = made_of
    report.finished_at = dt.datetime.now(dt.UTC)
    report.expires_at = dt.datetime.fromisoformat(kept["expires_at"])
    report.filename, report.size_bytes = kept["filename"], kept["size_bytes"]
    report.rows = document.rows
    report.figures = _answer(document) if report.format == "json" else None
    if report.schedule_id is not None:
        _tell(session, report, document, kept["url"])


def _answer(document: Document) -> dict[str, Any]:
    found = figures(document)
    if document.rows > _ROWS_IN_ANSWER:
        for table in found["tables"].values():
            table["rows"] = None
    return found


def _tell(session: Session, report: Report, document: Document, url: str) -> None:
    """Mail the link to the schedule's recipients, in the transaction that says the report is done; each is told once."""
    schedule = session.get(ReportSchedule, (report.agency_id, report.schedule_id))
    if schedule is None or not schedule.recipients:
        return
    assert report.expires_at is not None
    values = {
        "title": ": ".join(filter(None, (KINDS[report.kind].title, document.subject))),
        "period": f"{report.first_day} – {report.last_day}",
        "url": url,
        "expires_at": f"{report.expires_at:%Y-%m-%d %H:%M} UTC",
    }
    queue_mail(
        session, template="report_ready", recipients=schedule.recipients, values=values, about_id=report.id
    )
