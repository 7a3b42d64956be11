"""An export takes no more memory for more rows: Arrow's process, and what writes a workbook."""

from __future__ import annotations

import tracemalloc
import zipfile
from itertools import islice, repeat
from pathlib import Path

import pytest

from haven.insight.exports import parquet, xlsx
from haven.insight.exports.resources import RESOURCES
from haven.insight.exports.sink import sink_of

MOST_MIB = 150


@pytest.mark.parametrize("rows", [150_000])
def test_the_process_that_writes_parquet_stays_small(tmp_path, rows):
    resource = RESOURCES["payments"]
    texts = [
        f"a text of {number} words" if kind == "string" else ""
        for number, (_, kind) in enumerate(parquet.columns_of(resource))
    ]
    line = (",".join(texts) + "\n").encode()
    with (tmp_path / "errors").open("w+b") as errors:
        writer = parquet._start(tmp_path / "a.parquet", resource, errors)
        assert writer.stdin is not None
        for piece in islice(repeat(line * 1_000), rows // 1_000):
            writer.stdin.write(piece)
        # Its own peak: what the system tells at its end counts the process that it was forked from.
        status = Path(f"/proc/{writer.pid}/status").read_text()
        writer.stdin.close()
        assert writer.wait(60) == 0
    (peak_kib,) = (int(row.split()[1]) for row in status.splitlines() if row.startswith("VmHWM"))
    assert peak_kib / 1024 < MOST_MIB


def test_a_workbook_is_written_without_keeping_its_rows(tmp_path):
    resource = RESOURCES["payments"]
    values = ["7" if field.kind in xlsx._NUMBERS else f"a text of {field.name}" for field in resource.fields]
    line = ("\t".join(values) + "\n").encode()
    rows = 8_000
    with (
        zipfile.ZipFile(tmp_path / "a.xlsx", "w", zipfile.ZIP_DEFLATED) as book,
        xlsx._sheets_of(book, resource, tmp_path, xlsx.MAX_ROWS) as sheets,
        sink_of(sheets, lambda: None) as (file, _),
    ):
        tracemalloc.start()
        try:
            for _ in range(rows):
                file.write(line)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert sheets.count == rows
    whole = zipfile.ZipFile(tmp_path / "a.xlsx").getinfo("xl/worksheets/sheet1.xml").file_size
    assert peak < 4 * 2**20 < whole / 2
