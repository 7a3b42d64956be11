"""Jobs that export lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from haven.insight.exports import service

if TYPE_CHECKING:
    from haven.operations.jobs import JobContext


def export(
    context: JobContext,
    resource: str,
    format: str,  # noqa: A002  the name of the API
    filters: dict[str, Any],
    compression: str | None = None,
) -> dict[str, Any]:
    """Write the rows of one list into a file; it is kept for some days, and whoever asked is told."""
    return service.export(context, resource, format, filters, compression)
