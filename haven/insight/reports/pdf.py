"""A report as typeset pages: one PDF, made of ``report.typ`` and the report's own words.

What people have typed goes to the template as JSON and is shown as text. It is never part of the source, so a name cannot
be markup.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import typst

from haven.errors import Unavailable
from haven.insight.reports.document import Chart, Column, Document, Table, Value

MOST_ROWS: Final = 3_000
"""Some 90 pages, 500 MB while they are set. Of a longer report the pages have the first, and say so; a workbook has all."""
_TEMPLATE: Final = Path(__file__).with_name("report.typ")
_METHODS: Final = {"MPESA": "M-Pesa", "BANK": "Bank transfer"}
_LONGEST: Final = 120
_LABEL: Final = 26
_MOST_POINTS: Final = 400
_MOST_LABELS: Final = 12
_WIDE: Final = 8
"""A table of more columns lies on its side."""
_AT_ONCE: Final = 2
_WAIT_S: Final = 600.0

# Typesetting takes a processor's whole attention: more at once would only make each slower.
_places = threading.BoundedSemaphore(_AT_ONCE)


def pdf(document: Document) -> bytes:
    """The pages; the same report is the same bytes. Figures, plots and totals are of all rows, however many are shown.

    Raises:
        Unavailable: others are being made for ten minutes.
    """
    shown = json.dumps(_shown(_cut(document)))
    if not _places.acquire(timeout=_WAIT_S):
        raise Unavailable("Many reports are being typeset at once.", retry_after_s=60)
    try:
        compiler = typst.Compiler(_TEMPLATE.read_bytes(), font_paths=_fonts(), sys_inputs={"report": shown})
        made = compiler.compile(format="pdf", timestamp=int(document.frame.generated_at.timestamp()))
    finally:
        _places.release()
    assert isinstance(made, bytes)
    return made


def _cut(document: Document) -> Document:
    """The document with ``MOST_ROWS`` rows at the most; each table that has lost some says so above its rows."""
    if document.rows <= MOST_ROWS:
        return document
    left, tables = MOST_ROWS, list[Table]()
    for table in document.tables:
        shown = table.rows[:left]
        left -= len(shown)
        title = table.title
        if len(shown) < len(table.rows):
            title = f"{title}: the first {len(shown):,} of {len(table.rows):,} rows"
        tables.append(replace(table, title=title, rows=shown))
    note = (
        f"These pages show {MOST_ROWS:,} of the report's {document.rows:,} rows; totals are of all of them."
        " The workbook (format xlsx) has every row, and so has a report of one property."
    )
    return replace(document, tables=tables, notes=[note, *document.notes])


@cache
def _fonts() -> typst.Fonts:
    """Typst's own fonts, which the page is set in, and those of the machine for letters that these do not have."""
    return typst.Fonts(include_system_fonts=True, include_embedded_fonts=True)


def _shown(document: Document) -> dict[str, Any]:
    """Everything on the pages, in words."""
    frame = document.frame
    made = frame.generated_at.astimezone(ZoneInfo(frame.timezone))
    is_of_a_day = document.kind in ("rent-roll", "arrears")
    of_days = f"{_day(frame.first)} to {_day(frame.last)}"
    # Occupancy is of the whole period, days to come included.
    is_whole = document.kind == "occupancy" or frame.as_of == frame.last
    as_of = f"Balances at the end of {_day(frame.as_of)}"
    return {
        "title": document.title,
        "agency": _text(frame.agency),
        "subject": _text(document.subject),
        "period": f"As of {_day(frame.as_of)}" if is_of_a_day else of_days,
        "as_of": "" if is_of_a_day or is_whole else as_of,
        "made": f"Made {_day(made.date())}, {made:%H:%M} {frame.timezone}. All amounts in {frame.currency}.",
        "is_wide": any(len(table.columns) > _WIDE for table in document.tables),
        "is_signed": document.kind.endswith("statement"),
        "facts": [
            {"label": column.label, "value": _fact(column, value, frame.currency)}
            for column, value in document.facts
        ],
        "charts": [_chart(chart) for chart in document.charts if chart.labels],
        "tables": [_table(table) for table in document.tables],
        "notes": list(document.notes),
    }


def _fact(column: Column, value: Value, currency: str) -> str:
    text = _cell(column, value) or "–"
    return f"{currency} {text}" if column.type == "money" and value is not None else text


def _table(table: Table) -> dict[str, Any]:
    columns = [
        {"label": column.label, "is_number": column.type not in ("text", "date"), "type": column.type}
        for column in table.columns
    ]
    totals = [_cell(column, table.totals.get(column.key)) for column in table.columns]
    return {
        "title": table.title,
        "columns": columns,
        "rows": [[_cell(*pair) for pair in zip(table.columns, row, strict=True)] for row in table.rows],
        "totals": ["Total", *totals[1:]] if table.totals else [],
    }


def _cell(column: Column, value: Value) -> str:
    if value is None:
        return ""
    match column.type:
        case "money":
            return f"{value:,.2f}".replace("-", "−")
        case "count":
            return f"{value:,}"
        case "percent":
            return f"{value:.2f} %"
        case "days":
            return f"{value:.1f}".replace("-", "−")
        case "date":
            assert isinstance(value, dt.date)
            return f"{value:%-d %b %Y}"
    return _METHODS.get(str(value), str(value).capitalize()) if column.key == "method" else _text(str(value))


def _text(value: str, longest: int = _LONGEST) -> str:
    """``value`` on one line, without control characters, cut where it is too long."""
    line = " ".join("".join(" " if unicodedata.category(one) == "Cc" else one for one in value).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _day(day: dt.date) -> str:
    return f"{day.day} {day:%B %Y}"


def _chart(chart: Chart) -> dict[str, Any]:
    """The plot in shares of its frame: 0 is the bottom (or left), 1 the top. Floats: this is geometry, no money."""
    labels, series = _thinned(chart)
    values = [float(value) for _, numbers in series for value in numbers]
    ticks = _ticks(min([0.0, *values]), max([0.0, *values]))
    low, high = ticks[0], ticks[-1]

    def place(value: Decimal | float) -> float:
        return (float(value) - low) / (high - low)

    every = math.ceil(len(labels) / _MOST_LABELS) if chart.form != "rows" else 1
    return {
        "title": chart.title,
        "form": chart.form,
        "unit": chart.unit,
        "ticks": [{"at": place(tick), "label": f"{tick:,.0f}".replace("-", "−")} for tick in ticks],
        "zero": place(0.0),
        "labels": [
            _text(label, _LABEL) if number % every == 0 else "" for number, label in enumerate(labels)
        ],
        "series": [{"name": name, "points": [place(value) for value in numbers]} for name, numbers in series],
    }


def _thinned(chart: Chart) -> tuple[list[str], list[tuple[str, list[Decimal | float]]]]:
    """A point for every so many, so that no plot has more than ``_MOST_POINTS``; the last one stays."""
    step = math.ceil(len(chart.labels) / _MOST_POINTS)
    kept = [*range(0, len(chart.labels) - 1, step), len(chart.labels) - 1]
    return (
        [chart.labels[number] for number in kept],
        [(name, [numbers[number] for number in kept]) for name, numbers in chart.series],
    )


def _ticks(low: float, high: float) -> Sequence[float]:
    """Round numbers from below ``low`` to above ``high``, some five of them: steps of 1, 2 or 5 times a power of ten."""
    if low == high:
        return (0.0, 1.0)
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = max(1.0, next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough))
    return [number * step for number in range(math.floor(low / step), math.ceil(high / step) + 1)]
