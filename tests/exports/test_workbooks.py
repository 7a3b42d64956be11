"""What is in a workbook, cell by cell, as Excel's own programs and others read it."""

from __future__ import annotations

import datetime as dt
import re
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openpyxl  # type: ignore[import-untyped]
import pytest
from sqlalchemy import Engine, text

from haven.db.session import tenant_session
from haven.insight.exports.query import Plan
from haven.insight.exports.sheet_rows import MOST_CHARACTERS, Cell, SheetRows, fitting, has_no_xml
from haven.insight.exports.writing import Teller
from haven.insight.exports.xlsx import write_xlsx
from tests.exports.reading import sheets_of
from tests.exports.workbook_rules import broken
from tests.support.builders import a_lease, a_tenant, an_agency

NUMBER = Cell('<c r="A', '" s="1"><v>', "</v></c>")
TEXT = Cell('<c r="B', '" t="s"><t>', "</t></c>")
KEPT = (Cell('<c r="A', '" t="s"><t k>', "</t></c>"), Cell('<c r="B', '" t="s"><t k>', "</t></c>"))


def xml(line: str) -> str:
    """The cells of a line of a number and a text."""
    rows = SheetRows([NUMBER, TEXT], list(KEPT), [True, False])
    found = rows.xml([line], 5, is_odd=has_no_xml(line.encode()))
    return found.removeprefix('<row r="5">').removesuffix("</row>")


@pytest.mark.parametrize(
    "line, cells",
    [
        ("7.10\tplain", '<c r="A5" s="1"><v>7.10</v></c><c r="B5" t="s"><t>plain</t></c>'),
        ("\t", ""),
        ("7\t", '<c r="A5" s="1"><v>7</v></c>'),
        ("\ta <b> & c", '<c r="B5" t="s"><t>a &lt;b&gt; &amp; c</t></c>'),
        ("7\t a ", '<c r="A5" s="1"><v>7</v></c><c r="B5" t="s"><t k> a </t></c>'),
        (" 1850-01-01\tb", '<c r="A5" t="s"><t k>1850-01-01</t></c><c r="B5" t="s"><t k>b</t></c>'),
        (
            r"7" "\t" r"a\nb\tc\\n &",
            '<c r="A5" s="1"><v>7</v></c><c r="B5" t="s"><t k>a\nb\tc\\n &amp;</t></c>',
        ),
        ("\t" r"\r\b\v", '<c r="B5" t="s"><t k>_x000D__x0008__x000B_</t></c>'),
        ("\t\x01\x1f\ufffe", '<c r="B5" t="s"><t k>_x0001__x001F__xFFFE_</t></c>'),
        ("\t_x0041_x0042_ _x", '<c r="B5" t="s"><t k>_x005F_x0041_x005F_x0042_ _x</t></c>'),
        ("\t" + "é" * 40_000, f'<c r="B5" t="s"><t k>{"é" * MOST_CHARACTERS}</t></c>'),
        ("\t" + "&" * 20_000, f'<c r="B5" t="s"><t k>{"&amp;" * 20_000}</t></c>'),
        # A character beyond the first 65,536 is two of Excel's, and is never cut in two.
        ("\t" + "🏠" * 16_384, f'<c r="B5" t="s"><t k>{"🏠" * 16_383}</t></c>'),
        ("\t" + "é" + "🏠" * 16_384, f'<c r="B5" t="s"><t k>é{"🏠" * 16_383}</t></c>'),
    ],
)
def test_a_line_becomes_cells(line, cells):
    assert xml(line) == cells


@contextmanager
def workbook(
    engine: Engine, agency_id: uuid.UUID, folder: Path, resource: str, **most: int
) -> Iterator[Path]:
    with tenant_session(engine, agency_id) as session:
        raw = session.connection().connection.driver_connection
        assert raw is not None
        with raw.cursor() as cursor:
            teller = Teller(lambda *_: None, lambda: None)
            write_xlsx(cursor, Plan.of(resource, {"sort": "created_at"}), folder / "a.xlsx", teller, **most)
        yield folder / "a.xlsx"


def test_a_workbook_goes_on_on_another_sheet(engine, tmp_path):
    agency_id = an_agency(engine)
    for number in range(5):
        a_tenant(engine, agency_id, full_name=f"Tenant {number}")
    with workbook(engine, agency_id, tmp_path, "tenants", max_rows=3) as path:
        assert broken(path) == []
        names = [[row["full_name"] for row in sheet] for sheet in sheets_of(path)]
        book = openpyxl.load_workbook(path)
    assert names == [["Tenant 0", "Tenant 1"], ["Tenant 2", "Tenant 3"], ["Tenant 4"]]
    assert book.sheetnames == ["tenants", "tenants 2", "tenants 3"]
    ends = [re.sub(r"A1:[A-Z]+", "", sheet.auto_filter.ref) for sheet in book]
    assert ends == ["3", "3", "2"]
    assert {sheet.freeze_panes for sheet in book} == {"A2"}


