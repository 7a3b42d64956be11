"""Asking for an export, and making it."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from haven.db.reading import reading_from_replica
from haven.db.session import Tenant, tenant_of
from haven.errors import Fault, Forbidden, Invalid
from haven.files import service as files
from haven.identity.models import Agency, User
from haven.insight.exports.query import Plan
from haven.insight.exports.sink import COMPRESSIONS
from haven.insight.exports.writing import COMPRESSIBLE, FORMATS, Teller, write
from haven.notifications.service import queue_mail
from haven.operations.jobs import submit
from haven.operations.kinds import KINDS
from haven.operations.models import Job

if TYPE_CHECKING:
    from haven.operations.jobs import JobContext

KIND: Final = "export"
_COMPRESSED: Final = {"gzip": "application/gzip", "zstd": "application/zstd"}
_USER: Final = "user:"


def check_allowed(permissions: frozenset[str], resource: str) -> None:
    """Who exports a list may read it.

    Raises:
        Forbidden: one of the two permissions is missing.
    """
    for one in ("exports:write", f"{resource}:read"):
        if one not in permissions:
            raise Forbidden(f"To export {resource} one needs the permission {one}.")


def request(
    session: Session,
    resource: str,
    format_name: str,
    filters: Mapping[str, Any],
    compression: str | None = None,
) -> uuid.UUID:
    """Ask for an export of one of RESOURCES, in the caller's transaction; the job's id.

    Args:
        filters: those of the list: ``{"status": "COMPLETED", "amount__gte": "1000"}``, and ``q`` and ``sort``.

    Raises:
        Invalid: naming what is wrong.
    """
    faults = _faults(format_name, compression)
    try:
        Plan.of(resource, filters)
    except Invalid as error:
        faults += error.faults
    if faults:
        raise Invalid(f"{faults[0].pointer.lstrip('/')}: {faults[0].detail}", faults=tuple(faults))
    arguments = {"resource": resource, "format": format_name, "filters": dict(filters)}
    return submit(session, KIND, arguments | ({"compression": compression} if compression else {}))


def export(
    context: JobContext, resource: str, format_name: str, filters: Mapping[str, Any], compression: str | None
) -> dict[str, Any]:
    """Make the export, keep its file and write to whoever asked for it.

    Returns:
        The file as ``haven.files.service.keep`` tells of it, and ``rows``.
    """
    settings = context.runtime.settings
    plan = Plan.of(resource, filters)
    with context.session() as session:
        asked = session.execute(
            select(Job.requested_by, Job.created_at).where(
                Job.agency_id == context.agency_id, Job.id == context.job_id
            )
        ).one()
        name = filename(session, resource, format_name, compression, asked.created_at)
    teller = Teller(
        lambda done, total: context.progress(done, total, f"Writing {name}"), context.check_cancelled
    )
    with files.scratch(settings) as folder:
        path = folder / name
        # In the name of whoever asks: he sees in it what he has just written.
        tenant = Tenant(context.agency_id, asked.requested_by, context.request_id)
        with reading_from_replica(context.runtime, tenant) as session:
            written = write(
                session,
                plan,
                path,
                format_name,
                teller,
                compression=compression,
                timeout_s=KINDS[KIND].timeout_s,
            )
        media_type = FORMATS[format_name] if compression is None else _COMPRESSED[compression]
        kept = files.keep(context, path, name, media_type, written.sha256)
    _tell(context, asked.requested_by, kept, written.rows)
    context.progress(written.rows, written.rows, kept["filename"])
    return {"rows": written.rows, **kept}


def filename(
    session: Session, resource: str, format_name: str, compression: str | None, at: dt.datetime
) -> str:
    """A name people recognise: ``makao-bora-payments-2026-11-25-1432.csv``, by the agency's clock."""
    slug, timezone = session.execute(
        select(Agency.slug, Agency.timezone).where(Agency.id == tenant_of(session).agency_id)
    ).one()
    local = at.astimezone(ZoneInfo(timezone))
    ending = format_name if compression is None else f"{format_name}.{COMPRESSIONS[compression]}"
    return f"{slug}-{resource}-{local:%Y-%m-%d-%H%M}.{ending}"


def check_format(format_name: str, compression: str | None) -> None:
    """Whether there is such a format, and whether it can be so compressed.

    Raises:
        Invalid: naming what is wrong.
    """
    faults = _faults(format_name, compression)
    if faults:
        raise Invalid(f"{faults[0].pointer.lstrip('/')}: {faults[0].detail}", faults=tuple(faults))


def _faults(format_name: str, compression: str | None) -> list[Fault]:
    faults = []
    if format_name not in FORMATS:
        faults.append(Fault("/format", f"must be one of {', '.join(FORMATS)}"))
    if compression is not None and compression not in COMPRESSIONS:
        faults.append(Fault("/compression", f"must be one of {', '.join(COMPRESSIONS)}"))
    elif compression is not None and format_name in FORMATS and format_name not in COMPRESSIBLE:
        faults.append(
            Fault("/compression", f"is for {' and '.join(COMPRESSIBLE)}: this format compresses itself")
        )
    return faults


def _tell(context: JobContext, requested_by: str, kept: Mapping[str, Any], rows: int) -> None:
    """Write to the person who asked, if it was one, once."""
    if not requested_by.startswith(_USER):
        return
    with context.session() as session:
        email = session.execute(
            select(User.email).where(
                User.agency_id == context.agency_id, User.id == uuid.UUID(requested_by.removeprefix(_USER))
            )
        ).scalar_one_or_none()
        values = {
            "name": kept["filename"],
            "rows": f"{rows:,}",
            "size": _size(kept["size_bytes"]),
            "url": kept["url"],
            "expires_at": kept["expires_at"],
        }
        recipients = [] if email is None else [email]
        queue_mail(
            session, template="export_ready", recipients=recipients, values=values, about_id=context.job_id
        )


def _size(size_bytes: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return f"{size_bytes} bytes"
