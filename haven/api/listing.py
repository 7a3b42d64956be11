"""Lists and single reads, from a declaration: selected columns straight to JSON, no ORM objects.

A page costs one statement (two with ``include_total``) whatever its size. No condition on the agency is written here:
row-level security puts it into every statement, so a list that forgets a filter still shows no other agency's row.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any, Final, Literal
from urllib.parse import urlencode

from marshmallow import ValidationError, fields
from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Integer,
    Numeric,
    Select,
    Table,
    Text,
    Uuid,
    bindparam,
    cast,
    func,
    select,
    tuple_,
)
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import Label
from werkzeug.datastructures import MultiDict

from haven.api.cursors import Cursor, read_cursor
from haven.db.base import ONE_OF
from haven.db.statements import InWords
from haven.errors import Fault, Invalid, NotFound

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 200
IN_MAX: Final = 200
SEARCH_MAX: Final = 100
CREATED_AT: Final = "created_at"

_RESERVED = frozenset({"limit", "cursor", "sort", "q", "include_total"})
_ORDERED = ("gte", "lte")
_Part = Literal["all", "present", "missing"]
_Begins = Literal["first", "in value", "in null"]
Column = ColumnElement[Any] | InstrumentedAttribute[Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """A query parameter that narrows a list. ``ordered`` values (dates, money, numbers) may also have a range."""

    column: Column
    field: fields.Field[Any]
    ordered: bool = False

    def operators(self) -> tuple[str, ...]:
        return ("", "in", *_ORDERED) if self.ordered else ("", "in")

    @property
    def words(self) -> tuple[str, ...]:
        """All that can be in the column, where its table says so; another word would find nothing, and not say why."""
        return _words_of(self.column) if isinstance(self.column, InstrumentedAttribute) else ()

    def value(self, text: str) -> Any:
        """A parameter's text as the column's type.

        Raises:
            ValidationError: it is none.
        """
        if self.words and text not in self.words:
            raise ValidationError(f"must be one of: {', '.join(self.words)}")
        return self.field.deserialize(text)


@dataclass(frozen=True, slots=True)
class Query:
    """What a caller asks of a list."""

    conditions: tuple[ColumnElement[bool], ...]
    sort: str
    limit: int
    cursor: Cursor | None
    with_total: bool


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list."""

    rows: list[dict[str, Any]]
    limit: int
    next_cursor: str | None
    total: int | None

    def document(self) -> dict[str, Any]:
        pagination: dict[str, Any] = {
            "limit": self.limit,
            "next_cursor": self.next_cursor,
            "has_more": self.next_cursor is not None,
        }
        if self.total is not None:
            pagination["total"] = self.total
        return {"data": self.rows, "pagination": pagination}


