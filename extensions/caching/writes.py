"""Clears what a transaction changed, when it commits: by events of the engine, so that no code has to think of it.

Each statement is read for the tables it writes. Before the commit their tags are announced, after it they are settled
(``generations``); what cannot be announced becomes a debt (``debts``). Settling happens when the connection goes back to its
pool or begins another transaction, so before whoever committed can answer anybody.

The owner of what is written stands in ``connection.info["cache_owner"]``, set by whoever begins a transaction.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import Connection, Engine, event

from extensions.caching.debts import Debts
from extensions.caching.generations import Generations, new_token
from extensions.caching.keys import NOBODY
from extensions.caching.link import Unavailable
from extensions.caching.written_tables import written_tables

log = logging.getLogger(__name__)
OWNER: Final = "cache_owner"
_WRITTEN: Final = "cache_written"
_ANNOUNCED: Final = "cache_announced"
_UNSETTLED_MOST: Final = 1000

_Announced = tuple[str, set[str], str | None]
"""Owner, tags and token; no token: it became a debt."""


class Writes:
    """Watches engines.

    Args:
        clears: table → the tags that a write to it clears. Tables that are not named clear nothing.
    """

    def __init__(self, generations: Generations, debts: Debts, clears: Mapping[str, Iterable[str]]) -> None:
        self._generations = generations
        self._debts = debts
        self._unsettled: deque[_Announced] = deque(maxlen=_UNSETTLED_MOST)
        self._clears = {table: tuple(tags) for table, tags in clears.items()}

    def watch(self, engine: Engine) -> None:
        """Clear what is written through ``engine`` from now on."""
        event.listen(engine, "before_cursor_execute", self._noted)
        event.listen(engine, "commit", self._announced)
        event.listen(engine, "rollback", self._rolled_back)
        event.listen(engine, "begin", self._settled_before)
        event.listen(engine, "checkin", self._settled_after)

    def _noted(
        self, connection: Connection, _cursor: Any, statement: str, _values: Any, _context: Any, _many: bool
    ) -> None:
        tables = written_tables(statement)
        if not tables.isdisjoint(self._clears):
            tags = {tag for table in tables for tag in self._clears.get(table, ())}
            note(connection, str(connection.info.get(OWNER, NOBODY)), tags)

    def _announced(self, connection: Connection) -> None:
        written: dict[str, set[str]] = connection.info.pop(_WRITTEN, {})
        announced: list[_Announced] = []
        for owner, tags in written.items():
            token = new_token()
            try:
                self._generations.announce(owner, tags, token)
                announced.append((owner, tags, token))
            except Unavailable:
                self._debts.note(connection, owner, tags, token)
                announced.append((owner, tags, None))
        if announced:
            connection.info[_ANNOUNCED] = announced

    def _rolled_back(self, connection: Connection) -> None:
        if connection.invalidated:
            # Its notes went with it, and asking for them would raise in place of what broke it.
            return
        if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
            # Nothing was: each statement was a transaction of its own.
            self._announced(connection)
        else:
            connection.info.pop(_WRITTEN, None)

    def _settled_before(self, connection: Connection) -> None:
        self._settle(connection.info)

    def _settled_after(self, _connection: Any, record: Any) -> None:
        self._settle(record.info)
        record.info.pop(OWNER, None)

    def _settle(self, info: dict[str, Any]) -> None:
        announced = info.pop(_ANNOUNCED, ())
        is_in_debt = False
        for owner, tags, token in announced:
            if token is None:
                is_in_debt = True
                continue
            self._unsettled.append((owner, tags, token))
        self._settle_all()
        if is_in_debt:
            self._debts.wait()

    def _settle_all(self) -> None:
        """What was announced, also before: a hold that Redis could not be told to end is tried again with the next write."""
        while self._unsettled:
            owner, tags, token = self._unsettled.popleft()
            try:
                self._generations.settle(owner, tags, token or "")
            except Unavailable as error:
                # Read without the cache till then, or till the hold ends by itself; never stale.
                log.warning("cache tags stay held for a while: %s", error)
                self._unsettled.appendleft((owner, tags, token))
                return


def note(connection: Connection, owner: str, tags: Iterable[str]) -> None:
    """``tags`` of ``owner`` are cleared when the transaction of ``connection`` commits."""
    connection.info.setdefault(_WRITTEN, {}).setdefault(owner, set()).update(tags)