def test_odd_text_comes_back_as_it_was(engine, tmp_path):
    odd = [
        "a\tb\nc\\d\\n",
        " both ends ",
        "_x0041_",
        "a\x01b\x1f",
        "<&>\"'",
        "\ufffe",
        "Wairimũ 🏠",
        "=1+1",
        "x" * 40_000,
        "🏠" * 32_767,
    ]
    agency_id = an_agency(engine)
    for one in odd:
        a_tenant(engine, agency_id, full_name="T", notes=one)
    with workbook(engine, agency_id, tmp_path, "tenants") as path:
        assert broken(path) == []
        sheet = openpyxl.load_workbook(path).active
        assert sheet is not None
        names, *rows = sheet.values
    found = [row[list(names).index("notes")] for row in rows]
    # openpyxl does not read Excel's escapes of what XML cannot say.
    said = {"_x0041_": "_x005F_x0041_", "a\x01b\x1f": "a_x0001_b_x001F_", "\ufffe": "_xFFFE_"}
    assert found == [fitting(said.get(one, one)) for one in odd]
    assert "f" not in {cell.data_type for row in sheet.iter_rows() for cell in row}


def test_days_are_days_and_what_excel_does_not_count_is_text(engine, tmp_path):
    days = [
        dt.date(1850, 1, 1),
        dt.date(1900, 2, 28),
        dt.date(1900, 3, 1),
        dt.date(2026, 11, 25),
        dt.date(9999, 12, 31),
    ]
    agency_id = an_agency(engine)
    for day in days:
        a_lease(engine, agency_id, start=day)
    with tenant_session(engine, agency_id) as session:
        session.execute(text("UPDATE lease SET updated_at = '2026-11-25 11:32:00.123+00'"))
    with workbook(engine, agency_id, tmp_path, "leases") as path:
        assert broken(path) == []
        (rows,) = sheets_of(path)
    assert [row["start_date"] for row in rows] == ["1850-01-01", "1900-02-28", *days[2:]]
    at = dt.datetime(2026, 11, 25, 11, 32, 0, 123_000, dt.UTC).replace(tzinfo=None)
    assert {abs(row["updated_at"] - at) < dt.timedelta(milliseconds=1) for row in rows} == {True}


def test_money_is_in_its_cell_to_the_cent(engine, tmp_path):
    agency_id = an_agency(engine)
    a_lease(engine, agency_id, rent="999999999999.99")
    with workbook(engine, agency_id, tmp_path, "leases") as path:
        sheet = zipfile.ZipFile(path).read("xl/worksheets/sheet1.xml").decode()
    assert re.search(r'<c r="[A-Z]+2" s="\d+"><v>999999999999.99</v></c>', sheet)


def test_a_workbook_is_whole_and_begins_as_one(engine, tmp_path):
    with workbook(engine, an_agency(engine), tmp_path, "tenants") as path, zipfile.ZipFile(path) as book:
        assert book.testzip() is None
        assert broken(path) == []
        # What libmagic looks at: it calls another order a zip file.
        assert book.namelist()[0] == "_rels/.rels"
        assert book.namelist()[2].startswith("xl/")
        assert len(set(book.namelist())) == len(book.namelist())


@pytest.mark.parametrize(
    "part, was, then, fault",
    [
        ("xl/worksheets/sheet1.xml", "<cols>", "<cols></cols><cols>", "not in order"),
        ("xl/worksheets/sheet1.xml", '<row r="2">', '<row r="1">', "row 1 after row 1"),
        ("xl/worksheets/sheet1.xml", 'r="E2"', 'r="A2"', "A2 in row 2 after column"),
        ("xl/worksheets/sheet1.xml", 's="1"', 's="9"', "no style 9"),
        ("xl/worksheets/sheet1.xml", "<t>Tenant</t>", "<t> Tenant</t>", "its blanks are lost"),
        ("xl/worksheets/sheet1.xml", "<t>Tenant</t>", f"<t>{'🏠' * 16_384}</t>", "32768 characters"),
        ("xl/worksheets/sheet1.xml", "<t>Tenant</t>", "<t>\x01</t>", "not XML"),
        ("xl/worksheets/sheet1.xml", "<v>1</v>", "<v>one</v>", "no number"),
        ("xl/worksheets/sheet1.xml", '<autoFilter ref="A1:', '<autoFilter ref="A0:', "no area"),
        ("xl/workbook.xml", 'name="tenants"', 'name="a/b"', "no name of a sheet"),
        ("[Content_Types].xml", "/xl/styles.xml", "/xl/looks.xml", "looks.xml has a type and is not there"),
        ("xl/_rels/workbook.xml.rels", "styles.xml", "looks.xml", "xl/looks.xml is not there"),
    ],
)
def test_a_workbook_that_excel_would_repair_is_known_as_one(engine, tmp_path, part, was, then, fault):
    agency_id = an_agency(engine)
    a_tenant(engine, agency_id, full_name="Tenant")
    with workbook(engine, agency_id, tmp_path, "tenants") as path, zipfile.ZipFile(path) as book:
        parts = {name: book.read(name).decode() for name in book.namelist()}
    assert was in parts[part]
    parts[part] = parts[part].replace(was, then, 1)
    with zipfile.ZipFile(tmp_path / "b.xlsx", "w") as other:
        for name, content in parts.items():
            other.writestr(name, content)
    assert fault in " ".join(broken(tmp_path / "b.xlsx"))
