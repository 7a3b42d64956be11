"""The reports' statements, and what each is asked with."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from haven.billing.days import AgencyDay
from haven.db.session import tenant_of
from haven.errors import Invalid
from haven.insight.reports.asking import Ask
from haven.insight.reports.document import Frame

MOST_ROWS: Final = 200_000
"""Rows of one table: more than any agency has units or debtors, and still a file that opens."""
_HERE: Final = Path(__file__).parent
_SHARED: Final = ("place", "balances")
_CLOCK_SLACK: Final = dt.timedelta(hours=1)


@cache
def statement(name: str) -> TextClause:
    """The statement of ``{name}.sql``; ``{place}`` and ``{balances}`` in it are the parts that several share."""
    found = _text(name)
    for part in _SHARED:
        found = found.replace(f"{{{part}}}", _text(part))
    return text(found)


def rows_of(session: Session, name: str, values: dict[str, Any]) -> Sequence[Any]:
    """What the statement gives.

    Raises:
        Invalid: it is more than ``MOST_ROWS``.
    """
    found = session.execute(statement(name), values).all()
    if len(found) > MOST_ROWS:
        raise Invalid.field(
            "filters", f"the report has more than {MOST_ROWS:,} rows: ask for one property or owner"
        )
    return found


def values_of(session: Session, ask: Ask, frame: Frame, day: AgencyDay) -> dict[str, Any]:
    """The parameters of all statements; moments where dates begin and end in the agency's time zone."""
    begins, ends = day.begins(ask.first), day.ends(frame.as_of)
    return {
        "agency_id": tenant_of(session).agency_id,
        "property_id": ask.filters.get("property_id"),
        "owner_id": ask.filters.get("owner_id"),
        "first": ask.first,
        "last": ask.last,
        "on": frame.as_of,
        "zone": frame.timezone,
        "begins": begins,
        "ends": ends,
        "begins_id": _first_id(begins),
        "ends_id": _first_id(ends),
        "most": MOST_ROWS + 1,
    }


def _text(name: str) -> str:
    lines = (_HERE / f"{name}.sql").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("--"))


def _first_id(moment: dt.datetime) -> uuid.UUID:
    """The least UUIDv7 of a moment, an hour before it for clocks that are put back."""
    return uuid.UUID(int=max(0, int((moment - _CLOCK_SLACK).timestamp() * 1000)) << 80)
