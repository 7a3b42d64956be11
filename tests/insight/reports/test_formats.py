"""Reports as files: a workbook that adds up, pages that hold whatever people have typed."""

from __future__ import annotations

import datetime as dt
import io
import json
from dataclasses import replace
from decimal import Decimal

import openpyxl  # type: ignore[import-untyped]
import pypdfium2
import pytest
from python_calamine import CalamineWorkbook

from haven.errors import Invalid
from haven.insight.exports.sheet_rows import fitting
from haven.insight.reports import pdf as pages
from haven.insight.reports import xlsx as workbook
from haven.insight.reports.asking import KINDS
from haven.insight.reports.document import Chart, Column, Document, Frame, Table, figures
from haven.insight.reports.rendering import filename, rendered
from tests.exports.workbook_rules import broken

TYPED = (
    "Mzee Ng'ang'a wa Kĩambu – nyumba ya pili",
    "#panic() $x$ *bold* _it_ `raw` <label> @ref // /* \\u{41} ]",
    '=HYPERLINK("http://evil.test")',
    "شركة الإسكان المتحدة",
    "Nyumba 🏠🔑 家",
    "W" * 300,
    "a\x00b\nc\td",
    "\ufffe _x0041_ ",
    "🏠" * 16_384,
    "",
)
COLUMNS = [
    Column("unit", "Unit"), Column("since", "Since", "date"), Column("units", "Units", "count"),
    Column("owed", "Owed", "money"), Column("rate", "Rate", "percent"),
]  # fmt: skip


def frame(agency="Makao Letting"):
    return Frame(
        agency, dt.date(2026, 11, 1), dt.date(2026, 11, 30), dt.date(2026, 11, 25), "Africa/Nairobi", "KES",
        dt.datetime(2026, 11, 25, 9, tzinfo=dt.UTC), {},
    )  # fmt: skip


def a_document(rows, *, agency="Makao Letting", subject="", kind="rent-roll", charts=()):
    owed = sum((row[3] for row in rows), Decimal("0.00"))
    table = Table("units", "By unit", COLUMNS, rows, {"units": len(rows), "owed": owed})
    facts = [(COLUMNS[3], owed), (COLUMNS[4], None)]
    return Document(kind, "Rent roll", subject, frame(agency), facts, [table], charts, ["A note."])


def a_row(name="A1", owed="-1234567.89"):
    return (name, dt.date(2026, 2, 28), 1, Decimal(owed), 93.75)


def text_of(content):
    return [page.get_textpage().get_text_range() for page in pypdfium2.PdfDocument(content)]


def test_a_workbook_has_numbers_dates_and_totals():
    document = a_document([a_row(), a_row("A2", "25000.00")])
    book = CalamineWorkbook.from_filelike(io.BytesIO(rendered(document, "xlsx")))
    head, first, second, total = book.get_sheet_by_name("By unit").to_python()
    assert head == ["Unit", "Since", "Units", "Owed", "Rate"]
    assert first == ["A1", dt.date(2026, 2, 28), 1, -1234567.89, 93.75]
    assert second[3] == 25000.0
    assert (total[0], total[2], total[3]) == ("Total", 2, -1209567.89)
    assert book.get_sheet_by_name("Summary").to_python()[0][0] == "Rent roll"


def a_book(document):
    """The workbook of a report, its looks among it."""
    return openpyxl.load_workbook(io.BytesIO(rendered(document, "xlsx")))


def test_notes_are_as_high_as_their_lines():
    """Not all programs that show a workbook find a row's height by themselves."""
    document = replace(a_document([]), notes=["Short.", "One word and another. " * 20])
    sheet = a_book(document)["Summary"]
    heights = {
        cell.value: sheet.row_dimensions[cell.row].height
        for (cell,) in sheet["A1:A40"]
        if cell.value in document.notes
    }
    assert heights[document.notes[0]] in (None, 15)
    assert heights[document.notes[1]] >= 15 * 5


@pytest.mark.parametrize("values", [[93.75, 95.0], [Decimal("-1.00"), Decimal("2.00")]])
def test_bars_begin_at_nought_where_nothing_is_below_it(values):
    chart = Chart("Occupancy", "bars", "%", ["Oct", "Nov"], [("Physical", values)])
    (plot,) = a_book(a_document([], charts=[chart]))["Plot"]._charts
    assert plot.y_axis.scaling.min == (0 if min(values) >= 0 else None)


def test_heads_are_over_their_figures_and_as_high_as_they_need():
    columns = [Column("unit", "Unit"), Column("days", "Lettable unit-days", "count")]
    document = replace(a_document([]), tables=[Table("t", "By unit", columns, [("A1", 30)])])
    sheet = a_book(document)["By unit"]
    assert sheet["A1"].alignment.horizontal != "right"
    assert sheet["B1"].alignment.horizontal == "right"
    assert sheet.row_dimensions[1].height == 30


