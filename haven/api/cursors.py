"""Where the next page of a list begins: the sort it belongs to, the last row's sort value, the last row's id.

Opaque to clients, and nothing in it needs hiding or signing: it can only name a place in a list that row-level security
has already narrowed to the caller's agency.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from dataclasses import dataclass
from typing import Any

import orjson

from haven.errors import Fault, Invalid


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place after one row. ``value`` is the row's sort value as text; None where that is null or is the id."""

    sort: str
    value: str | None
    id: uuid.UUID

    def text(self) -> str:
        """The cursor as clients see it."""
        return (
            base64.urlsafe_b64encode(orjson.dumps([self.sort, self.value, str(self.id)])).decode().rstrip("=")
        )


def read_cursor(text: str, sort: str) -> Cursor:
    """The cursor in ``text``.

    Raises:
        Invalid: it is none of ours, or belongs to another ``sort``.
    """
    try:
        parts: Any = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        made_for, value, row_id = parts
        cursor = Cursor(str(made_for), None if value is None else str(value), uuid.UUID(row_id))
    except (ValueError, TypeError, AttributeError, binascii.Error):
        raise _bad("is not a cursor that this list gave out") from None
    if cursor.sort != sort:
        raise _bad(f"was made for sort={cursor.sort}, not sort={sort}; begin again without it")
    return cursor


def _bad(detail: str) -> Invalid:
    return Invalid(f"cursor {detail}.", faults=(Fault("cursor", detail),))
