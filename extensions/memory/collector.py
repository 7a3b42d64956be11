"""What the garbage collector does in this process: how often, how long the process stood still, what it freed."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

FULL: Final = 2
"""The generation whose collection looks at everything that is not frozen."""


LARGE: Final = 1_048_576
"""Bytes from which a block is large; reading a body or writing an answer mostly takes less, and goes without the system."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""Of mallopt(3), from malloc.h."""


@dataclass(slots=True)
class Generation:
    """Collections of one generation, since the process began."""

    generation: int
    collections: int = 0
    collected: int = 0
    pause_ms_total: float = 0.0
    pause_ms_max: float = 0.0


class Collector:
    """Listens to ``gc.callbacks``, which are called while everything stands still: no lock, no allocation to speak of.

    Args:
        size: the bytes that this process has; asked after each full collection.
    """

    def __init__(self, size: Callable[[], int]) -> None:
        self._size = size
        self.begin_anew()

    def begin_anew(self) -> None:
        """What a new process begins with."""
        self.generations = [Generation(number) for number in range(FULL + 1)]
        self.after_full: int | None = None
        """The size after the last full collection; whoever has taken it puts None."""
        self._started = 0.0

    def attach(self) -> None:
        """Listen, once."""
        if self._told not in gc.callbacks:
            gc.callbacks.append(self._told)

    def detach(self) -> None:
        """Listen no more."""
        if self._told in gc.callbacks:
            gc.callbacks.remove(self._told)

    @property
    def pause_ms_total(self) -> float:
        """How long the process stood still for all collections."""
        return sum(one.pause_ms_total for one in self.generations)

    def size_after_collection(self) -> int:
        """The size after the last full collection since this was asked; where there was none, one is made now."""
        size, self.after_full = self.after_full, None
        if size is not None:
            return size
        gc.collect()
        self.after_full = None
        return self._size()

    def _told(self, phase: Literal["start", "stop"], info: dict[str, Any]) -> None:
        if phase == "start":
            self._started = time.perf_counter()
            return
        pause_ms = (time.perf_counter() - self._started) * 1000
        one = self.generations[info["generation"]]
        one.collections += 1
        one.collected += info["collected"]
        one.pause_ms_total += pause_ms
        one.pause_ms_max = max(one.pause_ms_max, pause_ms)
        if one.generation == FULL:
            self.after_full = self._size()


def trim() -> bool:
    """Give the C library's free memory back to the system (glibc's ``malloc_trim``); False where it has no such thing."""
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (AttributeError, OSError, TypeError):
        return False


def give_large_blocks_back() -> bool:
    """Have the C library ask the system for each large block, and return it when it is freed; False where it is not glibc.

    By itself glibc raises both thresholds as such blocks are freed, and keeps twice the largest in the arena of every thread,
    where ``malloc_trim`` does not reach it: after a flood of requests with 8 MB each a process had 200 MB more for good. To
    set a threshold ends the raising (mallopt(3)).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    rules = ((_M_MMAP_THRESHOLD, LARGE), (_M_TRIM_THRESHOLD, 4 * LARGE), (_M_ARENA_MAX, 1))
    taken = [mallopt(*rule) for rule in rules]
    return all(taken)
