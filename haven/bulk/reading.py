"""Rows out of what was sent, one after the other: CSV as people have it, NDJSON, or a JSON array."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Generator, Iterator
from typing import Any, BinaryIO, Final
from zoneinfo import ZoneInfo

import orjson

from haven.bulk.cells import CELL_LONGEST, kinds_of, plain, value_of
from haven.bulk.columns import match, recognised
from haven.bulk.faults import Row, RowFault
from haven.bulk.resources import Bulk
from haven.errors import Invalid, Malformed

FORMATS: Final = {"application/json": "JSON", "application/x-ndjson": "NDJSON", "text/csv": "CSV"}
_DELIMITERS: Final = ",;\t|"
_LINE_LONGEST: Final = 4_194_304
_BLOCK: Final = 1_048_576


class _TooLong(Exception):
    """A line is not held in memory."""


class _Lines:
    """The lines of a file, one at a time; ``are_over`` once one was asked for and there was none."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self.are_over = False

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(_LINE_LONGEST):
            if len(line) == _LINE_LONGEST and not line.endswith("\n"):
                raise _TooLong(f"has a line that is longer than {_LINE_LONGEST:,} characters")
            yield line
        self.are_over = True


def read(file: BinaryIO, form: str, bulk: Bulk, operation: str, zone: ZoneInfo) -> Generator[Row]:
    """The rows of ``file``, which is read once from its beginning and never held whole (but for a JSON array).

    Args:
        form: ``CSV``, ``NDJSON`` or ``JSON``.
        operation: ``CREATE``, ``UPDATE`` or ``DELETE``: says which columns there may be.
        zone: the agency's, for dates without a time.

    Raises:
        Malformed: it is not what it is said to be.
        Invalid: it has no row, or a column that is not known.
    """
    file.seek(0)
    rows = (
        {"CSV": _csv, "NDJSON": _ndjson}[form](file, bulk, operation, zone) if form != "JSON" else _json(file)
    )
    first = next(rows, None)
    if first is None:
        raise Invalid("There are no rows.")
    yield first
    yield from rows


def about_rows(file: BinaryIO, form: str) -> int:
    """How many rows ``file`` has, by its line ends: a few more where cells have several lines or lines are empty."""
    file.seek(0)
    if form == "JSON":
        return len(orjson.loads(file.read()))
    ends = sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK), b""))
    return max(1, ends - (form == "CSV"))


def _json(file: BinaryIO) -> Iterator[Row]:
    try:
        values = orjson.loads(file.read())
    except orjson.JSONDecodeError as error:
        raise Malformed(f"The body is not JSON in UTF-8: {error}.") from None
    if not isinstance(values, list):
        raise Invalid("The body must be a JSON array of objects.")
    for number, value in enumerate(values, start=1):
        yield _object(number, value)


def _ndjson(file: BinaryIO, _bulk: Bulk, _operation: str, _zone: ZoneInfo) -> Iterator[Row]:
    number = 0
    while line := file.readline(_LINE_LONGEST):
        number += 1
        if len(line) == _LINE_LONGEST:
            yield _cut_off(number, f"is longer than {_LINE_LONGEST:,} bytes")
            return
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if not line.strip():
            continue
        try:
            yield _object(number, orjson.loads(line))
        except orjson.JSONDecodeError as error:
            yield Row(number, {}, {}, [RowFault(f"/{number}", f"is not JSON in UTF-8: {error}", number)])


def _object(number: int, value: Any) -> Row:
    if isinstance(value, dict):
        return Row(number, value, {}, [])
    return Row(number, {}, {}, [RowFault(f"/{number}", "must be a JSON object", number)])


def _cut_off(number: int, detail: str, column: str | None = None) -> Row:
    """Where reading ends: behind this nobody knows where a row begins."""
    pointer = f"/{number}/{column}" if column else f"/{number}"
    return Row(number, {}, {}, [RowFault(pointer, f"{detail}: nothing behind it was read", number, column)])


