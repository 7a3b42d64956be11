"""Writing an export: the statement's rows into one file of a format, in constant memory."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg2
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from haven.insight.exports.query import Plan, copy_csv, copy_json, sql_of
from haven.insight.exports.sink import sink_of

FORMATS: Final = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
"""Name, and ending of the file → its media type."""
COMPRESSIBLE: Final = ("csv", "ndjson")
_TELL_EVERY_S: Final = 0.5
_DONE: Final = text("SELECT tuples_processed FROM pg_stat_progress_copy WHERE pid = :pid")


@dataclass(frozen=True, slots=True)
class Written:
    """What is in the file. ``sha256`` is None where it was not counted on the way."""

    rows: int
    sha256: bytes | None = None


class Teller:
    """Tells how many rows are written, of about how many; at most twice a second.

    Args:
        tell: called with both.
        check: called more often; raises where the writing shall end.
    """

    def __init__(self, tell: Callable[[int, int], None], check: Callable[[], None]) -> None:
        self._tell = tell
        self._check = check
        self._told_at = time.monotonic()
        self.expected = 0
        """How many rows the planner expects: counting them would take as long as writing them."""

    def rows(self, count: Callable[[], int | None]) -> None:
        """``count`` says how many rows there are by now; called only when it is time to tell."""
        self._check()
        if time.monotonic() - self._told_at < _TELL_EVERY_S:
            return
        done = count()
        if done is not None:
            self._tell(done, max(self.expected, done))
        self._told_at = time.monotonic()


def write(
    session: Session,
    plan: Plan,
    path: Path,
    format_name: str,
    teller: Teller,
    *,
    compression: str | None = None,
    timeout_s: int = 3600,
) -> Written:
    """Write every row of ``plan`` that the session's agency may see into ``path``.

    Args:
        format_name: one of FORMATS.
        compression: one of COMPRESSIONS, for what is COMPRESSIBLE.
        timeout_s: the longest that the statement may take, in place of the session's own limit.
    """
    with _cursor(session, timeout_s) as cursor:
        if format_name == "xlsx":
            from haven.insight.exports.xlsx import write_xlsx

            return Written(write_xlsx(cursor, plan, path, teller))
        if format_name == "parquet":
            from haven.insight.exports.parquet import write_parquet

            return Written(write_parquet(cursor, plan, path, teller, copied=_copied(session, cursor)))
        return _copy(session, cursor, plan, path, format_name, teller, compression)


def expect(cursor: Any, sql: str, teller: Teller) -> None:
    """Ask the planner how many rows there will be."""
    cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}")
    (found,) = cursor.fetchone()
    plans = json.loads(found) if isinstance(found, str) else found
    teller.expected = int(plans[0]["Plan"]["Plan Rows"])


def _copy(
    session: Session,
    cursor: Any,
    plan: Plan,
    path: Path,
    format_name: str,
    teller: Teller,
    compression: str | None,
) -> Written:
    is_csv = format_name == "csv"
    sql = sql_of(plan.csv() if is_csv else plan.json(), cursor)
    expect(cursor, sql, teller)
    copied = _copied(session, cursor)
    with (
        path.open("wb", buffering=0) as raw,
        sink_of(raw, lambda: teller.rows(copied), compression) as (file, sink),
    ):
        cursor.copy_expert(copy_csv(sql, header=True) if is_csv else copy_json(sql), file)
    return Written(cursor.rowcount, sink.sha256)


def _copied(session: Session, cursor: Any) -> Callable[[], int | None]:
    """How many rows COPY has given by now, as PostgreSQL says on another connection; None where it cannot say."""
    engine, pid = session.connection().engine, cursor.connection.info.backend_pid

    def look() -> int | None:
        try:
            with engine.connect() as connection:
                found: int | None = connection.execute(_DONE, {"pid": pid}).scalar()
        except SQLAlchemyError:  # only the progress waits for it
            return None
        return found

    return look


@contextmanager
def _cursor(session: Session, timeout_s: int) -> Iterator[Any]:
    """A cursor of the session's transaction. A COPY that is left in the middle is cancelled."""
    session.execute(text(f"SET LOCAL statement_timeout = {timeout_s * 1000:d}"))
    raw: Any = session.connection().connection.driver_connection
    try:
        with raw.cursor() as cursor:
            yield cursor
    except BaseException:
        # In the middle of a COPY the rollback that follows would read all the rest: PostgreSQL is told to stop first.
        with suppress(psycopg2.Error):
            raw.cancel()
        raise
