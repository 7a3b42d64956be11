"""A program of its own: CSV on its standard input to a Parquet file, by Arrow. It imports nothing of Haven, to stay small.

    python arrow_writer.py FILE '[["amount", "decimal128(14,2)"], …]'

It ends with 0; with 2 and the number of the system's error (full disk); else as Python does, with the error in its last line.
"""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

_BLOCK: Final = 1 << 18
"""Bytes of CSV that Arrow reads at once."""
_GROUP_BYTES: Final = 8 << 20
_GROUP_ROWS: Final = 65_536
"""A row group ends at either, so that memory is bounded however long the text is."""
_SIMPLE: Final = {
    "int64": pa.int64(),
    "timestamp": pa.timestamp("us", "UTC"),
    "date32": pa.date32(),
    "string": pa.string(),
}


def main() -> int:
    """Read to the end of the input; what to end with."""
    path, columns = sys.argv[1], json.loads(sys.argv[2])
    schema = pa.schema([(name, _type(kind)) for name, kind in columns])
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        with open(path, "wb") as out, pq.ParquetWriter(out, schema) as writer:
            # Arrow calls an empty file an error.
            if sys.stdin.buffer.peek(1):  # type: ignore[union-attr]
                _write(writer, schema)
    except OSError as error:
        if error.errno is None:
            raise
        sys.stderr.write(f"{error.errno}\n")
        return 2
    return 0


def _write(writer: Any, schema: Any) -> None:
    batches: list[Any] = []
    for batch in _batches(schema):
        batches.append(batch)
        rows = sum(one.num_rows for one in batches)
        if rows >= _GROUP_ROWS or sum(one.nbytes for one in batches) >= _GROUP_BYTES:
            writer.write_table(pa.Table.from_batches(batches))
            batches.clear()
    if batches:
        writer.write_table(pa.Table.from_batches(batches))


def _batches(schema: Any) -> Any:
    return pa_csv.open_csv(
        sys.stdin.buffer,
        read_options=pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK, column_names=schema.names),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(
            column_types=schema,
            # COPY writes nothing for NULL, and "" for text that is empty.
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _type(kind: str) -> Any:
    found = re.fullmatch(r"decimal128\((\d+),(\d+)\)", kind)
    return pa.decimal128(int(found[1]), int(found[2])) if found else _SIMPLE[kind]


def _run() -> int:
    try:
        return main()
    except Exception:  # noqa: BLE001  whatever it is, the worker reads its last line
        traceback.print_exc()
        return 1


if __name__ == "__main__":
    code = _run()
    sys.stderr.flush()
    # The file is closed. Arrow's threads may not have ended: an interpreter that goes away under them now and then aborts.
    os._exit(code)
