"""Watches a job while it runs, from a thread of its own: renews its lease, and ends it when it has to.

A job ends early when somebody cancels it, when its time is up, when it needs too much memory, when its worker has to go, and
when another worker has it by now. It need not help: in a work horse its statement is cancelled in PostgreSQL, a signal raises
``Interrupted`` in its main thread, and if that has not ended it after a second the watch writes its end and ends the process.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from types import FrameType, TracebackType
from typing import Any, Final, Self

import psutil
import structlog
from sqlalchemy import Engine, event

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 0.4
RENEW_EVERY_S: Final = 5.0
ENDS_WITHIN_S: Final = 1.0
"""How long an interrupted job has to end by itself."""
PUT_BACK_SIGNAL: Final = signal.SIGUSR2
_INTERRUPT_SIGNAL: Final = signal.SIGUSR1
_EXIT_CODE: Final = 70


class Reason(StrEnum):
    """Why a job was ended from outside."""

    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"
    TOO_BIG = "TOO_BIG"
    PUT_BACK = "PUT_BACK"
    LOST = "LOST"


class Interrupted(BaseException):
    """The job shall end. No ``Exception``, so that no job takes it for one of its own."""


class Connections:
    """The database connections that each thread has in hand, so that their statements can be cancelled."""

    def __init__(self, engine: Engine) -> None:
        self._in_hand: dict[int, tuple[int, Any]] = {}
        event.listen(engine, "checkout", self._taken)
        event.listen(engine, "checkin", self._returned)

    def cancel(self, thread: int) -> None:
        """Cancel what PostgreSQL does for this thread."""
        for holder, connection in list(self._in_hand.values()):
            if holder == thread:
                try:
                    connection.cancel()
                except Exception as error:  # noqa: BLE001  it has just been closed: there is nothing to cancel
                    log.debug("statement_not_cancelled", error=type(error).__name__)

    def _taken(self, connection: Any, record: Any, _proxy: Any) -> None:
        self._in_hand[id(record)] = threading.get_ident(), connection

    def _returned(self, _connection: Any, record: Any) -> None:
        self._in_hand.pop(id(record), None)


class Watch:
    """One job's watch, for the time of a ``with`` block.

    Args:
        look: renews the lease where it is told to; True: cancel, None: the job is another worker's.
        end: writes the end of the job for a reason; called in the watch's thread if the job does not end by itself.
        timeout_s: the longest that the job may run.
        memory_limit: the most resident memory of this process, in bytes; 0: any.
        connections: given in a work horse, whose only work is this job: it is interrupted. Elsewhere it ends at its next
            ``check``.
    """

    def __init__(
        self,
        look: Callable[[bool], bool | None],
        end: Callable[[Reason], None],
        timeout_s: float,
        memory_limit: int = 0,
        connections: Connections | None = None,
    ) -> None:
        self.reason: Reason | None = None
        self._look = look
        self._end = end
        self._ends_at = time.monotonic() + timeout_s
        self._memory_limit = memory_limit
        self._connections = connections
        self._main = threading.get_ident()
        self._is_open = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="job-watch", daemon=True)

    def __enter__(self) -> Self:
        self._is_open = True
        if self._connections is not None:
            signal.signal(_INTERRUPT_SIGNAL, self._interrupt)
            # Blocked here, and taken by the watch's thread: so it is heard however busy the job is.
            signal.pthread_sigmask(signal.SIG_BLOCK, {PUT_BACK_SIGNAL})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False

    def over(self) -> None:
        """The job's end is written."""
        self._over.set()

    def check(self) -> None:
        """Go on, or raise ``Interrupted``."""
        if self.reason is not None:
            raise Interrupted(self.reason)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_open and self.reason is not None:
            raise Interrupted(self.reason)

    def _run(self) -> None:
        renewed_at = time.monotonic()
        while self.reason is None:
            is_sent_away = self._is_sent_away()
            if not self._is_open:
                return
            renews = time.monotonic() - renewed_at >= RENEW_EVERY_S
            self.reason = Reason.PUT_BACK if is_sent_away else self._reason(renews=renews)
            if renews:
                renewed_at = time.monotonic()
        if self._connections is not None:
            self._force(self._connections)

    def _is_sent_away(self) -> bool:
        """Wait a moment; whether the worker has to go."""
        if self._connections is None:
            self._over.wait(LOOK_EVERY_S)
            return False
        return signal.sigtimedwait({PUT_BACK_SIGNAL}, LOOK_EVERY_S) is not None

    def _reason(self, *, renews: bool) -> Reason | None:
        if time.monotonic() >= self._ends_at:
            return Reason.TIMED_OUT
        if self._memory_limit and psutil.Process().memory_info().rss > self._memory_limit:
            return Reason.TOO_BIG
        try:
            asked = self._look(renews)
        except Exception as error:  # noqa: BLE001  the database is away: the job will notice by itself
            log.warning("job_not_watched", error=type(error).__name__)
            return None
        if asked is None:
            return Reason.LOST
        return Reason.CANCELLED if asked else None

    def _force(self, connections: Connections) -> None:
        ends_at = time.monotonic() + ENDS_WITHIN_S
        while self._is_open and time.monotonic() < ends_at:
            connections.cancel(self._main)
            signal.pthread_kill(self._main, _INTERRUPT_SIGNAL)
            self._over.wait(0.1)
        if self._over.wait(max(ends_at - time.monotonic(), 0.0)):
            return
        # It does not end, or hangs in writing that it has: its transaction ends with its process.
        try:
            self._end(self.reason or Reason.LOST)
        finally:
            os._exit(_EXIT_CODE)
