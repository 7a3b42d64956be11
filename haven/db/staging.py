"""Many rows of one table at once: copied into a table of this transaction, then written by one statement.

PostgreSQL lets nobody COPY past a tenant wall; INSERT … SELECT and UPDATE … FROM keep to it, and to every rule and trigger.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import orjson
from sqlalchemy import CursorResult, Table, UniqueConstraint, text
from sqlalchemy.orm import Session

from haven.db.session import tenant_of

Values = Mapping[str, Any]
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"})


def insert_many(session: Session, model: type[Any], rows: Sequence[Values]) -> None:
    """Insert rows of the session's agency, in their order.

    Args:
        rows: column → value, with the ``id``. A column that a row leaves out has its default.
    """
    if not rows:
        return
    table: Table = model.__table__
    names = _named(table, rows)
    listed = ", ".join(names)
    taken = ", ".join(_or_default(table, name) for name in names)
    with _Stage(session, table, names, rows) as stage:
        session.execute(
            text(f"INSERT INTO {table} (agency_id, {listed}) SELECT :agency_id, {taken} FROM {stage}"),  # noqa: S608
            {"agency_id": tenant_of(session).agency_id},
        )


def update_many(session: Session, model: type[Any], rows: Sequence[Values]) -> None:
    """Set columns of rows that are locked; each has the next version.

    Args:
        rows: column → value, with the ``id``; all have the same columns, and each id is there once.
    """
    if not rows:
        return
    table: Table = model.__table__
    names = _named(table, rows)
    changed = ", ".join(f"{name} = s.{name}" for name in names if name != "id")
    with _Stage(session, table, names, rows) as stage:
        done: CursorResult[Any] = session.execute(  # type: ignore[assignment]
            text(
                f"UPDATE {table} AS t SET {changed}, version = t.version + 1, updated_at = now()"  # noqa: S608
                f" FROM {stage} s WHERE t.agency_id = :agency_id AND t.id = s.id"
            ),
            {"agency_id": tenant_of(session).agency_id},
        )
    if done.rowcount != len(rows):
        raise RuntimeError(f"{done.rowcount} of {len(rows)} rows of {table} were changed")


def delete_many(session: Session, model: type[Any], ids: Collection[uuid.UUID]) -> None:
    """Remove rows by their ids."""
    session.execute(
        text(
            f"DELETE FROM {model.__tablename__}"  # noqa: S608
            " WHERE agency_id = :agency_id AND id = ANY(CAST(:ids AS uuid[]))"
        ),
        {"agency_id": tenant_of(session).agency_id, "ids": [str(one) for one in ids]},
    )


def takes_a_key(session: Session, model: type[Any], rows: Sequence[Values]) -> bool:
    """Whether one of the rows to be updated wants a unique key that another row has now: then their order matters."""
    table: Table = model.__table__
    if not rows:
        return False
    names = _named(table, rows)
    keys = [key for key in _keys(table).values() if not key.isdisjoint(names)]
    if not keys:
        return False
    wholes = [{name: row[name] for name in names} for row in rows]
    with _Stage(session, table, names, wholes) as stage:
        return any(
            session.execute(
                text(
                    f"SELECT EXISTS (SELECT FROM {stage} s JOIN {table} o ON o.id = s.id"  # noqa: S608
                    f" JOIN {table} t ON {_same(key, names)} AND t.id <> s.id"
                    " WHERE o.agency_id = :agency_id AND t.agency_id = :agency_id)"
                ),
                {"agency_id": tenant_of(session).agency_id},
            ).scalar_one()
            for key in keys
        )


def taken_keys(session: Session, model: type[Any], rows: Sequence[Values]) -> dict[uuid.UUID, str]:
    """Which of the rows to be inserted want a unique key that a stored row has: id → name of the first such constraint."""
    table: Table = model.__table__
    names = _named(table, rows)
    found: dict[uuid.UUID, str] = {}
    if not any(key.issubset(names) for key in _keys(table).values()):
        return found
    with _Stage(session, table, names, rows) as stage:
        for constraint, key in _keys(table).items():
            if key.issubset(names):
                same = " AND ".join(f"t.{name} = s.{name}" for name in sorted(key))
                clashes = session.execute(
                    text(f"SELECT s.id FROM {stage} s JOIN {table} t ON t.agency_id = :agency_id AND {same}"),  # noqa: S608
                    {"agency_id": tenant_of(session).agency_id},
                )
                for row_id in clashes.scalars():
                    found.setdefault(row_id, constraint)
    return found


class _Stage:
    """A table of this transaction that holds ``rows`` within the ``with`` block, which has its name."""

    def __init__(self, session: Session, table: Table, names: Sequence[str], rows: Sequence[Values]) -> None:
        self._session, self._table, self._names, self._rows = session, table, names, rows
        self._name = f"stage_{table.name}"

    def __enter__(self) -> str:
        columns = ", ".join(_columns(self._table))
        self._session.execute(
            text(
                f"CREATE TEMP TABLE IF NOT EXISTS {self._name} ON COMMIT DROP"  # noqa: S608
                f" AS SELECT {columns} FROM {self._table} WITH NO DATA"
            )
        )
        lines = ["\t".join([_cell(row.get(name)) for name in self._names]) for row in self._rows]
        raw: Any = self._session.connection().connection
        with raw.cursor() as cursor:
            statement = f"COPY {self._name} ({', '.join(self._names)}) FROM STDIN"
            cursor.copy_expert(statement, io.BytesIO("\n".join([*lines, ""]).encode()))
        return self._name

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            # What has failed is rolled back, and this with it.
            self._session.execute(text(f"TRUNCATE {self._name}"))


@lru_cache(maxsize=64)
def _columns(table: Table) -> tuple[str, ...]:
    return tuple(c.name for c in table.columns if c.computed is None and c.name != "agency_id")


@lru_cache(maxsize=64)
def _keys(table: Table) -> dict[str, frozenset[str]]:
    """The unique keys within an agency, by their constraints, in the order in which the database looks at them.

    One that has the id cannot be another row's.
    """
    unique = [one for one in table.constraints if isinstance(one, UniqueConstraint)]
    keys = {
        str(one.name): frozenset(column.name for column in one.columns) - {"agency_id"}
        for one in sorted(unique, key=lambda one: str(one.name))
    }
    return {name: key for name, key in keys.items() if "id" not in key}


def _named(table: Table, rows: Sequence[Values]) -> list[str]:
    there = {name for row in rows for name in row}
    return [name for name in _columns(table) if name in there]


def _same(key: Collection[str], names: Collection[str]) -> str:
    """That ``t`` has the key which ``s`` wants; what ``s`` does not set is as ``o`` has it."""
    return " AND ".join(f"t.{name} = {'s' if name in names else 'o'}.{name}" for name in sorted(key))


def _or_default(table: Table, name: str) -> str:
    default: Any = table.columns[name].server_default
    if default is None:
        return name
    words = default.arg
    return f"coalesce({name}, '{words}')" if isinstance(words, str) else f"coalesce({name}, {words})"


def _cell(value: Any) -> str:
    """A value as COPY reads it."""
    if value is None:
        return r"\N"
    if isinstance(value, dict):
        value = orjson.dumps(value, default=str).decode()
    elif isinstance(value, list | tuple):
        # Of choices, none of which has a sign that an array would take for its own.
        value = "{" + ",".join(value) + "}"
    return str(value).translate(_ESCAPES)
