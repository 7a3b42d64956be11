"""A pool that keeps what a burst has opened for a while. Knows SQLAlchemy, not Flask."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy.pool import ConnectionPoolEntry, QueuePool
from sqlalchemy.util.queue import Queue

IDLE_SINCE: Final = "idle_since"
SURPLUS_S: Final = 60.0
"""How long a connection above the lower bound may lie unused."""


class SurplusPool(QueuePool):
    """A ``QueuePool`` whose connections above ``kept`` are closed when they lay unused for a while, not when they come back.

    SQLAlchemy's own closes at once what is over its size, so a process with more busy threads than that opens a connection
    for every few requests: a new server process each time, that has yet to read its catalogue.

    Args:
        creator: opens a connection.
        kept: connections that stay, used or not.
        pool_size: connections at the most.
        surplus_s: how long one above ``kept`` may lie unused, in seconds.
    """

    def __init__(
        self,
        creator: Callable[..., Any],
        kept: int = 5,
        pool_size: int = 20,
        surplus_s: float = SURPLUS_S,
        **options: Any,
    ) -> None:
        super().__init__(creator, pool_size=pool_size, **{**options, "max_overflow": 0, "use_lifo": True})
        self.kept = kept
        self._surplus_s = surplus_s

    def recreate(self) -> SurplusPool:
        """An empty pool like this one."""
        made = super().recreate()
        assert isinstance(made, SurplusPool)
        made.kept, made._surplus_s = self.kept, self._surplus_s
        return made

    def opened(self) -> int:
        """How many connections are open, used or not."""
        return self.size() + self._overflow

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        record.info[IDLE_SINCE] = time.monotonic()
        super()._do_return_conn(record)
        self._close_surplus()

    def _close_surplus(self) -> None:
        """Close the one that lay unused longest, if it is one too many: as the last that came is used first, it is the first."""
        if self.opened() <= self.kept:
            return
        idle = self._pool
        assert isinstance(idle, Queue)
        with idle.mutex:
            too_old = time.monotonic() - self._surplus_s
            if not idle.queue or idle.queue[0].info.get(IDLE_SINCE, too_old) > too_old:
                return
            record = idle.queue.popleft()
        try:
            record.close()
        finally:
            self._dec_overflow()