def _csv(file: BinaryIO, bulk: Bulk, operation: str, zone: ZoneInfo) -> Iterator[Row]:
    # The limit is the interpreter's own, for all readers; ours is smaller and names the cell.
    csv.field_size_limit(max(csv.field_size_limit(), _LINE_LONGEST))
    text = io.TextIOWrapper(file, encoding=_encoding(file), newline="")
    try:
        yield from _records(text, bulk, operation, zone)
    finally:
        text.detach()


def _records(text: io.TextIOWrapper, bulk: Bulk, operation: str, zone: ZoneInfo) -> Iterator[Row]:
    number, delimiter = _delimiter(text, bulk, operation)
    lines = _Lines(text)
    reader = csv.reader(lines, delimiter=delimiter)
    headers: list[str] = []
    names: list[str | None] = []
    columns: dict[str, str] = {}
    kinds = kinds_of(bulk.body() if operation == "CREATE" else bulk.patch())
    while True:
        number += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except _TooLong as error:
            yield _cut_off(number, str(error))
            return
        except csv.Error as error:
            # A cell that is too long: where the reader is then, no row need begin.
            yield _cut_off(
                number, f"has a quotation mark that is never closed, or a cell without an end ({error})"
            )
            return
        if lines.are_over:
            # A row that is whole does not ask for another line.
            column = headers[len(cells) - 1] if len(cells) <= len(headers) else None
            yield _cut_off(number, "has a quotation mark that is never closed", column)
            return
        if not any(cell.strip() for cell in cells):
            continue
        if not headers:
            headers = _trimmed(cells)
            names = match(bulk, operation, headers, number)
            columns = {name: header for name, header in zip(names, headers, strict=True) if name}
            continue
        yield _row(number, cells, names, columns, kinds, zone)


def _row(
    number: int,
    cells: list[str],
    names: list[str | None],
    columns: dict[str, str],
    kinds: dict[str, str],
    zone: ZoneInfo,
) -> Row:
    row = Row(number, {}, columns, [])
    for place, cell in enumerate(cells):
        if place >= len(names):
            if cell.strip():
                row.faults.append(
                    RowFault(f"/{number}", "has a cell with no header over it", number, str(place + 1))
                )
            continue
        name = names[place]
        if name is None:
            continue
        if len(cell) > CELL_LONGEST:
            row.faults.append(row.fault(name, f"has {len(cell):,} characters; at most {CELL_LONGEST:,}"))
            continue
        bare = plain(cell)
        if bare:
            row.values[name] = value_of(bare, kinds.get(name, "text"), zone)
    _nest_late_fee(row.values)
    return row


def _nest_late_fee(values: dict[str, Any]) -> None:
    fee = {key: values.pop(f"late_fee_{key}") for key in ("kind", "amount") if f"late_fee_{key}" in values}
    if fee:
        values["late_fee"] = fee


def _trimmed(headers: list[str]) -> list[str]:
    """The headers without the empty ones that spreadsheets leave behind the last."""
    while headers and not headers[-1].strip():
        headers = headers[:-1]
    return [header.strip() for header in headers]


def _encoding(file: BinaryIO) -> str:
    """UTF-8 (with or without its mark) or UTF-16 with a mark; what is neither is Windows-1252."""
    start = file.read(2)
    file.seek(0)
    if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    for encoding in ("utf-8-sig", "cp1252"):
        if _is(file, encoding):
            return encoding
    raise Malformed("The file is neither UTF-8 nor Windows-1252: save it as “CSV UTF-8”.")


def _is(file: BinaryIO, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        while block := file.read(_BLOCK):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    finally:
        file.seek(0)
    return True


def _delimiter(text: io.TextIOWrapper, bulk: Bulk, operation: str) -> tuple[int, str]:
    """How many lines are no rows of the table (Excel's ``sep=;``), and what parts its columns: what gives most known headers."""
    start = text.read(_BLOCK // 16)
    text.seek(0)
    if found := re.match(r"sep=([,;\t|])\r?\n", start):
        text.readline()
        return 1, found[1]
    header = next((line for line in start.splitlines() if line.strip()), "")
    best = max(
        _DELIMITERS,
        key=lambda sign: (
            recognised(bulk, operation, next(csv.reader([header], delimiter=sign), [])),
            header.count(sign),
        ),
    )
    return 0, best
