"""Rows to Parquet: COPY gives CSV into a pipe, Arrow reads it from there with the columns' types and writes row groups."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from haven.insight.exports.query import Plan, copy_csv, sql_of
from haven.insight.exports.resources import Exported, Field
from haven.insight.exports.sink import sink_of
from haven.insight.exports.writing import Teller, expect

_BLOCK: Final = 1 << 20
"""Bytes of CSV that Arrow reads at once."""
_GROUP_BYTES: Final = 8 << 20
_GROUP_ROWS: Final = 65_536
"""A row group ends at either, so that memory is bounded however long the text is."""


def write_parquet(
    cursor: Any, plan: Plan, path: Path, teller: Teller, *, copied: Callable[[], int | None]
) -> int:
    """Write the plan's rows; how many."""
    sql = sql_of(plan.csv(safe=False), cursor)
    expect(cursor, sql, teller)
    reading, writing = os.pipe()
    reader = _Reader(reading, path, schema_of(plan.resource))
    reader.start()
    try:
        with (
            os.fdopen(writing, "wb", buffering=0) as pipe,
            sink_of(pipe, lambda: teller.rows(copied)) as (file, _),
        ):
            cursor.copy_expert(copy_csv(sql, header=False), file)
    except BrokenPipeError:
        # The reader ended before its time, and knows why.
        reader.join()
        if reader.error is None:
            raise
    finally:
        # Its pipe is closed: it reads to the end of that, and no further.
        reader.join()
    if reader.error is not None:
        raise reader.error
    return int(cursor.rowcount)


def schema_of(resource: Exported) -> pa.Schema:
    """The columns with Arrow's types."""
    return pa.schema([(field.name, _type(field)) for field in resource.fields])


class _Reader(threading.Thread):
    """Reads CSV from a pipe and writes Parquet."""

    def __init__(self, pipe: int, path: Path, schema: pa.Schema) -> None:
        super().__init__(name="parquet", daemon=True)
        self.error: Exception | None = None
        self._pipe = pipe
        self._path = path
        self._schema = schema

    def run(self) -> None:
        try:
            with (
                os.fdopen(self._pipe, "rb") as file,
                self._path.open("wb") as out,
                pq.ParquetWriter(out, self._schema) as writer,
            ):
                # Arrow calls an empty file an error.
                if file.peek(1):
                    self._groups(file, writer)
        except Exception as error:  # noqa: BLE001  it is raised in the thread that waits for this one
            self.error = error

    def _groups(self, file: Any, writer: pq.ParquetWriter) -> None:
        names = self._schema.names
        batches: list[pa.RecordBatch] = []
        for batch in pa_csv.open_csv(
            file,
            read_options=pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK, column_names=names),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                column_types=self._schema,
                # COPY writes nothing for NULL, and "" for text that is empty.
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        ):
            batches.append(batch)
            rows = sum(one.num_rows for one in batches)
            if rows >= _GROUP_ROWS or sum(one.nbytes for one in batches) >= _GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(batches))
                batches.clear()
        if batches:
            writer.write_table(pa.Table.from_batches(batches))


def _type(field: Field) -> pa.DataType:
    kind: Any = field.column.type
    if field.kind in ("money", "decimal"):
        return pa.decimal128(kind.precision, kind.scale)
    types = {"integer": pa.int64(), "instant": pa.timestamp("us", "UTC"), "date": pa.date32()}
    return types.get(field.kind, pa.string())
