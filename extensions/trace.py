"""What one request or job spends its time on: whoever does a piece of work says so here, and need not know who listens.

With nobody listening ``add`` costs one look-up. Shared by extensions as ``hold_off`` is.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Final, NamedTuple

SQL, CACHE, OUTSIDE, JSON = "sql", "cache", "outside", "json"
"""The kinds of work: a statement, a trip to the cache's Redis, a call to somebody else's service, writing JSON."""
LOOKUP: Final = "lookup"
"""Not work but the outcome of a look-up in the cache; its name is ``namespace:hits``, ``namespace:misses`` and so on."""
EVENT: Final = "event"
"""Nor is this work: something happened that is to be counted; its name is ``what:which``, such as ``payment:paid``."""
SPANS_MOST: Final = 200
"""Of a longer trace the first so many are kept one by one, the others as their count and time."""


_NOTHING: Final[Mapping[str, list[float]]] = MappingProxyType({})


class Span(NamedTuple):
    """A piece of work. ``started`` is of ``time.perf_counter()``."""

    kind: str
    name: str
    started: float
    ms: float
    has_failed: bool


class Trace:
    """The work of one request or job, in the order of its end."""

    __slots__ = ("beyond", "is_over", "spans")

    def __init__(self) -> None:
        self.is_over = False
        """Put by whoever began it: nothing is added any more, and it is nobody's ``current``."""
        self.spans: list[Span] = []
        self.beyond: Mapping[str, list[float]] = _NOTHING
        """Kind → count and milliseconds of what ``spans`` has no room for."""

    def add(self, span: Span) -> None:
        if len(self.spans) < SPANS_MOST:
            self.spans.append(span)
            return
        count, ms = self.beyond.get(span.kind, (0, 0.0))
        self.beyond = {**self.beyond, span.kind: [count + 1, ms + span.ms]}

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
    """Trace what is done from here on in this context, until the trace ``is_over``.

    That is a mark and no change of the context, as some requests end where garbage is collected: a collection may begin in the
    middle of another ``ContextVar.set`` of this context, which then works on memory that has been freed, and the process dies
    (CPython before 3.12, python/cpython#148891).
    """
    trace = Trace()
    _current.set(trace)
    return trace


def current() -> Trace | None:
    """The trace of this context."""
    trace = _current.get()
    return None if trace is None or trace.is_over else trace


def add(kind: str, name: str, started: float = 0.0, ms: float = 0.0, *, has_failed: bool = False) -> None:
    """Say that a piece of work is done; heard only where somebody traces."""
    trace = _current.get()
    if trace is not None and not trace.is_over:
        trace.add(Span(kind, name, started, ms, has_failed))


def add_span(span: Span) -> None:
    """The same, for whoever keeps a span that is the same each time: the outcome of a look-up, an event."""
    trace = _current.get()
    if trace is not None and not trace.is_over:
        trace.add(span)
