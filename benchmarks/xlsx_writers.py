"""``python -m benchmarks.xlsx_writers [rows]``: writers of workbooks against each other, on rows like an export's.

Each in a process of its own: 28 columns (an id, names, a phone, an amount, a time, a date, texts, one empty). Those that are not
among Haven's requirements are found where PYTHONPATH says, and left out where they are not there:

    pip install --target lib rustpy-xlsxwriter pyexcelerate && PYTHONPATH=lib python -m benchmarks.xlsx_writers
"""

from __future__ import annotations

import datetime as dt
import importlib
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

NAMES: Final = [f"column_{number}" for number in range(28)]
_ROWS: Final = 100_000
# A workbook knows no zones.
_AT: Final = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC).replace(tzinfo=None)


def rows(count: int) -> Iterator[list[Any]]:
    """What is written."""
    for number in range(count):
        texts = [f"text {number} {place}" for place in range(20)]
        known = [f"01a213c1-94e4-77d6-b982-{number:012d}", f"Tenant {number}", "+254712345678", number + 0.5]
        yield [*known, _AT, _AT.date(), "COMPLETED", None, *texts]


def haven(count: int, path: str) -> None:
    """An export's way, from COPY's text on. The others are given what psycopg2 would have to make of it first."""
    from sqlalchemy import Date, DateTime, Numeric, Text, literal_column

    from haven.insight.exports import xlsx
    from haven.insight.exports.resources import Field
    from haven.insight.exports.sink import sink_of

    types: list[Any] = [Text(), Text(), Text(), Numeric(14, 2), DateTime(), Date(), *[Text()] * 22]
    fields = tuple(
        Field(name, literal_column("c", one), False) for name, one in zip(NAMES, types, strict=True)
    )
    resource: Any = SimpleNamespace(name="rows", fields=fields)
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=xlsx._LEVEL) as book,
        xlsx._sheets_of(book, resource, Path(path).parent, xlsx.MAX_ROWS) as sheets,
        sink_of(sheets, lambda: None) as (file, _),
    ):
        for row in rows(count):
            row[4:6] = "46351.5", "46351"
            file.write("\t".join("" if value is None else str(value) for value in row).encode() + b"\n")


def xlsxwriter(count: int, path: str) -> None:
    book = importlib.import_module("xlsxwriter").Workbook(
        path, {"constant_memory": True, "default_date_format": "yyyy-mm-dd"}
    )
    sheet = book.add_worksheet()
    for number, row in enumerate(rows(count)):
        for place, value in enumerate(row):
            if value is not None:
                sheet.write(number, place, value)
    book.close()


def openpyxl(count: int, path: str) -> None:
    book = importlib.import_module("openpyxl").Workbook(write_only=True)
    sheet = book.create_sheet()
    for row in rows(count):
        sheet.append(row)
    book.save(path)


def pyexcelerate(count: int, path: str) -> None:
    book = importlib.import_module("pyexcelerate").Workbook()
    book.new_sheet("rows", data=list(rows(count)))
    book.save(path)


def rustpy_xlsxwriter(count: int, path: str) -> None:
    write = importlib.import_module("rustpy_xlsxwriter").write_worksheet
    write((dict(zip(NAMES, row, strict=True)) for row in rows(count)), path)


WRITERS: Final[dict[str, Callable[[int, str], None]]] = {
    one.__name__: one for one in (haven, xlsxwriter, openpyxl, pyexcelerate, rustpy_xlsxwriter)
}


def main() -> None:
    """Time all, or make one (its name, how many rows) in this process."""
    if len(sys.argv) == 3:
        _make(sys.argv[1], int(sys.argv[2]))
        return
    count = sys.argv[1] if len(sys.argv) > 1 else str(_ROWS)
    for name in WRITERS:
        subprocess.run([sys.executable, "-m", "benchmarks.xlsx_writers", name, count], check=True)


def _make(name: str, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.xlsx"
        began = time.perf_counter()
        try:
            WRITERS[name](count, os.fspath(path))
        except ModuleNotFoundError:
            sys.stdout.write(f"{name:<20} is not there\n")
            return
        took_s = time.perf_counter() - began
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        size_mb = path.stat().st_size / 1e6
        sys.stdout.write(
            f"{name:<20}{took_s:7.1f} s {count / took_s:9,.0f} rows/s {peak_mib:6.0f} MiB {size_mb:7.1f} MB\n"
        )


if __name__ == "__main__":
    main()
