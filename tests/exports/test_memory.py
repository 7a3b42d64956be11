"""Arrow's process is within the memory that an export may take, however many rows there are."""

from __future__ import annotations

from itertools import islice, repeat
from pathlib import Path

import pytest

from haven.insight.exports import parquet
from haven.insight.exports.resources import RESOURCES

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
