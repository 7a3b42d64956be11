"""Counts SQL statements and their time, for a request or any block of code. Knows SQLAlchemy, not Flask."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Engine, event

from extensions import trace

TEXT_LONGEST: Final = 2000
_NUMBERED = re.compile(r"(, )?%\((\w+?)_?\d+(?:_\d+)?\)s")


@dataclass(slots=True)
class Counted:
    """The statements of one request or block: how many, how long together (ms), and their texts."""

    count: int = 0
    total_ms: float = 0.0
    statements: list[str] = field(default_factory=list)
    keeps_texts: bool = False
    where: str = ""
    """What they are for, where that is no request of Flask's."""


@dataclass(frozen=True, slots=True)
class SlowStatement:
    """A statement over the threshold. Its text has no values: those are parameters, which are not kept."""

    text: str
    ms: float
    at: float
    context: str


_current: ContextVar[Counted | None] = ContextVar("counted_statements", default=None)


def begin() -> Counted:
    """Count from here on in this context."""
    counted = Counted()
    _current.set(counted)
    return counted


@contextmanager
def counting(where: str) -> Iterator[Counted]:
    """Count in this context while the block runs, for what goes on outside of Flask's requests."""
    counted = Counted(where=where)
    token = _current.set(counted)
    try:
        yield counted
    finally:
        _current.reset(token)


def current() -> Counted | None:
    """What has been counted in this context."""
    return _current.get()


@contextmanager
def count_statements(engine: Engine) -> Iterator[Counted]:
    """Count every statement of ``engine``, of all threads, while the block runs. For tests and benchmarks."""
    counted = Counted(keeps_texts=True)

    def executed(*args: Any) -> None:
        counted.count += 1
        counted.statements.append(_own_text(args[2], args[4]))

    event.listen(engine, "after_cursor_execute", executed)
    try:
        yield counted
    finally:
        event.remove(engine, "after_cursor_execute", executed)


class Watch:
    """Measures the statements of one engine, and keeps the slow ones."""

    def __init__(
        self,
        threshold_ms: float,
        kept: int,
        on_slow: Callable[[SlowStatement], None],
        where: Callable[[], str],
    ) -> None:
        self.slow: deque[SlowStatement] = deque(maxlen=kept)
        self.count = 0
        self.slow_count = 0
        self.total_ms = 0.0
        self._threshold_ms = threshold_ms
        self._on_slow = on_slow
        self._where = where

    def attach(self, engine: Engine) -> None:
        """Measure ``engine`` from now on."""
        event.listen(engine, "before_cursor_execute", self._before)
        event.listen(engine, "after_cursor_execute", self._after)

    def _before(
        self, _connection: Any, _cursor: Any, _text: str, _values: Any, context: Any, _many: bool
    ) -> None:
        context.started = time.perf_counter()

    def _after(
        self, _connection: Any, _cursor: Any, text: str, _values: Any, context: Any, _many: bool
    ) -> None:
        ms = (time.perf_counter() - context.started) * 1000
        text = _own_text(text, context)
        trace.add(trace.SQL, text, context.started, ms)
        self.count += 1
        self.total_ms += ms
        counted = _current.get()
        if counted is not None:
            counted.count += 1
            counted.total_ms += ms
        if ms >= self._threshold_ms:
            statement = SlowStatement(normalised(text), ms, time.time(), self._where())
            self.slow.append(statement)
            self.slow_count += 1
            self._on_slow(statement)


def _own_text(text: str, context: Any) -> str:
    """The statement that was asked for, without what a listener has put before it on its way."""
    return getattr(context, "statement", None) or text


def normalised(text: str) -> str:
    """A statement's text, on one line, with numbered parameters of one name made one."""
    line = " ".join(text.split())[:TEXT_LONGEST]
    return _NUMBERED.sub(lambda match: f"{match[1] or ''}%({match[2]})s", line)