@dataclass(frozen=True)
class Listing:
    """A list of one kind of row.

    Args:
        noun: what one row is called in an error.
        key: the id column; UUIDv7, so its order is the order of creation.
        columns: name in the answer → SQL expression.
        joined: the tables to select from, where it is more than the key's own.
        is_widened: what is joined brings columns and neither adds nor removes a row, so a count leaves it out.
        filters: query parameter → Filter.
        sorts: name → column; each has an index ``(agency_id, column, id)``. ``created_at`` is always there.
        search: the column of lower-case text that ``q`` looks in; has a trigram index.
        always: conditions that belong to the list itself.
    """

    noun: str
    key: InstrumentedAttribute[uuid.UUID]
    columns: Mapping[str, Column]
    filters: Mapping[str, Filter] = field(default_factory=dict)
    sorts: Mapping[str, Column] = field(default_factory=dict)
    search: Column | None = None
    joined: Any = None
    is_widened: bool = False
    always: Sequence[ColumnElement[bool]] = ()
    default_sort: str = "-created_at"

    @cached_property
    def _selected(self) -> list[Label[Any]]:
        return [_as_json(column).label(name) for name, column in self.columns.items()]

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(self.columns)

    @cached_property
    def parameters(self) -> dict[str, tuple[str, str]]:
        """Every filter parameter this list knows: ``due_at__gte`` → (``due_at``, ``gte``)."""
        known = {
            name if not operator else f"{name}__{operator}": (name, operator)
            for name, one in self.filters.items()
            for operator in one.operators()
        }
        if CREATED_AT in self.columns:
            known |= {f"{CREATED_AT}__{operator}": (CREATED_AT, operator) for operator in _ORDERED}
        return known

    @cached_property
    def sort_names(self) -> tuple[str, ...]:
        return tuple(sign + name for name in (CREATED_AT, *self.sorts) for sign in ("", "-"))

    @cached_property
    def tables(self) -> tuple[str, ...]:
        """The tables that the list reads."""
        parts = visitors.iterate(self._select().where(*self.always))
        return tuple(sorted({part.name for part in parts if isinstance(part, Table)}))

    @cached_property
    def statement(self) -> str:
        """What the list selects, as text: it changes when the rows of its answers do."""
        return str(self._select().where(*self.always))

    def parse(self, arguments: MultiDict[str, str]) -> Query:
        """Read a query string.

        Raises:
            Invalid: naming each parameter that is unknown, repeated or wrong.
        """
        faults = [
            Fault(name, "is given more than once") for name in arguments if len(arguments.getlist(name)) > 1
        ]
        conditions: list[ColumnElement[bool]] = list(self.always)
        for name, text in arguments.items():
            if name in _RESERVED:
                continue
            try:
                conditions += self._condition(name, text)
            except ValidationError as error:
                faults += [Fault(name, message) for message in _messages(error)]
        try:
            limit, sort, with_total = self._frame(arguments)
            conditions += self._searched(arguments.get("q"))
            cursor_text = arguments.get("cursor")
            cursor = read_cursor(cursor_text, sort) if cursor_text is not None else None
        except Invalid as error:
            raise _invalid([*faults, *error.faults]) from None
        if faults:
            raise _invalid(faults)
        return Query(tuple(conditions), sort, limit, cursor, with_total)

    def page(self, connection: Connection, query: Query) -> Page:
        """The page that ``query`` asks for, as the tenant that ``connection`` tells PostgreSQL may see it."""
        column = self._sort_column(query.sort)
        rows = self._rows(connection, query, column)
        shown = [dict(zip(self._names, row, strict=False)) for row in rows[: query.limit]]
        next_cursor = None
        if len(rows) > query.limit:
            last = rows[query.limit - 1]
            value = None if column is self.key else last[-2]
            next_cursor = Cursor(query.sort, value, uuid.UUID(last[-1])).text()
        total = self._total(connection, query, is_empty=not rows) if query.with_total else None
        return Page(shown, query.limit, next_cursor, total)

    def _rows(self, connection: Connection, query: Query, column: Any) -> Sequence[Any]:
        """One row more than the page has, where there is one. Rows that lack the sort's value come last, up or down.

        Those that have it are read first and the others after them, each from where they begin in the index: an index read
        backwards has them the other way round, and "after this value, or without any" is no place in one. The second
        statement is needed only where the first does not fill the page.
        """
        if not getattr(column, "nullable", False):
            return self._read(connection, query, "all", query.limit + 1)
        rows: Sequence[Any] = []
        if query.cursor is None or query.cursor.value is not None:
            rows = self._read(connection, query, "present", query.limit + 1)
        missing = query.limit + 1 - len(rows)
        if missing:
            begun = query.cursor is not None and query.cursor.value is None
            afresh = query if begun else replace(query, cursor=None)
            rows = [*rows, *self._read(connection, afresh, "missing", missing)]
        return rows

    def _read(self, connection: Connection, query: Query, part: _Part, limit: int) -> Sequence[Any]:
        values: dict[str, Any] = {"rows": limit}
        begins: _Begins = "first"
        if query.cursor is not None:
            begins = "in value" if query.cursor.value is not None else "in null"
            values |= {"after_id": query.cursor.id, "after_value": query.cursor.value}
        order = query.sort, part, begins
        if not query.conditions and self._is_plain(connection.dialect):
            return self._in_words(order, connection.dialect).rows(connection, values)
        found = self._ordered(*order)
        return connection.execute(found.where(*query.conditions), values).all()

    def _in_words(self, order: tuple[str, _Part, _Begins], dialect: Dialect) -> InWords:
        """The list without filters, which is asked most: compiled once, so there is no statement to look up."""
        known = self._compiled.get(order)
        if known is None:
            known = self._compiled[order] = InWords(self._ordered(*order), dialect)
        return known

    def _is_plain(self, dialect: Dialect) -> bool:
        known = self._plain.get(dialect.name)
        if known is None:
            known = self._plain[dialect.name] = InWords.needs_nothing_more(self._select(), dialect)
        return known

    def _ordered(self, sort: str, part: _Part, begins: _Begins) -> Select[Any]:
        """The list in an order; made once, as SQLAlchemy finds its text sooner for a statement that it has seen.

        Args:
            part: which rows: all, or those that have the sort's value, or those that lack it.
            begins: where: at the first row, or after ``after_id`` and ``after_value``, which may be null.
        """
        known = self._in_order.get((sort, part, begins))
        if known is not None:
            return known
        column, is_down = self._sort_column(sort), sort.startswith("-")
        order = [self.key] if column is self.key else [column, self.key]
        found = self._select(cast(column, Text).label("_sort"), cast(self.key, Text).label("_id"))
        found = found.order_by(*(one.desc() if is_down else one.asc() for one in order))
        if part != "all":
            found = found.where(column.is_(None) if part == "missing" else column.is_not(None))
        if begins != "first":
            found = found.where(self._after(column, is_down, begins))
        known = self._in_order[sort, part, begins] = found.limit(bindparam("rows", None, type_=Integer))
        return known

    @cached_property
    def _plain(self) -> dict[str, bool]:
        return {}

    @cached_property
    def _compiled(self) -> dict[tuple[str, _Part, _Begins], InWords]:
        return {}

    @cached_property
    def _in_order(self) -> dict[tuple[str, _Part, _Begins], Select[Any]]:
        return {}

    def one(self, session: Session, row_id: uuid.UUID) -> dict[str, Any]:
        """The row as it is shown.

        Raises:
            NotFound: there is none in this agency.
        """
        row = session.execute(self._select().where(self.key == row_id, *self.always)).first()
        if row is None:
            raise NotFound(f"There is no {self.noun} {row_id}.")
        return dict(zip(self._names, row, strict=True))

    def _select(self, *more: Label[Any]) -> Select[Any]:
        found = select(*self._selected, *more)
        return found if self.joined is None else found.select_from(self.joined)

    def _total(self, connection: Connection, query: Query, *, is_empty: bool) -> int:
        if is_empty and query.cursor is None:
            return 0
        is_alone = self.joined is None or self.is_widened
        counted = select(func.count()).select_from(self.key.class_ if is_alone else self.joined)
        return connection.execute(counted.where(*query.conditions)).scalar_one()

    def _sort_column(self, sort: str) -> Any:
        name = sort.removeprefix("-")
        # Ids rise with time: ordering by the primary key is ordering by creation, with no index of its own.
        return self.key if name == CREATED_AT else self.sorts[name]

    def _after(self, column: Any, is_down: bool, begins: _Begins) -> ColumnElement[bool]:
        after_id = bindparam("after_id", None, type_=Uuid)
        later: ColumnElement[bool] = self.key < after_id if is_down else self.key > after_id
        if column is self.key:
            return later
        if begins == "in null":
            rest: ColumnElement[bool] = column.is_(None) & later
            return rest
        after_value = bindparam("after_value", None, type_=column.type)
        place = tuple_(cast(after_value, column.type), cast(after_id, Uuid))
        here = tuple_(column, self.key)
        beyond: ColumnElement[bool] = here < place if is_down else here > place
        return beyond

    def _frame(self, arguments: MultiDict[str, str]) -> tuple[int, str, bool]:
        faults = []
        text = arguments.get("limit", str(LIMIT_DEFAULT))
        limit = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
        if not 1 <= limit <= LIMIT_MAX:
            faults.append(Fault("limit", f"must be a whole number from 1 to {LIMIT_MAX}"))
        sort = arguments.get("sort", self.default_sort)
        if sort not in self.sort_names:
            faults.append(Fault("sort", f"must be one of {', '.join(self.sort_names)}"))
        total = arguments.get("include_total", "false")
        if total not in ("true", "false"):
            faults.append(Fault("include_total", "must be true or false"))
        if "q" in arguments and self.search is None:
            faults.append(Fault("q", "this list has no search"))
        if faults:
            raise _invalid(faults)
        return limit, sort, total == "true"

    def _searched(self, text: str | None) -> list[ColumnElement[bool]]:
        if text is None:
            return []
        words = text.strip().lower().split()
        if not words or len(text) > SEARCH_MAX or "\x00" in text:
            raise _invalid([Fault("q", f"must have 1 to {SEARCH_MAX} characters")])
        assert self.search is not None
        return [self.search.like(f"%{_escaped(word)}%") for word in words]

    def _condition(self, parameter: str, text: str) -> list[ColumnElement[bool]]:
        if parameter not in self.parameters:
            raise ValidationError(f"is not a parameter of this list; it has {', '.join(self._all_names())}")
        if "\x00" in text:
            raise ValidationError("must not hold the NUL character")
        name, operator = self.parameters[parameter]
        if name == CREATED_AT:
            return self._created(operator, text)
        one = self.filters[name]
        if operator == "in":
            texts = [part for part in text.split(",") if part]
            if not 1 <= len(texts) <= IN_MAX:
                raise ValidationError(f"must have 1 to {IN_MAX} values, separated by commas")
            return [one.column.in_([one.value(part) for part in texts])]
        value = one.value(text)
        if operator == "gte":
            return [one.column >= value]
        return [one.column <= value] if operator == "lte" else [one.column == value]

    def _created(self, operator: str, text: str) -> list[ColumnElement[bool]]:
        """A range of creation times is a range of the primary key: the first 48 bits of a UUIDv7 are milliseconds."""
        at: dt.datetime = fields.AwareDateTime(default_timezone=dt.UTC).deserialize(text)
        milliseconds = int(at.timestamp() * 1000)
        if not 0 <= milliseconds < 1 << 48:
            raise ValidationError("is out of range")
        if operator == "gte":
            return [self.key >= uuid.UUID(int=milliseconds << 80)]
        return [self.key <= uuid.UUID(int=(milliseconds << 80) | ((1 << 80) - 1))]

    def _all_names(self) -> list[str]:
        return sorted(_RESERVED) + list(self.parameters)


def next_link(path: str, arguments: MultiDict[str, str], cursor: str) -> str:
    """The ``Link`` header of the next page (RFC 8288)."""
    query = {name: value for name, value in arguments.items() if name != "cursor"} | {"cursor": cursor}
    return f'<{path}?{urlencode(query)}>; rel="next"'


@cache
def _words_of(column: InstrumentedAttribute[Any]) -> tuple[str, ...]:
    checks = (check.info.get(ONE_OF) for check in column.class_.__table__.constraints)
    return next((words for name, words in filter(None, checks) if name == column.key), ())


def _as_json(column: Column) -> ColumnElement[Any]:
    """Money and ids leave the database as text: no Decimal or UUID is made only to be written out again."""
    return cast(column, Text) if isinstance(column.type, Numeric | Uuid) else column  # type: ignore[return-value]


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _messages(error: ValidationError) -> list[str]:
    messages: Any = error.messages
    return [str(message) for message in messages] if isinstance(messages, list) else [str(messages)]


def _invalid(faults: Sequence[Fault]) -> Invalid:
    return Invalid(f"{faults[0].pointer}: {faults[0].detail}", faults=tuple(faults))
