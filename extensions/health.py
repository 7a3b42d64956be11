"""The checks of all parts: each with a time-out, run side by side, and cached, so that a probe costs nothing.

Every extension that ``load_extensions`` loads has its ``health()`` in here; an application adds checks of its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from extensions.contract import Health

log = logging.getLogger(__name__)

EXTENSION: Final = "haven_health"
TIMEOUT_S: Final = 2.0
CACHED_S: Final = 1.0

Check = Callable[[], Health]


class HealthRegistry:
    """Named checks.

    A check that hangs is reported and left alone: it is asked again only when its thread has come back, so a hung backend
    never holds more than one thread for each check.

    Args:
        cached_s: how long an answer is good.
        clock: seconds; a test holds it.
    """

    def __init__(self, cached_s: float = CACHED_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._cached_s = cached_s
        self._clock = clock
        self._checks: dict[str, _Running] = {}

    def add(self, name: str, check: Check, timeout_s: float = TIMEOUT_S) -> None:
        """Add a check, or put it in the place of the one with this name.

        Args:
            check: called in a thread of its own; an exception of its is ``down``.
        """
        self._checks[name] = _Running(name, check, timeout_s, self._clock)

    def run(self, names: Iterable[str] | None = None) -> dict[str, Health]:
        """What the checks say, by name, after the longest of their time-outs at the latest."""
        wanted = [self._checks[name] for name in (self._checks if names is None else names)]
        due = [one for one in wanted if not one.is_fresh(self._cached_s)]
        deadlines = [(one, one.start(self._cached_s)) for one in due]
        for one, deadline in deadlines:
            one.wait_until(deadline)
        return {one.name: one.answer() for one in wanted}


class _Running:
    """One check, and the thread that runs it, if any."""

    def __init__(self, name: str, check: Check, timeout_s: float, clock: Callable[[], float]) -> None:
        self.name = name
        self._check = check
        self._timeout_s = timeout_s
        self._clock = clock
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._started_at = 0.0
        self._said: Health | None = None
        self._said_at = float("-inf")

    def is_fresh(self, for_s: float) -> bool:
        return self._clock() - self._said_at < for_s

    def start(self, fresh_for_s: float) -> float:
        """Begin, unless it runs or has just answered; when it should be done, by ``time.monotonic``."""
        with self._lock:
            if self.is_fresh(fresh_for_s):
                return time.monotonic()
            # A thread that a fork left behind in the parent is not alive here.
            if self._thread is None or not self._thread.is_alive():
                self._started_at = time.monotonic()
                self._thread = threading.Thread(target=self._run, name=f"health-{self.name}", daemon=True)
                self._thread.start()
            return self._started_at + self._timeout_s

    def wait_until(self, deadline: float) -> None:
        thread = self._thread
        if thread is not None:
            thread.join(max(deadline - time.monotonic(), 0.0))

    def answer(self) -> Health:
        thread = self._thread
        is_late = time.monotonic() >= self._started_at + self._timeout_s
        if self._said is not None and not (is_late and thread is not None and thread.is_alive()):
            return self._said
        return Health("down", {"reason": f"no answer within {self._timeout_s:g} s"})

    def _run(self) -> None:
        try:
            said = self._check()
        except Exception as error:
            log.exception("health check %s failed", self.name)
            said = Health("down", {"reason": f"the check failed ({type(error).__name__})"})
        self._said, self._said_at = said, self._clock()


def worst(found: Iterable[Health]) -> str:
    """``ok``, or ``degraded`` where any part is not."""
    return "ok" if all(one.status == "ok" for one in found) else "degraded"
