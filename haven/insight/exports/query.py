"""From a caller's filters to the SQL of an export, shaped in the database so that its bytes go to the file as they come."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, Text, and_, case, cast, func, literal, select
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from werkzeug.datastructures import MultiDict

from haven.api.listing import Query
from haven.errors import Fault, Invalid
from haven.insight.exports.resources import RESOURCES, Exported, Field

_OF_PAGES: Final = ("limit", "cursor", "include_total")
# What makes a spreadsheet calculate a cell (OWASP, CSV injection): = + - @, tab, CR, LF, and the full-width four.
_BEGINS_FORMULA: Final = tuple(map(ord, "=+-@\t\r\n＝＋－＠"))  # noqa: RUF001
_FIRST_DAY: Final = dt.date(1900, 3, 1)
"""Before it Excel counts the 29th of February 1900, which was none; it knows nothing before that year."""
_LAST_DAY: Final = dt.date(9999, 12, 31)
_DAY_ZERO: Final = dt.date(1899, 12, 30)
_NUMBER: Final = r"^[+-][0-9 .]*$"
"""A phone number or an amount begins so too, and calculates nothing."""
_JSON_AS_IT_IS: Final = "FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02'"
"""JSON holds no control character, so with these nothing is quoted; the text format would double each backslash."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is exported: the resource and what its list was asked."""

    resource: Exported
    query: Query

    @classmethod
    def of(cls, name: str, filters: Mapping[str, Any]) -> Plan:
        """The plan of a resource of RESOURCES with the filters of its list.

        Raises:
            Invalid: naming each filter that is unknown or wrong, as ``/filters/{name}``.
        """
        resource = RESOURCES[name]
        faults = [
            Fault(_pointer(one), "is of pages: an export has every row")
            for one in _OF_PAGES
            if one in filters
        ]
        faults += [
            Fault(_pointer(one), "must be text or a whole number, as in the list's query")
            for one, value in filters.items()
            if not isinstance(value, str | int) or isinstance(value, bool)
        ]
        if faults:
            raise _invalid(faults)
        try:
            query = resource.listing.parse(MultiDict({one: str(value) for one, value in filters.items()}))
        except Invalid as error:
            raise _invalid([Fault(_pointer(one.pointer), one.detail) for one in error.faults]) from None
        return cls(resource, query)

    def csv(self, *, safe: bool = True) -> Select[Any]:
        """The columns as CSV shows them; ``safe``: no text begins as a formula does."""
        return self._select(lambda field: _neutral(field) if safe and field.is_free else _flat(field))

    def cells(self) -> Select[Any]:
        """The columns as a sheet's cells have them: times are numbers of days, as Excel counts them."""
        return self._select(_as_cell)

    def json(self) -> Select[Any]:
        """One column: each row as a JSON object, its values as the list's."""
        rows = self._select(_as_in_list).subquery("r")
        return select(func.row_to_json(rows.table_valued()))

    def _select(self, shape: Any) -> Select[Any]:
        listing = self.resource.listing
        found = select(*(shape(field).label(field.name) for field in self.resource.fields))
        joined = self.resource.joined if self.resource.joined is not None else listing.key.class_.__table__
        return found.select_from(joined).where(*self.query.conditions).order_by(*self._order())

    def _order(self) -> list[ColumnElement[Any]]:
        """As the list is: those without the sort's value come last, up or down."""
        listing, sort = self.resource.listing, self.query.sort
        name, is_down = sort.removeprefix("-"), sort.startswith("-")
        columns: list[Any] = [listing.key] if name == "created_at" else [listing.sorts[name], listing.key]
        if not is_down:
            return [column.asc() for column in columns]
        # An index read backwards has the nulls first: those of a column that has none are not spoken of.
        return [
            column.desc().nulls_last() if getattr(column, "nullable", False) else column.desc()
            for column in columns
        ]


def sql_of(statement: Select[Any], cursor: Any) -> str:
    """The statement with its values in it, as psycopg2 quotes them: COPY takes no parameters."""
    compiled = statement.compile(
        dialect=PGDialect_psycopg2(),  # type: ignore[no-untyped-call]
        compile_kwargs={"render_postcompile": True},
    )
    text: bytes = cursor.mogrify(str(compiled), compiled.construct_params())
    return text.decode()


def copy_csv(sql: str, *, header: bool) -> str:
    """COPY of the statement as CSV (RFC 4180, but lines end as in Unix)."""
    return f"COPY ({sql}) TO STDOUT (FORMAT csv, HEADER {str(header).lower()}, ENCODING 'UTF8')"


def copy_text(sql: str) -> str:
    """COPY of the statement, a row in a line whatever is in it, its values between tabs; nothing is an empty text."""
    return f"COPY ({sql}) TO STDOUT (FORMAT text, NULL '', ENCODING 'UTF8')"


def copy_json(sql: str) -> str:
    """COPY of a statement of JSON objects, one in a line."""
    return f"COPY ({sql}) TO STDOUT ({_JSON_AS_IT_IS}, ENCODING 'UTF8')"


def _flat(field: Field) -> ColumnElement[Any]:
    return func.array_to_string(field.column, ",") if field.kind == "list" else field.column


def _neutral(field: Field) -> ColumnElement[Any]:
    column = field.column
    begins = func.ascii(column).in_(_BEGINS_FORMULA)
    return case((and_(begins, column.op("!~")(_NUMBER)), literal("'").concat(column)), else_=column)


def _as_cell(field: Field) -> ColumnElement[Any]:
    column = field.column
    if field.kind == "instant":
        days: Any = func.date_part("epoch", column) / 86_400.0 - (_DAY_ZERO - dt.date(1970, 1, 1)).days
    elif field.kind == "date":
        days = column - _DAY_ZERO
    else:
        return _flat(field)
    # What Excel does not count is text, which is told from a number by the blank before it.
    counted, told = cast(days, Text), literal(" ").concat(cast(column, Text))
    return case((column.between(_FIRST_DAY, _LAST_DAY), counted), else_=told)


def _as_in_list(field: Field) -> ColumnElement[Any]:
    return cast(field.column, Text) if field.kind in ("money", "decimal") else field.column


def _pointer(name: str) -> str:
    return f"/filters/{name.replace('~', '~0').replace('/', '~1')}"


def _invalid(faults: list[Fault]) -> Invalid:
    return Invalid(f"{faults[0].pointer.lstrip('/')}: {faults[0].detail}", faults=tuple(faults))
