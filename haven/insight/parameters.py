"""The query parameters of the dashboard."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from typing import Any, Final

from marshmallow import ValidationError
from werkzeug.datastructures import MultiDict

from haven.api.arguments import read_arguments
from haven.api.cursors import Cursor, read_cursor
from haven.api.listing import LIMIT_DEFAULT, LIMIT_MAX
from haven.insight.activity import KINDS, Place

_MONTH: Final = re.compile(r"(19[7-9]\d|2\d{3})-(0[1-9]|1[0-2])", re.ASCII)
_SORT: Final = "-at"

STATS: Final[list[dict[str, Any]]] = [
    {
        "in": "query",
        "name": "property_id",
        "schema": {"type": "string", "format": "uuid"},
        "description": "Only this property.",
    },
    {
        "in": "query",
        "name": "month",
        "schema": {"type": "string", "pattern": r"^\d{4}-\d{2}$", "example": "2026-11"},
        "description": "The running one where the agency is, if it is left out.",
    },
]
ACTIVITY: Final[list[dict[str, Any]]] = [
    {
        "in": "query",
        "name": "limit",
        "schema": {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
    },
    {
        "in": "query",
        "name": "cursor",
        "schema": {"type": "string"},
        "description": "`next_cursor` of the page before.",
    },
]


def read_stats(arguments: MultiDict[str, str]) -> tuple[str | None, uuid.UUID | None]:
    """The month and the property that are asked for; None where they are left out."""
    found = read_arguments(arguments, {"property_id": _property, "month": _month})
    return found.get("month"), found.get("property_id")


def read_activity(arguments: MultiDict[str, str]) -> tuple[int, Place | None]:
    """How many events are asked for, and after which one."""
    found = read_arguments(arguments, {"limit": _limit, "cursor": _place})
    return found.get("limit", LIMIT_DEFAULT), found.get("cursor")


def cursor_of(place: Place) -> str:
    """The place as clients see it."""
    return Cursor(_SORT, f"{place.rank} {place.at.isoformat()}", place.id).text()


def _property(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise ValidationError("must be the id of a property") from None


def _month(text: str) -> str:
    if not _MONTH.fullmatch(text):
        raise ValidationError("must be a month, such as 2026-11")
    return text


def _limit(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    if not 1 <= number <= LIMIT_MAX:
        raise ValidationError(f"must be a whole number from 1 to {LIMIT_MAX}")
    return number


def _place(text: str) -> Place:
    cursor = read_cursor(text, _SORT)
    rank, _, at = (cursor.value or "").partition(" ")
    try:
        place = Place(dt.datetime.fromisoformat(at), cursor.id, int(rank))
    except ValueError:
        place = None
    if place is None or place.at.tzinfo is None or place.rank not in KINDS:
        raise ValidationError("is not a cursor that this list gave out")
    return place
