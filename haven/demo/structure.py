"""Takes what slows a load down out of the way, and puts back exactly what was there, all in one transaction.

Row-level security, triggers, and for a large load indexes and keys: PostgreSQL rolls changes of structure back like any
other, so a load that fails or is killed leaves the schema as it was, and no other session ever sees it without its
walls (the tables are locked until the end).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from psycopg2.extensions import cursor

Report = Callable[[str, int], None]
"""Told of each step: what it was, and how many rows (0: not a matter of rows)."""

_WALLED: Final = """
    SELECT oid::regclass::text FROM pg_class
     WHERE oid = ANY (%s::regclass[]) AND relforcerowsecurity ORDER BY 1
"""
_TRIGGERS: Final = """
    SELECT tgrelid::regclass::text, quote_ident(tgname) FROM pg_trigger
     WHERE tgrelid = ANY (%s::regclass[]) AND NOT tgisinternal AND tgenabled = 'O' ORDER BY 1, 2
"""
_REFERRERS: Final = """
    SELECT DISTINCT conrelid::regclass::text FROM pg_constraint
     WHERE contype = 'f' AND confrelid = ANY (%s::regclass[]) ORDER BY 1
"""
_FOREIGN_KEYS: Final = """
    SELECT conrelid::regclass::text, quote_ident(conname), pg_get_constraintdef(oid) FROM pg_constraint
     WHERE contype = 'f' AND conrelid = ANY (%(tables)s::regclass[])
        OR contype = 'f' AND confrelid = ANY (%(tables)s::regclass[]) ORDER BY 1, 2
"""
_KEYS: Final = """
    SELECT conrelid::regclass::text, quote_ident(conname), pg_get_constraintdef(oid) FROM pg_constraint
     WHERE contype IN ('p', 'u') AND conrelid = ANY (%s::regclass[]) ORDER BY 1, contype, 2
"""
_INDEXES: Final = """
    SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
     WHERE indrelid = ANY (%s::regclass[])
       AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
     ORDER BY 1
"""


@contextmanager
def opened(at: cursor, tables: Sequence[str]) -> Iterator[None]:
    """Inside: the tables are locked, without forced row-level security and without triggers of ours.

    Both are as before when the block ends well; when it raises, the caller rolls back.
    """
    at.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")
    restore = [*_open_walls(at, tables), *_stop_triggers(at, tables)]
    yield
    for statement in restore:
        at.execute(statement)


@contextmanager
def without_indexes(at: cursor, tables: Sequence[str], report: Report) -> Iterator[None]:
    """Inside: the tables have no index and no key, and no foreign key leads to them or from them.

    All of it is made again, and so checked, when the block ends well; when it raises, the caller rolls back.
    """
    referrers = _column(at, _REFERRERS, tables)
    walls = _open_walls(at, referrers)
    restore = _drop_indexes(at, tables)
    yield
    # Without statistics the check of a foreign key is planned as if the tables were small: 5.3 s against 2.0.
    at.execute(f"ANALYZE {', '.join(tables)}")
    report("statistics", 0)
    for step, statement in restore:
        at.execute(statement)
        report(step, 0)
    for statement in walls:
        at.execute(statement)


def _rows(at: cursor, query: str, arguments: Any) -> list[tuple[Any, ...]]:
    at.execute(query, arguments)
    return at.fetchall()


def _column(at: cursor, query: str, tables: Sequence[str]) -> list[str]:
    return [row[0] for row in _rows(at, query, (list(tables),))]


def _open_walls(at: cursor, tables: Sequence[str]) -> list[str]:
    """Free the owner from row-level security: COPY does not work under it, and keys would be checked on no row."""
    walled = _column(at, _WALLED, tables)
    for table in walled:
        at.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    return [f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY" for table in walled]


def _stop_triggers(at: cursor, tables: Sequence[str]) -> list[str]:
    """Nobody changed these rows, so no audit trail; whether the ledger balances is asked once, at the end."""
    triggers = _rows(at, _TRIGGERS, (list(tables),))
    for table, trigger in triggers:
        at.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")
    return [f"ALTER TABLE {table} ENABLE TRIGGER {trigger}" for table, trigger in triggers]


def _drop_indexes(at: cursor, tables: Sequence[str]) -> list[tuple[str, str]]:
    foreign = _rows(at, _FOREIGN_KEYS, {"tables": list(tables)})
    keys = _rows(at, _KEYS, (list(tables),))
    indexes = _rows(at, _INDEXES, (list(tables),))
    for table, name, _ in (*foreign, *keys):
        at.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    for name, _ in indexes:
        at.execute(f"DROP INDEX {name}")
    restore = [
        (f"key {name}", f"ALTER TABLE {table} ADD CONSTRAINT {name} {rule}") for table, name, rule in keys
    ]
    restore += [(f"index {name}", definition) for name, definition in indexes]
    return restore + [
        (f"foreign key {name}", f"ALTER TABLE {table} ADD CONSTRAINT {name} {rule}")
        for table, name, rule in foreign
    ]
