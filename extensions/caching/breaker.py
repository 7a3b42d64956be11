"""Leaves Redis alone for a while once it has failed several times in a row.

In the memory of each process, not shared: whether Redis answers is not to be asked of Redis, and a process whose own way
there is cut must know it although others get through.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

_FIRST_REST_S: Final = 0.5
_LONGEST_REST_S: Final = 5.0


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

    @property
    def state(self) -> str:
        """``closed``; ``open``, which a trial call, made when the rest is over, may end."""
        return "open" if self.is_open else "closed"

    @property
    def failures(self) -> int:
        """How many calls have failed since the last one that did not."""
        return self._failures

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
