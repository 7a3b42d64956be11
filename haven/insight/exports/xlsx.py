"""Rows to a workbook, row by row: xlsxwriter keeps one in memory, and a server-side cursor a few thousand."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from xlsxwriter import Workbook
from xlsxwriter.exceptions import FileCreateError

from haven.insight.exports.query import Plan, sql_of
from haven.insight.exports.resources import Field
from haven.insight.exports.writing import Teller, expect

MAX_ROWS: Final = 1_048_576
"""Of a sheet, its head counted."""
_CELL: Final = 32_767
"""Characters that a cell can hold."""
_FETCHED: Final = 2_000
_FORMATS: Final = {"money": "#,##0.00", "instant": "yyyy-mm-dd hh:mm:ss", "date": "yyyy-mm-dd"}
_WIDTHS: Final = {"money": 14, "decimal": 12, "integer": 9, "instant": 19, "date": 11, "id": 38, "text": 22}

Put = Callable[[Any, int, int, Any], None]


def write_xlsx(cursor: Any, plan: Plan, path: Path, teller: Teller, max_rows: int = MAX_ROWS) -> int:
    """Write the plan's rows, on as many sheets as they need; how many rows.

    Text is written as text, so none of it is calculated. Times are UTC.

    Args:
        max_rows: of a sheet.
    """
    fields = plan.resource.fields
    sql = sql_of(plan.typed(), cursor)
    expect(cursor, sql, teller)
    options = {
        "constant_memory": True,
        # A full sheet of long rows is more than 2 GiB before it is compressed.
        "use_zip64": True,
        "tmpdir": str(path.parent),
        "default_date_format": _FORMATS["instant"],
    }
    workbook = Workbook(str(path), options)
    sheets = _Sheets(workbook, plan.resource.name, fields, max_rows)
    with cursor.connection.cursor(name="haven_export") as rows:
        rows.itersize = _FETCHED
        rows.execute(sql)
        while found := rows.fetchmany(_FETCHED):
            for row in found:
                sheets.add(row)
            teller.rows(lambda: sheets.count)
    sheets.end()
    try:
        workbook.close()
    except FileCreateError as error:
        # Its own class hides what the disk said.
        raise (error.args[0] if isinstance(error.args[0], OSError) else error) from error
    return sheets.count


class _Sheets:
    """The sheets of a workbook, a new one where the last is full."""

    def __init__(self, workbook: Any, name: str, fields: tuple[Field, ...], max_rows: int) -> None:
        self.count = 0
        self._workbook = workbook
        self._name = name
        self._fields = fields
        self._most = max_rows - 1
        self._head = workbook.add_format({"bold": True, "bg_color": "#E7ECEF"})
        formats = {kind: workbook.add_format({"num_format": one}) for kind, one in _FORMATS.items()}
        self._puts: list[Put] = [_put(field.kind, formats.get(field.kind)) for field in fields]
        self._sheet: Any = None
        self._row = 0
        self._begin()

    def add(self, row: tuple[Any, ...]) -> None:
        if self._row == self._most:
            self.end()
            self._begin()
        self._row += 1
        self.count += 1
        for place, (put, value) in enumerate(zip(self._puts, row, strict=True)):
            if value is not None:
                put(self._sheet, self._row, place, value)

    def end(self) -> None:
        """The sheet is full, or there are no more rows."""
        self._sheet.autofilter(0, 0, self._row, len(self._fields) - 1)

    def _begin(self) -> None:
        number = len(self._workbook.worksheets()) + 1
        self._sheet = self._workbook.add_worksheet(self._name if number == 1 else f"{self._name} {number}")
        self._row = 0
        self._sheet.freeze_panes(1, 0)
        for place, field in enumerate(self._fields):
            self._sheet.set_column(place, place, _WIDTHS.get(field.kind, _WIDTHS["text"]))
        for place, field in enumerate(self._fields):
            self._sheet.write_string(0, place, field.name, self._head)


def _put(kind: str, look: Any) -> Put:
    """What writes a value of this kind into a cell."""
    if kind in ("money", "decimal", "integer"):
        return lambda sheet, row, place, value: sheet.write_number(row, place, value, look)
    if kind == "instant":
        return lambda sheet, row, place, value: _write_time(sheet, row, place, value, look)
    if kind == "date":
        return lambda sheet, row, place, value: _write_time(sheet, row, place, value, look)
    return lambda sheet, row, place, value: sheet.write_string(row, place, value[:_CELL])


def _write_time(sheet: Any, row: int, place: int, value: Any, look: Any) -> None:
    """A date as one, a time in UTC; text where Excel has no such day (before 1900)."""
    if value.year < 1900:
        sheet.write_string(row, place, value.isoformat())
        return
    naive = value.astimezone(dt.UTC).replace(tzinfo=None) if isinstance(value, dt.datetime) else value
    sheet.write_datetime(row, place, naive, look)
