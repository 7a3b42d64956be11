"""What Excel asks of a workbook (ECMA-376 part 1) where other programs are lenient: it offers a repair of all that breaks these."""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import IO, Final
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element

_SHEETS: Final = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_RELATIONS: Final = "{http://schemas.openxmlformats.org/package/2006/relationships}"
_TYPES: Final = "{http://schemas.openxmlformats.org/package/2006/content-types}"
_SPACE: Final = "{http://www.w3.org/XML/1998/namespace}space"
_ORDER: Final = (
    "sheetPr dimension sheetViews sheetFormatPr cols sheetData sheetCalcPr sheetProtection protectedRanges scenarios autoFilter"
    " sortState dataConsolidate customSheetViews mergeCells phoneticPr conditionalFormatting dataValidations hyperlinks"
    " printOptions pageMargins pageSetup headerFooter rowBreaks colBreaks customProperties cellWatches ignoredErrors smartTags"
    " drawing legacyDrawing legacyDrawingHF picture oleObjects controls webPublishItems tableParts extLst"
).split()
"""Of what is in a worksheet (18.3.1.99, CT_Worksheet)."""
_MOST_ROWS: Final = 1_048_576
_MOST_COLUMNS: Final = 16_384
_MOST_UNITS: Final = 32_767
"""Units of UTF-16 in a cell."""
_LAST_DAY: Final = 2_958_466
"""What follows the last day that Excel counts, the 31st of December 9999."""
_BUILT_IN_DAYS: Final = range(14, 23)
"""Number formats of days and times that are the same everywhere (18.8.30)."""
_CELL: Final = re.compile(r"([A-Z]{1,3})([1-9][0-9]*)")
_AREA: Final = re.compile(r"([A-Z]{1,3}[1-9][0-9]*):([A-Z]{1,3}[1-9][0-9]*)")
_ESCAPED: Final = re.compile("_x[0-9A-F]{4}_")


def broken(file: Path | IO[bytes]) -> list[str]:
    """Each rule that the workbook breaks, with its place; nothing where Excel opens it without a word."""
    with zipfile.ZipFile(file) as book:
        parts = {name: book.read(name) for name in book.namelist()}
        found = [] if len(parts) == len(book.namelist()) else ["two parts have the same name"]
    try:
        trees = {name: ET.fromstring(content) for name, content in parts.items()}
    except ET.ParseError as error:
        return [f"not XML: {error}"]
    found += _package(trees)
    found += _sheet_names(trees["xl/workbook.xml"])
    looks = _Looks(trees)
    for name, tree in trees.items():
        if name.startswith("xl/worksheets/sheet"):
            found += [f"{name}: {fault}" for fault in _sheet(tree, looks)]
    return found


class _Looks:
    """What the cells may point to."""

    def __init__(self, trees: dict[str, Element]) -> None:
        styles = trees["xl/styles.xml"]
        formats = {
            int(one.attrib["numFmtId"]): one.attrib["formatCode"] for one in styles.iter(f"{_SHEETS}numFmt")
        }
        ids = [int(one.attrib["numFmtId"]) for one in styles.findall(f"{_SHEETS}cellXfs/{_SHEETS}xf")]
        self.are_days = [one in _BUILT_IN_DAYS or "yy" in formats.get(one, "") for one in ids]
        shared = trees.get("xl/sharedStrings.xml")
        self.strings = 0 if shared is None else len(shared)


def _package(trees: dict[str, Element]) -> Iterator[str]:
    types = trees["[Content_Types].xml"]
    endings = {one.attrib["Extension"] for one in types.iter(f"{_TYPES}Default")}
    named = {one.attrib["PartName"].lstrip("/") for one in types.iter(f"{_TYPES}Override")}
    yield from (f"{one} has a type and is not there" for one in named - trees.keys())
    for name, tree in trees.items():
        if name.startswith("xl/") and not name.endswith(".rels") and name not in named:
            yield f"{name} has no type"
        if name != "[Content_Types].xml" and name.rpartition(".")[2] not in endings and name not in named:
            yield f"{name} has no type"
        if name.endswith(".rels"):
            yield from _relations(name, tree, trees)


