"""How the database does, as PostgreSQL itself counts it; and how it would run a statement. No Flask."""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from haven.errors import Conflict

_TIMEOUT: Final = text("SET LOCAL statement_timeout = '3s'")
_READ_ONLY: Final = text("SET TRANSACTION READ ONLY")
_TABLES_MOST: Final = 20
_PARAMETER: Final = re.compile(r"(?<!%)%\((\w+)\)s|(?<!%)%s")
_READS: Final = re.compile(r"\s*(select|with|\(\s*select)\b", re.IGNORECASE)
_WRITES: Final = re.compile(
    r"\b(insert|update|delete|merge|truncate|drop|alter|create|copy|call|do|grant|set)\b", re.IGNORECASE
)
_QUOTED: Final = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_LOCKS: Final = re.compile(r"\bfor\s+(no\s+key\s+update|update|share|key\s+share)\b", re.IGNORECASE)

_SERVER: Final = text("""
    SELECT current_setting('server_version') AS version, d.numbackends AS connections,
           current_setting('max_connections')::int AS connections_most, d.xact_commit AS commits,
           d.xact_rollback AS rollbacks, d.deadlocks, d.temp_bytes,
           round(d.blks_hit / nullif(d.blks_hit + d.blks_read, 0)::numeric, 4)::float8 AS cache_hit_rate,
           pg_database_size(d.datid) AS size_bytes, d.stats_reset
      FROM pg_stat_database d WHERE d.datname = current_database()
""")
_TABLES: Final = text("""
    SELECT relname AS "table", n_live_tup AS rows, n_dead_tup AS dead_rows, seq_scan AS sequential_scans,
           seq_tup_read AS rows_read_sequentially, idx_scan AS index_scans, last_autovacuum, last_autoanalyze
      FROM pg_stat_user_tables ORDER BY n_live_tup DESC, relname LIMIT :most
""")
_UNUSED: Final = text("""
    SELECT s.relname AS "table", s.indexrelname AS "index", pg_relation_size(s.indexrelid) AS size_bytes
      FROM pg_stat_user_indexes s JOIN pg_index i ON i.indexrelid = s.indexrelid
     WHERE s.idx_scan = 0 AND NOT i.indisunique ORDER BY 3 DESC, 2 LIMIT :most
""")
_HAS_STATEMENTS: Final = text("""
    SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
     WHERE e.extname = 'pg_stat_statements'
""")
_STATEMENTS: Final = """
    SELECT s.queryid::text AS query_id, left(s.query, 2000) AS text, s.calls AS count, s.rows,
           s.total_exec_time AS total_ms, s.mean_exec_time AS mean_ms, s.max_exec_time AS max_ms,
           s.shared_blks_hit, s.shared_blks_read
      FROM "{schema}".pg_stat_statements s
     WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
     ORDER BY s.total_exec_time DESC LIMIT :most
"""


def database_report(session: Session) -> dict[str, Any]:
    """The server's numbers, the largest tables and the indexes that nobody uses; counted since ``stats_reset``."""
    session.execute(_TIMEOUT)
    server = session.execute(_SERVER).mappings().one()
    tables = session.execute(_TABLES, {"most": _TABLES_MOST}).mappings()
    unused = session.execute(_UNUSED, {"most": _TABLES_MOST}).mappings()
    return {
        "server": dict(server),
        "tables": [dict(row) for row in tables],
        "unused_indexes": [dict(row) for row in unused],
    }


def server_statements(session: Session, limit: int) -> dict[str, Any]:
    """What ``pg_stat_statements`` has counted for every client of the server, the longest in total first.

    ``is_available`` is false, with the reason, where the extension is not there or may not be read.
    """
    session.execute(_TIMEOUT)
    schema = session.execute(_HAS_STATEMENTS).scalar()
    if schema is None:
        return _unavailable("The extension pg_stat_statements is not installed in this database.")
    try:
        with session.begin_nested():
            wanted = text(_STATEMENTS.format(schema=schema.replace('"', '""')))
            rows = session.execute(wanted, {"most": limit}).mappings().all()
    except DBAPIError as error:
        return _unavailable(f"pg_stat_statements cannot be read: {_words(error)}")
    return {"is_available": True, "reason": None, "statements": [dict(row) for row in rows]}


def plan_of(session: Session, statement: str) -> Any:
    """How PostgreSQL would run a statement of ours, for values that it does not know: the generic plan, not run.

    Args:
        statement: as the driver was given it, with ``%(name)s`` for each value.

    Raises:
        Conflict: it is no SELECT, or PostgreSQL cannot plan it without its values.
    """
    question = _explain(statement)
    session.execute(_TIMEOUT)
    try:
        with session.begin_nested():
            session.execute(_READ_ONLY)
            # Past SQLAlchemy's parameters: the text is full of colons.
            answer = session.connection().exec_driver_sql(question).scalar()
    except DBAPIError as error:
        raise Conflict(
            f"PostgreSQL cannot plan this statement without its values: {_words(error)}"
        ) from error
    return answer[0] if isinstance(answer, list) else answer


def _explain(statement: str) -> str:
    bare = _LOCKS.sub("", _QUOTED.sub("''", statement))
    if not _READS.match(statement) or _WRITES.search(bare) or ";" in bare:
        raise Conflict("Only the plan of a SELECT is shown.")
    numbers: dict[str, int] = {}

    def numbered(found: re.Match[str]) -> str:
        name = found[1] or f"?{len(numbers)}"
        return f"${numbers.setdefault(name, len(numbers) + 1)}"

    # What is left of per cent signs stays doubled: the driver halves them, with values or without.
    return f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {_PARAMETER.sub(numbered, statement)}"


def _unavailable(reason: str) -> dict[str, Any]:
    return {"is_available": False, "reason": reason, "statements": []}


def _words(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0][:300]
