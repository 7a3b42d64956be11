"""Reads each format back, and puts a value into the form that all of them share."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import zstandard
from python_calamine import CalamineWorkbook

Row = dict[str, Any]


def rows_of(path: Path) -> list[Row]:
    """The rows of a file, by its ending."""
    content, name = path.read_bytes(), path.name
    if name.endswith(".gz"):
        content, name = gzip.decompress(content), name.removesuffix(".gz")
    if name.endswith(".zst"):
        content = zstandard.ZstdDecompressor().decompressobj().decompress(content)
        name = name.removesuffix(".zst")
    match name.rpartition(".")[2]:
        case "csv":
            return list(csv.DictReader(io.StringIO(content.decode(), newline="")))
        case "ndjson":
            return [json.loads(line) for line in content.splitlines()]
        case "parquet":
            return pq.read_table(path).to_pylist()
    return [row for sheet in sheets_of(path) for row in sheet]


def sheets_of(path: Path) -> list[list[Row]]:
    """The rows of each sheet."""
    book = CalamineWorkbook.from_path(path)
    sheets = [book.get_sheet_by_name(name).to_python() for name in book.sheet_names]
    return [[dict(zip(map(str, rows[0]), row, strict=True)) for row in rows[1:]] for rows in sheets]


def plain(value: Any) -> Any:
    """A value whatever the format made of it: nothing is None, numbers are Decimal, times are in UTC to the millisecond."""
    if value is None or value == "":
        return None
    if isinstance(value, bool | int | float | Decimal):
        return round(Decimal(str(value)), 6).normalize()
    if isinstance(value, dt.datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return _rounded(aware.astimezone(dt.UTC))
    if isinstance(value, dt.date):
        return _rounded(dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC))
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value] or None
    return _text(str(value))


def _text(value: str) -> Any:
    for read in (_number, _time, _json):
        try:
            return read(value)
        except (ValueError, ArithmeticError):
            continue
    return value


def _number(value: str) -> Decimal:
    if not value.lstrip("-").replace(".", "", 1).isdigit() or len(value) > 15:
        raise ValueError(value)
    return plain(Decimal(value))


def _time(value: str) -> dt.datetime:
    if "-" not in value:
        raise ValueError(value)
    return plain(dt.datetime.fromisoformat(value))


def _json(value: str) -> Any:
    if value[0] not in "[{":
        raise ValueError(value)
    return plain(json.loads(value))


def _rounded(moment: dt.datetime) -> dt.datetime:
    """Excel counts days as a float: a time is exact to a millisecond or so."""
    return (moment + dt.timedelta(milliseconds=1)).replace(microsecond=0)