def _relations(name: str, tree: Element, trees: dict[str, Element]) -> Iterator[str]:
    folder = posixpath.dirname(posixpath.dirname(name))
    ids = [one.attrib["Id"] for one in tree]
    if len(set(ids)) != len(ids):
        yield f"{name}: an id comes twice"
    for one in tree.iter(f"{_RELATIONS}Relationship"):
        target = posixpath.normpath(posixpath.join("/" + folder, one.attrib["Target"])).lstrip("/")
        if one.get("TargetMode") != "External" and target not in trees:
            yield f"{name}: {target} is not there"


def _sheet_names(workbook: Element) -> Iterator[str]:
    names = [one.attrib["name"] for one in workbook.iter(f"{_SHEETS}sheet")]
    if len({one.casefold() for one in names}) != len(names):
        yield f"two sheets have the same name: {names}"
    for name in names:
        if not 0 < len(name) <= 31 or re.search(r"[\[\]:*?/\\]", name) or name.strip("'") != name:
            yield f"no name of a sheet: {name!r}"


def _sheet(tree: Element, looks: _Looks) -> Iterator[str]:
    order = [one.tag.removeprefix(_SHEETS) for one in tree]
    places = [_ORDER.index(one) if one in _ORDER else -1 for one in order]
    if -1 in places or places != sorted(set(places)):
        yield f"not in order: {order}"
    yield from _columns(tree)
    last = 0
    for row in tree.iter(f"{_SHEETS}row"):
        number = int(row.attrib["r"])
        if not last < number <= _MOST_ROWS:
            yield f"row {number} after row {last}"
        last = number
        yield from _row(row, number, looks)
    for one in (*tree.iter(f"{_SHEETS}autoFilter"), *tree.iter(f"{_SHEETS}mergeCell")):
        if not _AREA.fullmatch(one.attrib["ref"]):
            yield f"no area: {one.attrib['ref']}"


def _columns(tree: Element) -> Iterator[str]:
    last = 0
    for one in tree.iter(f"{_SHEETS}col"):
        first, end = int(one.attrib["min"]), int(one.attrib["max"])
        if not last < first <= end <= _MOST_COLUMNS:
            yield f"columns {first} to {end} after {last}"
        last = end


def _row(row: Element, number: int, looks: _Looks) -> Iterator[str]:
    last = 0
    for cell in row:
        where = cell.attrib["r"]
        parted = _CELL.fullmatch(where)
        column = _column(parted[1]) if parted else 0
        if parted is None or int(parted[2]) != number or not last < column <= _MOST_COLUMNS:
            yield f"{where} in row {number} after column {last}"
        last = column
        style = int(cell.get("s", "0"))
        if style >= len(looks.are_days):
            yield f"{where}: no style {style}"
        else:
            yield from (f"{where}: {fault}" for fault in _cell(cell, looks, is_day=looks.are_days[style]))


def _cell(cell: Element, looks: _Looks, *, is_day: bool) -> Iterator[str]:
    kind, value = cell.get("t", "n"), cell.findtext(f"{_SHEETS}v")
    if kind == "inlineStr":
        texts = cell.findall(f"{_SHEETS}is/{_SHEETS}t")
        if len(texts) != 1 or value is not None:
            yield "no text"
        yield from (fault for one in texts for fault in _text(one))
    elif kind == "s":
        if value is None or not int(value) < looks.strings:
            yield f"no shared text {value}"
    elif kind != "n":
        yield f"no type of ours: {kind}"
    elif value is not None:
        yield from _number(value, is_day=is_day)


def _text(element: Element) -> Iterator[str]:
    text = element.text or ""
    units = len(_ESCAPED.sub(" ", text).encode("utf-16-le")) // 2
    if units > _MOST_UNITS:
        yield f"{units} characters"
    if text != text.strip(" \t\r\n") and element.get(_SPACE) != "preserve":
        yield "its blanks are lost"


def _number(value: str, *, is_day: bool) -> Iterator[str]:
    try:
        number = Decimal(value)
    except InvalidOperation:
        yield f"no number: {value!r}"
        return
    if not number.is_finite() or (is_day and not 0 <= number < _LAST_DAY):
        yield f"no number, or no day: {value}"


def _column(letters: str) -> int:
    found = 0
    for one in letters:
        found = found * 26 + ord(one) - ord("A") + 1
    return found
