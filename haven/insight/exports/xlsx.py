"""Rows to a workbook: COPY gives each as a line of text, its cells become XML, and that goes compressed into the file at once.

All but the rows (styles, widths, heads, filters, the list of sheets) is XlsxWriter's: it makes the same workbook with two rows of
samples on each sheet. Those show how a cell of each column is written; the rows of the export take their place. XlsxWriter's own
way to the cells takes a call of several functions for each of them, five times the processor time in all.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from xlsxwriter import Workbook
from xlsxwriter.exceptions import FileCreateError

from haven.insight.exports.query import Plan, copy_text, sql_of
from haven.insight.exports.resources import Exported, Field
from haven.insight.exports.sheet_rows import Cell, SheetRows, has_no_xml
from haven.insight.exports.sink import sink_of
from haven.insight.exports.writing import Teller, expect

MAX_ROWS: Final = 1_048_576
"""Of a sheet, its head counted."""
_MAX_BYTES: Final = 2_000_000_000
"""Of a sheet's XML: from 2 GiB on a zip file is one of a newer kind (ZIP64), which not all that read workbooks take."""
_LEVEL: Final = 3
"""Of zlib: 6, its own choice, takes twice as long for a file a tenth smaller."""
_FORMATS: Final = {"money": "#,##0.00", "instant": "yyyy-mm-dd hh:mm:ss", "date": "yyyy-mm-dd"}
_WIDTHS: Final = {"money": 14, "decimal": 12, "integer": 9, "instant": 19, "date": 11, "id": 38, "text": 22}
_NUMBERS: Final = ("money", "decimal", "integer", "instant", "date")
_SAMPLES: Final = re.compile(r'<row r="2".*</row>(?=</sheetData>)')
_SAMPLE: Final = re.compile(r'(<c r="[A-Z]+)[23](.*?>) ?7 ?(<.*?</c>)')
_SIZE: Final = re.compile(r"<dimension [^>]*/>")
_COMES_FIRST: Final = ("_rels/.rels", "xl/theme/theme1.xml")
"""The same for any number of sheets; programs that look at a file's beginning know by these what it is."""


def write_xlsx(cursor: Any, plan: Plan, path: Path, teller: Teller, max_rows: int = MAX_ROWS) -> int:
    """Write the plan's rows, on as many sheets as they need; how many rows.

    Text is written as text, so none of it is calculated. Times are UTC.

    Args:
        max_rows: of a sheet.

    Raises:
        OSError: the disk's.
    """
    sql = sql_of(plan.cells(), cursor)
    expect(cursor, sql, teller)
    with (
        path.open("wb") as out,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as book,
        _sheets_of(book, plan.resource, path.parent, max_rows) as sheets,
        sink_of(sheets, lambda: teller.rows(lambda: sheets.count)) as (file, _),
    ):
        cursor.copy_expert(copy_text(sql), file)
    return sheets.count


@contextmanager
def _sheets_of(book: zipfile.ZipFile, resource: Exported, scratch: Path, max_rows: int) -> Iterator[_Sheets]:
    """The sheets; where the block does not raise, the whole workbook is in ``book`` after it."""
    sheets = _Sheets(book, resource, scratch, max_rows)
    try:
        yield sheets
        sheets.finish()
    finally:
        sheets.close()