def test_every_sheet_prints_on_pages_of_a4_one_wide():
    chart = Chart("Rent a month, by property", "rows", "KES", ["A"], [("Rent", [Decimal(1)])])
    for sheet in a_book(a_document([a_row()], charts=[chart])):
        assert (sheet.page_setup.paperSize, sheet.page_setup.fitToHeight) == (9, 0)
        assert sheet.sheet_properties.pageSetUpPr.fitToPage


@pytest.mark.parametrize("typed", TYPED, ids=range(len(TYPED)))
def test_what_people_typed_is_text_in_every_format(typed):
    document = a_document([a_row(typed)], agency=typed or "-", subject=typed, kind="owner-statement")
    assert json.loads(rendered(document, "json"))["tables"]["units"]["rows"][0]["unit"] == typed
    book = rendered(document, "xlsx")
    assert broken(io.BytesIO(book)) == []
    sheet = CalamineWorkbook.from_filelike(io.BytesIO(book)).get_sheet_by_name("By unit")
    shown = str(sheet.to_python()[1][0]).replace("_x0000_", "\x00").replace("_xFFFE_", "\ufffe")
    assert shown == fitting(typed)
    assert text_of(rendered(document, "pdf"))


def test_a_name_that_looks_like_markup_is_shown_as_it_was_typed():
    (page,) = text_of(rendered(a_document([a_row("#panic() $x$ *b*")]), "pdf"))
    assert "#panic() $x$ *b*" in page


def test_a_long_table_repeats_its_head_and_each_page_says_which_it_is():
    shown = text_of(rendered(a_document([a_row(f"A{number}") for number in range(500)]), "pdf"))
    assert len(shown) > 5
    for number, page in enumerate(shown, start=1):
        assert f"page {number} of {len(shown)}" in page
        assert "Makao Letting" in page
    assert all("Since" in page for page in shown[:-1])
    assert "−617,283,945.00" in shown[-1] + shown[-2]


def test_nothing_to_show_is_a_page_that_says_so():
    (page,) = text_of(rendered(a_document([]), "pdf"))
    assert "nothing to show" in page
    assert rendered(a_document([]), "xlsx")


def test_pages_that_do_not_hold_every_row_say_so_and_add_up_all(monkeypatch):
    monkeypatch.setattr(pages, "MOST_ROWS", 2)
    document = a_document([a_row(f"A{number}") for number in range(5)])
    shown = " ".join(" ".join(text_of(rendered(document, "pdf"))).split())
    assert "the first 2 of 5 rows" in shown
    assert "These pages show 2 of the report's 5 rows" in shown
    assert "xlsx" in shown
    assert "A1" in shown
    assert "A2" not in shown
    assert "−6,172,839.45" in shown


def test_more_rows_than_a_workbook_holds_are_refused_by_name(monkeypatch):
    monkeypatch.setattr(workbook, "MOST_ROWS", 1)
    with pytest.raises(Invalid, match="an XLSX holds 1 rows and the report has 2") as refused:
        rendered(a_document([a_row(), a_row()]), "xlsx")
    assert refused.value.faults[0].pointer == "/format"


@pytest.mark.parametrize("form", ["bars", "lines", "rows"])
@pytest.mark.parametrize(
    "values",
    [[], [Decimal(0)], [Decimal("-5000.00"), Decimal("12000.00")], [Decimal(10) ** 9] * 900, [0.0, 100.0]],
    ids=["none", "nought", "below nought", "many", "per cent"],
)
def test_any_plot_is_drawn(form, values):
    labels = [f"{number} Nov" for number in range(len(values))]
    if form == "rows":
        labels, values = labels[:13], values[:13]
    chart = Chart("Collected", form, "KES", labels, [("Collected", values), ("Invoiced", values)])
    document = a_document([a_row()], charts=[chart])
    assert text_of(rendered(document, "pdf"))
    assert rendered(document, "xlsx")


def test_the_same_report_is_the_same_pages():
    assert rendered(a_document([a_row()]), "pdf") == rendered(a_document([a_row()]), "pdf")


def test_money_in_json_is_text_and_never_a_float():
    found = figures(a_document([a_row()]))
    assert found["totals"]["owed"] == "-1234567.89"
    assert found["tables"]["units"]["rows"][0]["owed"] == "-1234567.89"


def test_a_files_name_is_plain_ascii():
    assert filename(a_document([], subject="Café Ng'ang'a / 家"), "pdf") == (
        "rent-roll_cafe-ng-ang-a_2026-11-01_2026-11-30.pdf"
    )
    assert set(KINDS) >= {"rent-roll"}
