"""Who holds what a process loses: memory by the line that asked for it, and objects by type, over a short while.

Both are bounded. Tracing (``tracemalloc``, one frame) slows what allocates, so it is on only while a leak is suspected, for
some minutes and while its own tables are small; nothing is traced at other times. Types are counted twice.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections import Counter
from pathlib import PurePath
from typing import Any, Final

SHOWN: Final = 5
TABLES_MOST: Final = 64 * 1_048_576
"""The size of tracing's own tables at which it ends."""
_SHARE_LEAST: Final = 0.05
_BYTES_LEAST: Final = 65_536
_COUNT_LEAST: Final = 100
_HERE: Final = (tracemalloc.Filter(False, tracemalloc.__file__), tracemalloc.Filter(False, __file__))

Culprit = dict[str, Any]
"""``what``, and ``bytes`` or ``count``: what came in the while and is still there."""


class Suspects:
    """One while of watching who keeps what."""

    def __init__(self) -> None:
        self._is_ours = False
        self._types: Counter[type] = Counter()
        self.is_watching = False

    def begin(self) -> None:
        """Count types, and trace memory from here on, unless somebody else does."""
        self.is_watching = True
        self._types = _types()
        self._is_ours = not tracemalloc.is_tracing()
        if self._is_ours:
            tracemalloc.start(1)

    @property
    def is_too_large(self) -> bool:
        """Whether the tables of tracing are at their bound."""
        return self.is_watching and tracemalloc.get_tracemalloc_memory() > TABLES_MOST

    def end(self) -> list[Culprit]:
        """What came since ``begin`` and is still there, the most first; tracing ends."""
        self.is_watching = False
        grown = _types()
        grown.subtract(self._types)
        self._types = Counter()
        found = self._lines() + [
            {"what": f"{kind.__module__}.{kind.__qualname__}", "count": count}
            for kind, count in grown.most_common(SHOWN)
            if count >= _COUNT_LEAST
        ]
        del grown
        return found

    def drop(self) -> None:
        """End without an answer."""
        self.is_watching = False
        self._types = Counter()
        if self._is_ours:
            tracemalloc.stop()

    def _lines(self) -> list[Culprit]:
        if not self._is_ours:
            # Of another's tracing it is not known what came in this while.
            return []
        statistics = tracemalloc.take_snapshot().filter_traces(_HERE).statistics("lineno")
        tracemalloc.stop()
        least = max(_SHARE_LEAST * sum(one.size for one in statistics), _BYTES_LEAST)
        return [
            {"what": _place(one.traceback[0]), "bytes": one.size}
            for one in statistics[:SHOWN]
            if one.size >= least
        ]


def _types() -> Counter[type]:
    return Counter(map(type, gc.get_objects()))


def _place(frame: tracemalloc.Frame) -> str:
    """The line, with as much of its path as names the module."""
    return f"{'/'.join(PurePath(frame.filename).parts[-3:])}:{frame.lineno}"