class _Sheets:
    """Takes what COPY gives, and writes the sheets of a workbook, a new one where the last is full."""

    def __init__(self, book: zipfile.ZipFile, resource: Exported, scratch: Path, max_rows: int) -> None:
        self.count = 0
        self._book = book
        self._frame = _Frame(resource, scratch)
        self._most = max_rows - 1
        self._full: list[int] = []
        self._left = b""
        parts = self._frame.parts([0])
        for name in _COMES_FIRST:
            book.writestr(name, parts[name])
        self._rows = _rows_of(parts, resource.fields)
        self._begin_sheet()

    def write(self, data: Any, /) -> int:
        """Lines of COPY's, the last of them perhaps not whole yet."""
        whole, end, self._left = (self._left + data).rpartition(b"\n")
        if end:
            self._add(whole.decode().split("\n"), is_odd=has_no_xml(whole))
        return len(data)

    def finish(self) -> None:
        """There are no more rows: the last sheet's end, and all that is not a sheet."""
        parts = self._end_sheet()
        for name, content in parts.items():
            if name not in self._book.NameToInfo:
                self._book.writestr(name, content)

    def close(self) -> None:
        """Whatever has happened, no sheet is open any more."""
        self._sheet.close()

    def _add(self, lines: list[str], *, is_odd: bool) -> None:
        while lines:
            if self._row == self._most or self._bytes > _MAX_BYTES:
                self._end_sheet()
                self._begin_sheet()
            now, lines = lines[: self._most - self._row], lines[self._most - self._row :]
            content = self._rows.xml(now, self._row + 2, is_odd=is_odd).encode()
            self._sheet.write(content)
            self._bytes += len(content)
            self._row += len(now)
            self.count += len(now)

    def _begin_sheet(self) -> None:
        self._row = self._bytes = 0
        name = _sheet_name(len(self._full) + 1)
        begin, _ = _around_rows(self._frame.parts([*self._full, 0])[name])
        self._sheet = self._book.open(name, "w")
        self._sheet.write(begin)

    def _end_sheet(self) -> dict[str, str]:
        self._full.append(self._row)
        parts = self._frame.parts(self._full)
        _, end = _around_rows(parts[_sheet_name(len(self._full))])
        self._sheet.write(end)
        self._sheet.close()
        return parts


class _Frame:
    """Workbooks with no more than samples in them."""

    def __init__(self, resource: Exported, scratch: Path) -> None:
        self._name = resource.name
        self._fields = resource.fields
        self._scratch = scratch

    def parts(self, counts: list[int]) -> dict[str, str]:
        """What a workbook consists of, by names, whose sheets have so many rows each: all but these."""
        content = BytesIO()
        workbook = Workbook(content, {"constant_memory": True, "tmpdir": str(self._scratch)})
        head = workbook.add_format({"bold": True, "bg_color": "#E7ECEF"})
        looks = {kind: workbook.add_format({"num_format": one}) for kind, one in _FORMATS.items()}
        for number, count in enumerate(counts, 1):
            sheet = workbook.add_worksheet(self._name if number == 1 else f"{self._name} {number}")
            self._fill(sheet, count, head, looks)
        try:
            workbook.close()
        except FileCreateError as error:
            # Its own class hides what the disk said.
            raise (error.args[0] if isinstance(error.args[0], OSError) else error) from error
        with zipfile.ZipFile(content) as made:
            return {name: made.read(name).decode() for name in made.namelist()}

    def _fill(self, sheet: Any, count: int, head: Any, looks: Mapping[str, Any]) -> None:
        sheet.freeze_panes(1, 0)
        sheet.autofilter(0, 0, count, len(self._fields) - 1)
        for place, field in enumerate(self._fields):
            sheet.set_column(place, place, _WIDTHS.get(field.kind, _WIDTHS["text"]))
        for place, field in enumerate(self._fields):
            sheet.write_string(0, place, field.name, head)
        for place, field in enumerate(self._fields):
            if field.kind in _NUMBERS:
                sheet.write_number(1, place, 7, looks.get(field.kind))
            else:
                sheet.write_string(1, place, "7")
        for place, _ in enumerate(self._fields):
            sheet.write_string(2, place, " 7 ")


def _sheet_name(number: int) -> str:
    return f"xl/worksheets/sheet{number}.xml"


def _around_rows(sheet: str) -> tuple[bytes, bytes]:
    """What comes before the rows of a sheet, its head among it, and what after them.

    How large a sheet is may be left unsaid (ECMA-376 part 1, 18.3.1.35), and is not known when it begins.
    """
    begin, end = _SAMPLES.split(_SIZE.sub("", sheet))
    return begin.encode(), end.encode()


def _rows_of(parts: Mapping[str, str], fields: tuple[Field, ...]) -> SheetRows:
    samples = [Cell(*found) for found in _SAMPLE.findall(parts[_sheet_name(1)])]
    numbers = [field.kind in _NUMBERS for field in fields]
    return SheetRows(samples[: len(fields)], samples[len(fields) :], numbers)
