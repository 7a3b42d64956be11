"""Leaves a backend alone for a while once it has failed several times in a row.

The small one that comes with the cache, so that the cache needs nothing else. Whoever has a better one gives it to
``Link`` instead: anything with these three methods.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

_FIRST_REST_S: Final = 0.5
_LONGEST_REST_S: Final = 5.0


class Guard(Protocol):
    """What the cache asks of a circuit breaker."""

    def allows(self) -> bool:
        """Whether the backend may be called now."""

    def succeeded(self) -> None:
        """The call came back."""

    def failed(self) -> None:
        """The call did not."""


class Breaker:
    """Closed → open after ``threshold`` failures in a row → one trial call after a rest → closed, or open for twice as long."""

    def __init__(self, threshold: int = 3, clock: Callable[[], float] = time.monotonic) -> None:
        self._threshold = threshold
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._rest_s = _FIRST_REST_S
        self._open_until: float | None = None

    @property
    def is_open(self) -> bool:
        return self._open_until is not None

    def allows(self) -> bool:
        """Whether to call; of those that ask when the rest is over, one may."""
        if not self.is_open:
            return True
        with self._lock:
            if self._clock() < (self._open_until or 0):
                return False
            # Its outcome closes or opens; should there be none, the next trial is a rest away.
            self._open_until = self._clock() + self._rest_s
            return True

    def succeeded(self) -> None:
        if self._failures == 0 and self._open_until is None:
            return
        with self._lock:
            self._failures = 0
            self._rest_s = _FIRST_REST_S
            self._open_until = None

    def failed(self) -> None:
        with self._lock:
            self._failures += 1
            if self._open_until is not None:
                self._rest_s = min(self._rest_s * 2, _LONGEST_REST_S)
                self._open_until = self._clock() + self._rest_s
            elif self._failures >= self._threshold:
                self._open_until = self._clock() + self._rest_s
