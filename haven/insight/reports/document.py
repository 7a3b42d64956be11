"""A finished report before it has a format: facts, tables, plots and notes. JSON, XLSX and PDF are all made from this."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

Type = Literal["text", "date", "money", "count", "percent", "days"]
Value = str | dt.date | Decimal | int | float | None
"""Money is a Decimal of two decimals, a share in per cent a float of two; None is shown as nothing."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, or a fact: its name in JSON, its words on a page, what its values are."""

    key: str
    label: str
    type: Type = "text"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under columns. ``totals`` has a value for each column that adds up, by its key."""

    key: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Value]]
    totals: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chart:
    """A plot of one or more series over the same labels: upright bars, lines, or rows (bars that lie, for long labels).

    ``unit`` is a currency or ``%``.
    """

    title: str
    form: Literal["bars", "lines", "rows"]
    unit: str
    labels: Sequence[str]
    series: Sequence[tuple[str, Sequence[Decimal | float]]]


@dataclass(frozen=True, slots=True)
class Frame:
    """What a report was computed from: both days inclusive, where the agency is; ``as_of`` is the day of its balances."""

    agency: str
    first: dt.date
    last: dt.date
    as_of: dt.date
    timezone: str
    currency: str
    generated_at: dt.datetime
    filters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Document:
    """A report."""

    kind: str
    title: str
    subject: str
    frame: Frame
    facts: Sequence[tuple[Column, Value]]
    tables: Sequence[Table]
    charts: Sequence[Chart] = ()
    notes: Sequence[str] = ()

    @property
    def rows(self) -> int:
        """The rows of all its tables."""
        return sum(len(table.rows) for table in self.tables)


def figures(document: Document) -> dict[str, Any]:
    """The report as JSON has it: money as text with two decimals, days as ``YYYY-MM-DD``."""
    frame = document.frame
    return {
        "kind": document.kind,
        "title": document.title,
        "subject": document.subject,
        "agency": frame.agency,
        "period": {"from": frame.first.isoformat(), "to": frame.last.isoformat()},
        "as_of": frame.as_of.isoformat(),
        "timezone": frame.timezone,
        "currency": frame.currency,
        "generated_at": frame.generated_at.isoformat(),
        "filters": dict(frame.filters),
        "totals": {column.key: _json(value) for column, value in document.facts},
        "tables": {table.key: _table(table) for table in document.tables},
        "notes": list(document.notes),
    }


def _table(table: Table) -> dict[str, Any]:
    keys = [column.key for column in table.columns]
    return {
        "rows": [dict(zip(keys, map(_json, row), strict=True)) for row in table.rows],
        "totals": {key: _json(value) for key, value in table.totals.items()},
    }


def _json(value: Value) -> str | int | float | None:
    if isinstance(value, Decimal):
        return f"{value:.2f}"
    return value.isoformat() if isinstance(value, dt.date) else value
