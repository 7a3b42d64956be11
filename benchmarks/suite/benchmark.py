"""One benchmark: something that is done again and again, and how long it takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

BLOCKS: Final = 3
"""A figure is the median of so many blocks, one after the other: what interrupts one of them is not in it."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """``act`` is done ``times`` in each of BLOCKS blocks.

    Args:
        clock: ``cpu``: processor time of this thread, for what waits for nobody; ``wall``: time as a caller sees it.
    """

    name: str
    act: Callable[[], object]
    times: int
    clock: Literal["cpu", "wall"] = "wall"

    def measure(self) -> float:
        """Seconds of one ``act``."""
        return statistics.median(self._block() for _ in range(BLOCKS))

    def _block(self) -> float:
        now = time.thread_time if self.clock == "cpu" else time.perf_counter
        act = self.act
        began = now()
        for _ in range(self.times):
            act()
        return (now() - began) / self.times
