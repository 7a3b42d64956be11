"""A report as a workbook: a sheet of facts with plots, then a sheet for each table, with numbers and dates as such."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any, Final

import xlsxwriter

from haven.errors import Invalid
from haven.insight.reports.document import Chart, Column, Document, Table, Value

MOST_ROWS: Final = 100_000
_FORMATS: Final = {
    "money": {"num_format": "#,##0.00;[Red]-#,##0.00"},
    "date": {"num_format": "yyyy-mm-dd", "align": "left"},
    "count": {"num_format": "#,##0"},
    "percent": {"num_format": '0.00"%"'},
    "days": {"num_format": "0.0"},
    "text": {},
}
_WIDTHS: Final = {"money": 16, "date": 12, "count": 12, "percent": 11, "days": 11, "text": 26}
_SUMMARY: Final = (34, 22, 22, 22)
"""The summary's widths: names, figures, and what a note runs over beside them."""
_LINE: Final = 15
"""Points that a line of text is high."""
_OF_A_LINE: Final = 0.85
"""The share of a column's width that text fills for certain: it breaks between words, and some letters are wide."""
_A4: Final = 9
_CHARTS: Final = {"bars": "column", "rows": "bar", "lines": "line"}


def xlsx(document: Document) -> bytes:
    """The workbook. What people typed is written as text: a cell that begins with ``=`` is no formula.

    Raises:
        Invalid: it has more than ``MOST_ROWS`` rows.
    """
    if document.rows > MOST_ROWS:
        detail = f"an XLSX holds {MOST_ROWS:,} rows and the report has {document.rows:,}: ask for one property, or json"
        raise Invalid.field("format", detail)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.xlsx"
        options = {
            "constant_memory": True,
            "tmpdir": folder,
            "strings_to_formulas": False,
            "strings_to_urls": False,
        }
        book = xlsxwriter.Workbook(str(path), options)
        book.set_properties({"title": document.title, "author": document.frame.agency})
        sheets = _Sheets(book)
        sheets.summary(document)
        for table in document.tables:
            sheets.table(table)
        for chart in document.charts:
            sheets.chart(chart)
        book.close()
        return path.read_bytes()


