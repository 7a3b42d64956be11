"""What one request or job spends its time on: whoever does a piece of work says so here, and need not know who listens.

With nobody listening ``add`` costs one look-up. Shared by extensions as ``hold_off`` is.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final, NamedTuple

SQL, CACHE, OUTSIDE, JSON = "sql", "cache", "outside", "json"
"""The kinds of work: a statement, a trip to the cache's Redis, a call to somebody else's service, writing JSON."""
LOOKUP: Final = "lookup"
"""Not work but the outcome of a look-up in the cache; its name is ``namespace:hits``, ``namespace:misses`` and so on."""
EVENT: Final = "event"
"""Nor is this work: something happened that is to be counted; its name is ``what:which``, such as ``payment:paid``."""
SPANS_MOST: Final = 200
"""Of a longer trace the first so many are kept one by one, the others as their count and time."""


class Span(NamedTuple):
    """A piece of work. ``started`` is of ``time.perf_counter()``."""

    kind: str
    name: str
    started: float
    ms: float
    has_failed: bool


class Trace:
    """The work of one request or job, in the order of its end."""

    __slots__ = ("beyond", "spans")

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.beyond: dict[str, list[float]] = {}
        """Kind → count and milliseconds of what ``spans`` has no room for."""

    def add(self, span: Span) -> None:
        if len(self.spans) < SPANS_MOST:
            self.spans.append(span)
            return
        totals = self.beyond.setdefault(span.kind, [0, 0.0])
        totals[0] += 1
        totals[1] += span.ms

    def totals(self) -> dict[str, list[float]]:
        """Kind → how many, and their milliseconds together."""
        found = {kind: list(totals) for kind, totals in self.beyond.items()}
        for span in self.spans:
            totals = found.setdefault(span.kind, [0, 0.0])
            totals[0] += 1
            totals[1] += span.ms
        return found


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def begin() -> Trace:
    """Trace what is done from here on in this context."""
    trace = Trace()
    _current.set(trace)
    return trace


def end(trace: Trace) -> None:
    """Trace no longer, unless another trace has begun in this context since.

    Never to be called where garbage is collected (``__del__``, a callback of ``weakref`` or ``gc``): a collection may begin in
    the middle of another ``ContextVar.set`` of this context, which then works on memory that has been freed, and the process
    dies (CPython before 3.12, python/cpython#148891).
    """
    if _current.get() is trace:
        _current.set(None)


def current() -> Trace | None:
    """The trace of this context."""
    return _current.get()


def add(kind: str, name: str, started: float = 0.0, ms: float = 0.0, *, has_failed: bool = False) -> None:
    """Say that a piece of work is done; heard only where somebody traces."""
    trace = _current.get()
    if trace is not None:
        trace.add(Span(kind, name, started, ms, has_failed))
