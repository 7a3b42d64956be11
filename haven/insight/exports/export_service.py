"""Exports for Python: ``export_service.export_properties(filters, user_id, agency_id, format)`` gives a job with ``.id``.

In a Flask application's context it uses that application, elsewhere the settings of the environment.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from flask import current_app, has_app_context
from sqlalchemy import select

import haven.models  # noqa: F401  every table must be known before the first query
from config import load_settings
from haven.errors import NotFound
from haven.identity.models import User
from haven.identity.permissions import permissions_of
from haven.insight.exports import service
from haven.operations.jobs import job_session
from haven.runtime import Runtime

_QUEUE: Final = "exports"


@dataclass(frozen=True, slots=True)
class ExportJob:
    """A job that was asked for; ``GET /api/v1/jobs/{queue}/{id}`` tells of it."""

    id: uuid.UUID
    queue: str = _QUEUE


def export_properties(
    filters: Mapping[str, Any] | None,
    user_id: uuid.UUID,
    agency_id: uuid.UUID,
    format: str = "csv",
    compression: str | None = None,
) -> ExportJob:
    """Export the agency's properties in the name of one of its users.

    Args:
        filters: those of the list; None: every row.
        format: ``csv xlsx ndjson`` or ``parquet``.
        compression: ``gzip`` or ``zstd``, of CSV and NDJSON.

    Raises:
        NotFound: the agency has no such user who may sign in.
        Forbidden: the user's role may not.
        Invalid: naming what is wrong.
    """
    return _export("properties", filters, user_id, agency_id, format, compression)


def export_units(
    filters: Mapping[str, Any] | None,
    user_id: uuid.UUID,
    agency_id: uuid.UUID,
    format: str = "csv",
    compression: str | None = None,
) -> ExportJob:
    """Export units; as ``export_properties``."""
    return _export("units", filters, user_id, agency_id, format, compression)


def export_tenants(
    filters: Mapping[str, Any] | None,
    user_id: uuid.UUID,
    agency_id: uuid.UUID,
    format: str = "csv",
    compression: str | None = None,
) -> ExportJob:
    """Export tenants; as ``export_properties``."""
    return _export("tenants", filters, user_id, agency_id, format, compression)


def export_leases(
    filters: Mapping[str, Any] | None,
    user_id: uuid.UUID,
    agency_id: uuid.UUID,
    format: str = "csv",
    compression: str | None = None,
) -> ExportJob:
    """Export leases; as ``export_properties``."""
    return _export("leases", filters, user_id, agency_id, format, compression)


def export_invoices(
    filters: Mapping[str, Any] | None,
    user_id: uuid.UUID,
    agency_id: uuid.UUID,
    format: str = "csv",
    compression: str | None = None,
) -> ExportJob:
    """Export invoices; as ``export_properties``."""
    return _export("invoices", filters, user_id, agency_id, format, compression)


def export_payments(
    filters: Mapping[str, Any] | None,
    user_id: uuid.UUID,
    agency_id: uuid.UUID,
    format: str = "csv",
    compression: str | None = None,
) -> ExportJob:
    """Export payments; as ``export_properties``."""
    return _export("payments", filters, user_id, agency_id, format, compression)


def _export(
    resource: str,
    filters: Mapping[str, Any] | None,
    user_id: uuid.UUID,
    agency_id: uuid.UUID,
    form: str,
    compression: str | None,
) -> ExportJob:
    with job_session(_runtime(), agency_id, f"user:{user_id}") as session:
        role = session.execute(
            select(User.role).where(User.agency_id == agency_id, User.id == user_id, User.status == "ACTIVE")
        ).scalar_one_or_none()
        if role is None:
            raise NotFound(f"There is no user {user_id} in this agency who may sign in.")
        service.check_allowed(permissions_of(role), resource)
        return ExportJob(service.request(session, resource, form, filters or {}, compression))


def _runtime() -> Runtime:
    if has_app_context():
        found: Runtime = current_app.extensions["haven"]
        return found
    return _own()


@cache
def _own() -> Runtime:
    return Runtime.start(load_settings())
