"""Batches of rows, done as sets: planned by the services of the single endpoints, copied, and written by one statement."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Table, select
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session

from haven.bulk import references
from haven.bulk.checking import Rules
from haven.bulk.faults import Row, RowFault
from haven.bulk.resources import Bulk
from haven.db import staging
from haven.db.base import new_id
from haven.db.conflicts import explain, taken
from haven.db.rows import Planned, expected
from haven.db.session import tenant_of
from haven.errors import HavenError, NotFound, VersionMismatch

Done = uuid.UUID | HavenError


@dataclass(frozen=True, slots=True)
class Good:
    """A row that keeps the rules of its schema; ``id`` and ``version`` are those it names, ``values`` what it sets."""

    row: Row
    values: dict[str, Any]
    id: uuid.UUID = field(default_factory=new_id)
    version: int | None = None


Write = Callable[[Session, Sequence[Good]], list[Done]]


class _OneByOne(Exception):
    """What comes of these rows depends on their order: a set would not tell."""


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
        is_large: more rows than can be locked one by one are done in one transaction.
    """

    def __init__(self, bulk: Bulk, operation: str, *, is_named: bool, is_large: bool = False) -> None:
        self._bulk = bulk
        self._operation = operation
        self._is_named = is_named
        self._is_large = is_large
        schema = bulk.body if operation == "CREATE" else bulk.patch
        self._rules = Rules(schema, partial=operation == "UPDATE")

    def begin(self, session: Session) -> None:
        """Take what must be locked before the first row of a large transaction."""
        if self._is_large and self._operation == "CREATE" and self._bulk.lock_all is not None:
            self._bulk.lock_all(session)

    def apply(self, session: Session, rows: Sequence[Row]) -> Outcome:
        """Do the rows in the session's transaction. A row that breaks a rule leaves nothing behind."""
        if self._is_named:
            references.resolve(session, rows)
        outcome = Outcome()
        good = [one for one in (self._good(row, outcome) for row in rows) if one is not None]
        write = {"CREATE": self._create, "UPDATE": self._update, "DELETE": self._delete}[self._operation]
        for part in _each_id_once(good):
            self._write(session, part, write, outcome)
        outcome.faults.sort(key=lambda fault: fault.row)
        return outcome

    def _good(self, row: Row, outcome: Outcome) -> Good | None:
        row_id, version, faults = (new_id(), None, []) if self._operation == "CREATE" else _target(row)
        values: dict[str, Any] = {}
        rest = row.values
        if self._operation != "CREATE":
            rest = {name: value for name, value in rest.items() if name not in ("id", "version")}
        if self._operation == "DELETE":
            faults += [row.fault(name, "Unknown field.") for name in rest]
        elif not row.faults:
            values, wrong = self._rules.load(rest)
            faults += [row.fault(name, detail) for name, detail in wrong]
        if row.faults or faults or row_id is None:
            outcome.refuse([*row.faults, *faults])
            return None
        return Good(row, values, row_id, version)

    def _write(self, session: Session, good: Sequence[Good], write: Write, outcome: Outcome) -> None:
        """All of them as a set; where the database refuses that, without those whose keys are taken, or in parts."""
        try:
            _take(outcome, good, self._tried(session, good, write))
        except (IntegrityError, DataError, _OneByOne):
            refused = self._taken(session, good) if self._operation == "CREATE" else {}
            for one in good:
                if one.id in refused:
                    outcome.refuse(_faults_of(one.row, refused[one.id]))
            self._in_parts(session, [one for one in good if one.id not in refused], write, outcome)

    def _in_parts(self, session: Session, good: Sequence[Good], write: Write, outcome: Outcome) -> None:
        """As a set; where the database refuses one, as two sets, and so on: down to the row it refuses."""
        if not good:
            return
        try:
            _take(outcome, good, self._tried(session, good, write))
        except (IntegrityError, DataError, _OneByOne) as error:
            if len(good) == 1:
                outcome.refuse(_said(good[0].row, error))
                return
            middle = len(good) // 2
            self._in_parts(session, good[:middle], write, outcome)
            self._in_parts(session, good[middle:], write, outcome)

    def _tried(self, session: Session, good: Sequence[Good], write: Write) -> list[Done]:
        with session.begin_nested():
            return write(session, good)

    def _taken(self, session: Session, good: Sequence[Good]) -> dict[uuid.UUID, HavenError]:
        """Rows to be made whose unique keys stored rows have: whatever else is made, they are refused."""
        if self._bulk.create_many is not None:
            return {}
        rows = [
            {"id": one.id, **plan} for one, plan in self._planned(session, good) if isinstance(plan, dict)
        ]
        found = staging.taken_keys(session, self._bulk.model, rows)
        model: Any = self._bulk.model
        name = model.__tablename__
        return {row_id: taken(constraint, name) for row_id, constraint in found.items()}

    def _planned(self, session: Session, good: Sequence[Good]) -> Iterator[tuple[Good, Planned]]:
        bodies = [one.values for one in good]
        return zip(good, self._bulk.plan(session, bodies) if self._bulk.plan else bodies, strict=True)

    def _create(self, session: Session, good: Sequence[Good]) -> list[Done]:
        if self._bulk.create_many is not None:
            bodies = [one.values for one in good]
            return self._bulk.create_many(session, bodies, are_locked=self._is_large)
        done: list[Done] = []
        rows = []
        for one, plan in self._planned(session, good):
            if isinstance(plan, HavenError):
                done.append(plan)
            else:
                done.append(one.id)
                rows.append({"id": one.id, **plan})
        staging.insert_many(session, self._bulk.model, rows)
        return done

    def _update(self, session: Session, good: Sequence[Good]) -> list[Done]:
        stored, done = self._locked(session, good)
        wanted = [(stored[one.id], one.values) for one in good if one.id in stored]
        plans = dict(zip(stored, self._bulk.plan_changes(session, wanted), strict=True))
        done |= {row_id: plan for row_id, plan in plans.items() if isinstance(plan, HavenError)}
        rows = _changed(stored, plans)
        if len(good) > 1 and staging.takes_a_key(session, self._bulk.model, rows):
            raise _OneByOne
        staging.update_many(session, self._bulk.model, rows)
        return [done.get(one.id, one.id) for one in good]

    def _delete(self, session: Session, good: Sequence[Good]) -> list[Done]:
        stored, done = self._locked(session, good)
        for row_id, row in list(stored.items()):
            if self._bulk.check_delete is not None:
                try:
                    self._bulk.check_delete(row)
                except HavenError as error:
                    done[row_id] = error
                    del stored[row_id]
        staging.delete_many(session, self._bulk.model, stored)
        return [done.get(one.id, one.id) for one in good]

    def _locked(
        self, session: Session, good: Sequence[Good]
    ) -> tuple[dict[uuid.UUID, Any], dict[uuid.UUID, Done]]:
        """The rows that are named as they are now, in the order they are named, locked; and why others are not."""
        model: Any = self._bulk.model
        table: Table = model.__table__
        columns = [column for column in table.columns if column.computed is None]
        statement = (
            select(*columns)
            .where(
                table.c.agency_id == tenant_of(session).agency_id, table.c.id.in_([one.id for one in good])
            )
            .order_by(table.c.id)
            .with_for_update()
        )
        there = {row.id: row for row in session.execute(statement)}
        stored: dict[uuid.UUID, Any] = {}
        done: dict[uuid.UUID, Done] = {}
        for one in good:
            try:
                stored[one.id] = expected(model, one.id, there.get(one.id), one.version)
            except HavenError as error:
                done[one.id] = error
        return stored, done


