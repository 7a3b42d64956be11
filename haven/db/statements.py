"""SQL by hand for the hottest paths, handed to the driver as it is.

SQLAlchemy looks a ``text()`` up among what it has compiled and binds its values by their types at each run: a third of what
such a statement costs this process. Here its words are put into the driver's own form once, and the driver knows the types.
The engine's events (tenant, counts, cache) happen as for any other statement.
"""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy import CursorResult
from sqlalchemy.orm import Session

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
