"""Who holds what a process loses: objects by type, and memory by the line that asked for it where that is traced.

Types are counted twice, a short while apart. Lines are told only where the process was started with ``PYTHONTRACEMALLOC=1``:
tracing is never begun or ended here, as CPython 3.11 may crash when it ends while other threads ask for memory
(python/cpython#128679).
"""

from __future__ import annotations

import gc
import tracemalloc
from collections import Counter
from itertools import chain
from pathlib import PurePath
from typing import Any, Final

SHOWN: Final = 5
_SHARE_LEAST: Final = 0.05
_BYTES_LEAST: Final = 65_536
_COUNT_LEAST: Final = 100
_HERE: Final = (tracemalloc.Filter(False, tracemalloc.__file__), tracemalloc.Filter(False, __file__))

Culprit = dict[str, Any]
"""``what``, and ``bytes`` or ``count``: what came in the while and is still there."""


class Suspects:
    """One while of watching who keeps what."""

    def __init__(self) -> None:
        self._types: Counter[type] = Counter()
        self._lines: tracemalloc.Snapshot | None = None
        self.is_watching = False

    def begin(self) -> None:
        """Remember what there is now."""
        self.is_watching = True
        self._types = _types()
        self._lines = _snapshot()

    def end(self) -> list[Culprit]:
        """What came since ``begin`` and is still there, the most first."""
        grown = _types()
        grown.subtract(self._types)
        found = _grown_lines(self._lines) + [
            {"what": f"{kind.__module__}.{kind.__qualname__}", "count": count}
            for kind, count in grown.most_common(SHOWN)
            if count >= _COUNT_LEAST
        ]
        self.drop()
        return found

    def drop(self) -> None:
        """End without an answer."""
        self.is_watching = False
        self._types, self._lines = Counter(), None


def _snapshot() -> tracemalloc.Snapshot | None:
    return tracemalloc.take_snapshot().filter_traces(_HERE) if tracemalloc.is_tracing() else None


def _grown_lines(before: tracemalloc.Snapshot | None) -> list[Culprit]:
    now = None if before is None else _snapshot()
    if before is None or now is None:
        return []
    grown = [one for one in now.compare_to(before, "lineno") if one.size_diff > 0]
    grown.sort(key=lambda one: -one.size_diff)
    least = max(_SHARE_LEAST * sum(one.size_diff for one in grown), _BYTES_LEAST)
    return [
        {"what": _place(one.traceback[0]), "bytes": one.size_diff}
        for one in grown[:SHOWN]
        if one.size_diff >= least
    ]


def _types() -> Counter[type]:
    # All in one call of C code, list included, so that no other thread runs meanwhile: it may be in the middle of making a
    # tuple, which must not be referred to from here when it goes on (a SystemError there; see ``gc.get_referrers``).
    return Counter(map(type, chain.from_iterable(map(gc.get_objects, (None,)))))


def _place(frame: tracemalloc.Frame) -> str:
    """The line, with as much of its path as names the module."""
    return f"{'/'.join(PurePath(frame.filename).parts[-3:])}:{frame.lineno}"
