"""Rows to Parquet: COPY gives CSV into a pipe, and ``arrow_writer.py`` at its other end writes row groups.

That is a process of its own: Arrow's code alone would take the worker over its 150 MB.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

from haven.insight.exports.query import Plan, copy_csv, sql_of
from haven.insight.exports.resources import Exported, Field
from haven.insight.exports.sink import sink_of
from haven.insight.exports.writing import Teller, expect

_PROGRAM: Final = Path(__file__).with_name("arrow_writer.py")
_SYSTEM_ERROR: Final = 2
_ENDS_WITHIN_S: Final = 60
"""For its last row group, once it has all of its input."""
_MALLOC: Final = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "MALLOC_TRIM_THRESHOLD_": "131072",
}
"""One arena, since it has one thread that works; and what is freed goes back. Without the thresholds glibc raises them as
blocks are freed: 200,000 rows took 229 MiB then, and 500,000 take 114 with them."""
_TYPES: Final = {"integer": "int64", "instant": "timestamp", "date": "date32"}


def write_parquet(
    cursor: Any, plan: Plan, path: Path, teller: Teller, *, copied: Callable[[], int | None]
) -> int:
    """Write the plan's rows; how many.

    Raises:
        OSError: the disk's.
    """
    sql = sql_of(plan.csv(safe=False), cursor)
    expect(cursor, sql, teller)
    faults = path.with_suffix(".errors")
    with faults.open("w+b") as errors:
        writer = _start(path, plan.resource, errors)
        assert writer.stdin is not None
        try:
            with writer.stdin as pipe, sink_of(pipe, lambda: teller.rows(copied)) as (file, _):
                cursor.copy_expert(copy_csv(sql, header=False), file)
            writer.wait(_ENDS_WITHIN_S)
        except BrokenPipeError:
            # It ended before its time, and knows why.
            if writer.wait(_ENDS_WITHIN_S) == 0:
                raise
        finally:
            writer.kill()
            writer.wait()
        _check(writer.returncode, errors)
    return int(cursor.rowcount)


def columns_of(resource: Exported) -> list[tuple[str, str]]:
    """Name and Arrow's type of each column."""
    return [(field.name, _type(field)) for field in resource.fields]


def _start(path: Path, resource: Exported, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", str(_PROGRAM), str(path), json.dumps(columns_of(resource))],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        bufsize=0,
        # It needs none of the worker's secrets.
        env=_MALLOC,
    )


def _check(code: int, errors: IO[bytes]) -> None:
    if code == 0:
        return
    errors.seek(0)
    said = errors.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
    if code == _SYSTEM_ERROR and said[-1].isdigit():
        number = int(said[-1])
        raise OSError(number, os.strerror(number))
    raise RuntimeError(f"Arrow did not write the file (exit code {code}): {said[-1]}")


def _type(field: Field) -> str:
    kind: Any = field.column.type
    if field.kind in ("money", "decimal"):
        return f"decimal128({kind.precision},{kind.scale})"
    return _TYPES.get(field.kind, "string")
