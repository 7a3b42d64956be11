"""SQL by hand for the hottest paths, handed to the driver as it is.

SQLAlchemy looks a ``text()`` up among what it has compiled and binds its values by their types at each run: a third of what
such a statement costs this process. Here its words are put into the driver's own form once, and the driver knows the types.
The engine's events (tenant, counts, cache) happen as for any other statement.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ARRAY, Connection, CursorResult, Dialect, Float, Select
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

_VALUE: Final = re.compile(r"(?<![:\w]):(\w+)")


class Statement:
    """One statement; ``:name`` stands for a value, as in ``text()``.

    Values are what the driver takes: ``UUID``, ``Decimal``, dates, text, ``bytes``, numbers, None and lists of such.
    ``bytea`` comes back as a ``memoryview``.
    """

    def __init__(self, words: str) -> None:
        self.words = words
        self._for_driver = _VALUE.sub(r"%(\1)s", words.replace("%", "%%"))

    def run(self, session: Session, **values: Any) -> CursorResult[Any]:
        """Run it in the session's transaction, after what the session has yet to write."""
        session.flush()
        return session.connection().exec_driver_sql(self._for_driver, values)

    def rows(self, session: Session, **values: Any) -> list[Any]:
        """All rows that it gives, as tuples whose columns have names."""
        return list(self.run(session, **values).all())

    def row(self, session: Session, **values: Any) -> Any:
        """The row that it gives; None where it gives none."""
        return self.run(session, **values).one_or_none()


class InWords:
    """A statement of SQLAlchemy's, compiled once for the driver.

    Its rows are what the driver makes of them: see ``needs_nothing_more``.
    """

    def __init__(self, statement: Select[Any], dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
        self._words = str(compiled)
        fixed = compiled.construct_params(_check=False)
        processors: Mapping[str, Any] = compiled._bind_processors
        self._fixed = {
            name: processors[name](value) if name in processors and value is not None else value
            for name, value in fixed.items()
        }
        self._processors = {name: processors[name] for name in fixed if name in processors}

    @staticmethod
    def needs_nothing_more(statement: Select[Any], dialect: Dialect) -> bool:
        """Whether SQLAlchemy would leave the driver's values of all columns as they are."""
        return all(_is_the_drivers(column.type, dialect) for column in statement.exported_columns)

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> Sequence[Any]:
        """All rows, with ``values`` for its named values."""
        given = {name: self._processed(name, value) for name, value in values.items()}
        with connection.exec_driver_sql(self._words, self._fixed | given) as result:
            # The driver's own rows: nothing here is asked for by its name.
            found: Sequence[Any] = result.cursor.fetchall()
        return found

    def _processed(self, name: str, value: Any) -> Any:
        processor = self._processors.get(name)
        return value if processor is None or value is None else processor(value)


def _is_the_drivers(kind: TypeEngine[Any], dialect: Dialect) -> bool:
    if isinstance(kind, ARRAY):
        return _is_the_drivers(kind.item_type, dialect)
    # A Float is asked for its column's number before it says; as a double precision it is Python's float.
    return isinstance(kind, Float) or kind.dialect_impl(dialect).result_processor(dialect, None) is None