class _Sheets:
    """What one workbook's sheets share: its formats."""

    def __init__(self, book: Any) -> None:
        self._book = book
        self._cell = {name: book.add_format(how) for name, how in _FORMATS.items()}
        self._total = {
            name: book.add_format({**how, "bold": True, "top": 1}) for name, how in _FORMATS.items()
        }
        head = {
            "bold": True,
            "bg_color": "#0b6b4f",
            "font_color": "white",
            "text_wrap": True,
            "valign": "vcenter",
        }
        self._head = book.add_format(head)
        self._head_of_figures = book.add_format({**head, "align": "right"})
        self._title = book.add_format({"bold": True, "font_size": 16})
        self._bold = book.add_format({"bold": True})
        self._quiet = book.add_format({"font_color": "#5f6f78", "text_wrap": True, "valign": "top"})
        self._plots = 0

    def summary(self, document: Document) -> None:
        frame = document.frame
        sheet = book_sheet(self._book, "Summary")
        for place, width in enumerate(_SUMMARY):
            sheet.set_column(place, place, width)
        sheet.write_string(0, 0, document.title, self._title)
        heads = [
            ("Agency", frame.agency), ("Of", document.subject or "All"), ("From", f"{frame.first}"), ("To", f"{frame.last}"),
            ("Balances as of", f"{frame.as_of}"), ("Currency", frame.currency), ("Time zone", frame.timezone),
            ("Made", f"{frame.generated_at:%Y-%m-%d %H:%M} UTC"),
        ]  # fmt: skip
        at = 1
        for name, text in heads:
            sheet.write_string(at, 0, name, self._bold)
            sheet.write_string(at, 1, text)
            at += 1
        for column, value in document.facts:
            at += 1
            sheet.write_string(at, 0, column.label, self._bold)
            self._write(sheet, at, 1, column, value, self._cell)
        at += 1
        for note in document.notes:
            at += 1
            sheet.set_row(at, _height(note, sum(_SUMMARY)))
            sheet.merge_range(at, 0, at, len(_SUMMARY) - 1, note, self._quiet)

    def table(self, table: Table) -> None:
        sheet = book_sheet(self._book, table.title)
        sheet.freeze_panes(1, 0)
        sheet.repeat_rows(0)
        sheet.set_landscape()
        sheet.set_row(0, max(_height(column.label, _WIDTHS[column.type]) for column in table.columns))
        for place, column in enumerate(table.columns):
            sheet.set_column(place, place, _WIDTHS[column.type])
            is_left = column.type in ("text", "date")
            sheet.write_string(0, place, column.label, self._head if is_left else self._head_of_figures)
        at = 0
        for row in table.rows:
            at += 1
            for place, (column, value) in enumerate(zip(table.columns, row, strict=True)):
                self._write(sheet, at, place, column, value, self._cell)
        sheet.autofilter(0, 0, max(at, 1), len(table.columns) - 1)
        if table.totals:
            sheet.write_string(at + 1, 0, "Total", self._total["text"])
            for place, column in enumerate(table.columns[1:], start=1):
                self._write(sheet, at + 1, place, column, table.totals.get(column.key), self._total)

    def chart(self, chart: Chart) -> None:
        """A plot on a sheet of its own, with the values it is drawn from beside it."""
        if not chart.labels:
            return
        self._plots += 1
        name = "Plot" if self._plots == 1 else f"Plot {self._plots}"
        sheet = book_sheet(self._book, name)
        sheet.set_landscape()
        sheet.set_column(0, 0, _WIDTHS["text"])
        sheet.set_column(1, len(chart.series), _WIDTHS["money"])
        sheet.set_row(0, _height(chart.title, _WIDTHS["text"]))
        sheet.write_string(0, 0, chart.title, self._head)
        for place, (label, _) in enumerate(chart.series, start=1):
            sheet.write_string(0, place, f"{label} ({chart.unit})", self._head_of_figures)
        how = self._cell["percent" if chart.unit == "%" else "money"]
        for at, label in enumerate(chart.labels, start=1):
            sheet.write_string(at, 0, label)
            for place, (_, values) in enumerate(chart.series, start=1):
                sheet.write_number(at, place, values[at - 1], how)
        sheet.insert_chart(0, len(chart.series) + 2, self._plot(chart, name))

    def _plot(self, chart: Chart, name: str) -> Any:
        plot = self._book.add_chart({"type": _CHARTS[chart.form]})
        last = len(chart.labels)
        for place in range(1, len(chart.series) + 1):
            plot.add_series(
                {
                    "name": [name, 0, place],
                    "categories": [name, 1, 0, last, 0],
                    "values": [name, 1, place, last, place],
                }
            )
        plot.set_title({"name": chart.title})
        figures: dict[str, Any] = {"name": chart.unit, "num_format": "#,##0"}
        if chart.form != "lines" and all(value >= 0 for _, values in chart.series for value in values):
            # A bar that is cut at its foot does not show how much it is.
            figures["min"] = 0
        # Of a chart with lying bars, xlsxwriter's x axis is the one with the labels, too.
        plot.set_y_axis(figures)
        if chart.form == "rows":
            plot.set_x_axis(figures)
            plot.set_y_axis({"reverse": True})
        plot.set_size({"width": 860, "height": 420})
        return plot

    def _write(
        self, sheet: Any, row: int, place: int, column: Column, value: Value, formats: dict[str, Any]
    ) -> None:
        how = formats[column.type]
        if value is None:
            sheet.write_blank(row, place, None, how)
        elif column.type == "text":
            sheet.write_string(row, place, str(value), how)
        elif column.type == "date":
            sheet.write_datetime(row, place, value, how)
        else:
            sheet.write_number(row, place, value, how)


def book_sheet(book: Any, title: str) -> Any:
    """A new sheet, printed on A4 pages; its name at most 31 characters, none of those that Excel refuses."""
    name = "".join(" " if one in "[]:*?/\\" else one for one in title)[:31]
    sheet = book.add_worksheet(name.strip("'") or "Sheet")
    sheet.set_paper(_A4)
    sheet.fit_to_pages(1, 0)
    return sheet


def _height(text: str, width: float) -> int:
    """Points that wrapped text needs in cells of a width in characters. Excel finds it by itself, others do not."""
    return _LINE * max(1, math.ceil(len(text) / (width * _OF_A_LINE)))
