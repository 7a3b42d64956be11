"""Invalidations that Redis could not be told of: kept in the database, so that none is lost and none is late.

A write whose transaction cannot announce itself in Redis (away, full, read-only) leaves a row in ``cache_debt`` in that very
transaction. Whoever then wants to serve something stored looks whether there are such rows; it clears what they name,
removes them, and only then trusts the cache again.

Looking costs a statement, so what was seen is believed for ``TRUST_S``, and a writer that left a row answers that much later.
Why that is enough: a look that began before the row was committed is believed for ``TRUST_S`` at the most, so no longer than
until the writer answers. Whatever its caller asks afterwards, of any process, needs a later look, which finds the row.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

TRUST_S: Final = 0.05
"""Twenty looks a second of a busy process; 50 ms on a write while Redis is away."""
CREATE_TABLE: Final = (
    "CREATE TABLE cache_debt (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, owner text NOT NULL,"
    " tags text NOT NULL, token text NOT NULL)"
)
_NOTE: Final = text("INSERT INTO cache_debt (owner, tags, token) VALUES (:owner, :tags, :token)")
_LOOK: Final = text("SELECT id, owner, tags, token FROM cache_debt LIMIT 1000")
_REMOVE: Final = text("DELETE FROM cache_debt WHERE id = ANY(:ids)")

Settle = Callable[[str, list[str], str], None]
"""Clears everything of an owner in Redis, and ends the hold (tags, token) that a command may have left there whose answer never
came; raises the ``refusal`` where that is not possible."""


class Debts(Protocol):
    """Where debts are kept."""

    def note(self, connection: Connection, owner: str, tags: Iterable[str] = (), token: str = "") -> None:
        """In the transaction of ``connection``: everything of ``owner`` has to be cleared."""

    def is_fresh(self) -> bool:
        """Whether the last look still counts, and found nothing."""

    def are_none(self) -> bool:
        """Whether there is no debt, by a look. One that is found is settled, for the next time."""

    def wait(self) -> None:
        """Until no look from before the commit counts any more."""

    def reset(self) -> None:
        """As new, after a fork."""


class NoDebts:
    """For an app without a database: what Redis could not be told of is known to nobody."""

    def note(self, connection: Connection, owner: str, tags: Iterable[str] = (), token: str = "") -> None:
        """Nothing."""

    def is_fresh(self) -> bool:
        return True

    def are_none(self) -> bool:
        return True

    def wait(self) -> None:
        """Nothing."""

    def reset(self) -> None:
        """Nothing."""


class DebtTable:
    """Debts in PostgreSQL's table ``cache_debt`` (``CREATE_TABLE``), by connections of ``engine``'s pool."""

    def __init__(
        self, engine: Engine, settle: Settle, refusal: type[Exception], trust_s: float = TRUST_S
    ) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._settle = settle
        self._refusal = refusal
        self._trust_s = trust_s
        self.reset()

    def reset(self) -> None:
        """As new, after a fork."""
        self._lock = threading.Lock()
        self._trusted_until = 0.0

    def note(self, connection: Connection, owner: str, tags: Iterable[str] = (), token: str = "") -> None:
        self._trusted_until = 0.0
        connection.execute(_NOTE, {"owner": owner, "tags": " ".join(sorted(tags)), "token": token})

    def is_fresh(self) -> bool:
        return time.monotonic() < self._trusted_until

    def are_none(self) -> bool:
        with self._lock:
            if self.is_fresh():
                return True
            began = time.monotonic()
            try:
                found = self._look()
                if not found:
                    self._trusted_until = began + self._trust_s
                    return True
                self._pay(found)
            except (SQLAlchemyError, self._refusal):
                pass  # no proof, no trust
            return False

    def wait(self) -> None:
        time.sleep(self._trust_s)

    def _look(self) -> Sequence[Any]:
        with self._engine.connect() as connection:
            return connection.execute(_LOOK).all()

    def _pay(self, found: Sequence[Any]) -> None:
        """Clear what the rows name, then remove them: those rows, not what was written since."""
        while found:
            for owner, tags, token in {(row.owner, row.tags, row.token) for row in found}:
                self._settle(owner, tags.split(), token)
            with self._engine.connect() as connection:
                connection.execute(_REMOVE, {"ids": [row.id for row in found]})
            found = self._look()