def _take(outcome: Outcome, good: Sequence[Good], done: Sequence[Done]) -> None:
    for one, came in zip(good, done, strict=True):
        if isinstance(came, HavenError):
            outcome.refuse(_faults_of(one.row, came))
        else:
            outcome.ids.append(came)


def _each_id_once(good: Sequence[Good]) -> Iterator[list[Good]]:
    """In parts that name no row twice: the second change is made to what the first one left."""
    part: dict[uuid.UUID, Good] = {}
    for one in good:
        if one.id in part:
            yield list(part.values())
            part = {}
        part[one.id] = one
    yield list(part.values())


def _changed(stored: dict[uuid.UUID, Any], plans: dict[uuid.UUID, Planned]) -> list[dict[str, Any]]:
    """Rows that are not as wanted, with the columns that change in any of them."""
    real = {
        row_id: plan
        for row_id, plan in plans.items()
        if not isinstance(plan, HavenError)
        and any(getattr(stored[row_id], name) != value for name, value in plan.items())
    }
    names = {name for plan in real.values() for name in plan}
    return [
        {"id": row_id, **{name: plan.get(name, getattr(stored[row_id], name)) for name in names}}
        for row_id, plan in real.items()
    ]


def _target(row: Row) -> tuple[uuid.UUID | None, int | None, list[RowFault]]:
    """The id and version that the row names, and what is wrong with them."""
    faults = []
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


def _said(row: Row, error: Exception) -> list[RowFault]:
    """What the database said of the row."""
    if isinstance(error, IntegrityError):
        return _faults_of(row, explain(error))
    return [row.fault("", "A value cannot be stored: it is out of range.")]


def _faults_of(row: Row, error: HavenError) -> list[RowFault]:
    """What the service said of the row."""
    if not error.faults:
        column = {NotFound: "id", VersionMismatch: "version"}.get(type(error), "")
        return [row.fault(column, error.detail)]
    return [row.fault(fault.pointer, fault.detail) for fault in error.faults]
