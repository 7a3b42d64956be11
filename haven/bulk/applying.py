"""A batch of rows, done: each by the service of the single endpoint, or copied where that adds nothing to a row."""

from __future__ import annotations

import io
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session

from haven.bulk import references
from haven.bulk.checking import Rules
from haven.bulk.faults import Row, RowFault
from haven.bulk.resources import Bulk
from haven.db.base import new_id
from haven.db.conflicts import explain
from haven.db.session import tenant_of
from haven.errors import HavenError, NotFound, VersionMismatch

Good = tuple[Row, dict[str, Any]]
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"})


@dataclass
class Outcome:
    """What came of some rows: ``ids`` of those done, and the faults of the others; ``failed`` counts rows."""

    ids: list[uuid.UUID] = field(default_factory=list)
    faults: list[RowFault] = field(default_factory=list)
    failed: int = 0

    def refuse(self, faults: Sequence[RowFault]) -> None:
        """One row is not done."""
        self.failed += 1
        self.faults += faults


class Batches:
    """Does rows of one resource, batch by batch.

    Args:
        operation: ``CREATE``, ``UPDATE`` or ``DELETE``.
        is_named: whether other rows may be named otherwise than by id (in CSV they may).
    """

    def __init__(self, bulk: Bulk, operation: str, *, is_named: bool) -> None:
        self._bulk = bulk
        self._operation = operation
        self._is_named = is_named
        schema = bulk.body if operation == "CREATE" else bulk.patch
        self._rules = Rules(schema, partial=operation == "UPDATE")

    def apply(self, session: Session, rows: Sequence[Row]) -> Outcome:
        """Do the rows in the session's transaction. A row that breaks a rule leaves nothing behind."""
        if self._is_named:
            references.resolve(session, rows)
        if self._operation == "CREATE":
            return self._create(session, rows)
        outcome = Outcome()
        for row in rows:
            self._change(session, row, outcome)
        return outcome

    def _create(self, session: Session, rows: Sequence[Row]) -> Outcome:
        outcome = Outcome()
        good: list[Good] = []
        for row in rows:
            loaded, faults = self._loaded(row, row.values)
            if faults:
                outcome.refuse(faults)
            else:
                good.append((row, loaded))
        if self._bulk.table is not None and self._copied(session, good, outcome):
            return outcome
        for row, values in good:
            self._one(session, row, outcome, lambda values=values: self._bulk.create(session, values))
        return outcome

    def _change(self, session: Session, row: Row, outcome: Outcome) -> None:
        row_id, version, faults = _target(row)
        rest = {name: value for name, value in row.values.items() if name not in ("id", "version")}
        if self._operation == "DELETE":
            faults += [row.fault(name, "Unknown field.") for name in rest]
            values: dict[str, Any] = {}
        else:
            values, wrong = self._loaded(row, rest)
            faults += wrong
        if faults or row_id is None:
            outcome.refuse(faults)
        elif self._operation == "DELETE":
            self._one(session, row, outcome, lambda: self._delete(session, row_id, version))
        else:
            self._one(session, row, outcome, lambda: self._update(session, row_id, values, version))

    def _update(
        self, session: Session, row_id: uuid.UUID, values: dict[str, Any], version: int | None
    ) -> uuid.UUID:
        self._bulk.update(session, row_id, values, version)
        return row_id

    def _delete(self, session: Session, row_id: uuid.UUID, version: int | None) -> uuid.UUID:
        assert self._bulk.delete is not None
        self._bulk.delete(session, row_id, version)
        return row_id

    def _loaded(self, row: Row, values: dict[str, Any]) -> tuple[dict[str, Any], list[RowFault]]:
        if row.faults:
            return {}, row.faults
        loaded, wrong = self._rules.load(values)
        return loaded, [row.fault(name, detail) for name, detail in wrong]

    def _one(self, session: Session, row: Row, outcome: Outcome, act: Any) -> None:
        try:
            with session.begin_nested():
                row_id = act()
                session.flush()
        except HavenError as error:
            outcome.refuse(_faults_of(row, error))
        except IntegrityError as error:
            outcome.refuse(_faults_of(row, explain(error)))
        except DataError:
            outcome.refuse([row.fault("", "A value cannot be stored: it is out of range.")])
        else:
            outcome.ids.append(row_id)

    def _copied(self, session: Session, good: Sequence[Good], outcome: Outcome) -> bool:
        """All at once; False where the database refuses one of them: then each is tried by itself, to tell which."""
        if not good:
            return True
        try:
            with session.begin_nested():
                ids = _copy(session, self._bulk, [values for _, values in good])
        except (IntegrityError, DataError):
            return False
        outcome.ids += ids
        return True


def _target(row: Row) -> tuple[uuid.UUID | None, int | None, list[RowFault]]:
    """The id and version that the row names, and what is wrong with them."""
    faults = list(row.faults)
    row_id = None
    try:
        row_id = uuid.UUID(row.values["id"])
    except KeyError:
        faults.append(row.fault("id", "Missing data for required field."))
    except (ValueError, TypeError, AttributeError):
        faults.append(row.fault("id", "Not a valid UUID."))
    version = row.values.get("version")
    if version is not None and (isinstance(version, bool) or not isinstance(version, int)):
        faults.append(row.fault("version", "Not a valid integer."))
    return row_id, version, faults


def _faults_of(row: Row, error: HavenError) -> list[RowFault]:
    """What the service or the database said of the row."""
    if not error.faults:
        column = {NotFound: "id", VersionMismatch: "version"}.get(type(error), "")
        return [row.fault(column, error.detail)]
    return [row.fault(fault.pointer, fault.detail) for fault in error.faults]


def _copy(session: Session, bulk: Bulk, rows: Sequence[dict[str, Any]]) -> list[uuid.UUID]:
    """COPY into a table of this transaction, then one INSERT … SELECT: PostgreSQL lets nobody COPY past a tenant wall."""
    assert bulk.table is not None
    table = bulk.table.__tablename__
    stage = f"bulk_stage_{table}"
    names = [name for name in bulk.body().fields if name in bulk.table.__table__.columns]
    columns = ", ".join(["id", *names])
    defaults = dict(bulk.defaults)
    ids = [new_id() for _ in rows]
    lines = [
        "\t".join([str(row_id), *(_cell(values.get(name, defaults.get(name))) for name in names)])
        for row_id, values in zip(ids, rows, strict=True)
    ]
    session.execute(
        text(
            f"CREATE TEMP TABLE IF NOT EXISTS {stage} ON COMMIT DROP AS SELECT {columns} FROM {table} WITH NO DATA"  # noqa: S608
        )
    )
    _copy_in(session, f"COPY {stage} ({columns}) FROM STDIN", lines)
    session.execute(
        text(f"INSERT INTO {table} (agency_id, {columns}) SELECT :agency_id, {columns} FROM {stage}"),  # noqa: S608
        {"agency_id": tenant_of(session).agency_id},
    )
    session.execute(text(f"TRUNCATE {stage}"))
    return ids


def _copy_in(session: Session, statement: str, lines: Sequence[str]) -> None:
    raw: Any = session.connection().connection
    with raw.cursor() as cursor:
        cursor.copy_expert(statement, io.BytesIO("\n".join([*lines, ""]).encode()))


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        # Of choices, none of which has a sign that an array would take for its own.
        value = "{" + ",".join(value) + "}"
    return r"\N" if value is None else str(value).translate(_ESCAPES)
