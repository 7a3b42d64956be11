"""Whether a process loses memory: the trend of what is left after collections, over a quarter of an hour to three hours."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, NamedTuple

from extensions.memory.trend import Trend, theil_sen, trend_of

MIB: Final = 1_048_576
WINDOWS: Final = ((12, 1), (15, 1), (12, 4), (12, 16))
"""Bins, and points of a bin. The first two see a fast leak within a quarter of an hour, the others a slow one in noise."""
KEPT: Final = 480
"""Points that are remembered: what a process has had before is no leak."""
ALPHA: Final = 0.01
RISE_LEAST: Final = 8 * MIB
"""Less than this in a window is what fragmentation does."""
CONFIRMATIONS: Final = 2
"""So many of the last ``LOOKS`` points must find it."""
LOOKS: Final = 4
CLEARS_AFTER: Final = 15
"""Points without a leak after which one is over: a cache that has filled leaks no more."""
_PLAIN: Final = 15
"""Points of the trend that is told where there is no leak."""
_OVER_NOISE: Final = 6.0
"""By how many standard deviations of the noise it must rise."""
_HISTORY_LEAST: Final = 30
_HALF_LEAST: Final = 0.25
_STEP_SAYS_MORE: Final = 1.2


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a process's memory does.

    Args:
        bytes_per_point: what a point adds.
        confidence: that it rises, from 0 to 1.
        is_suspect: one of the last points looked like a leak.
    """

    bytes_per_point: float = 0.0
    confidence: float = 0.0
    is_suspect: bool = False
    is_leak: bool = False


class Rising(NamedTuple):
    """A trend that is a leak's, and the points of its bins."""

    trend: Trend
    step: int


class LeakDetector:
    """Takes a point at a time, all the same time apart: the bytes that a process has after a collection.

    The bounds were chosen by simulation (``tests/extensions/test_memory_leaks.py``): noise of 0.3 to 2 MB that depends on
    the minute before (up to 0.95), sawteeth, steps and caches that fill.
    """

    def __init__(self) -> None:
        self._points: list[float] = []
        self._found: deque[bool] = deque(maxlen=LOOKS)
        self._quiet = CLEARS_AFTER
        self._rising: Rising | None = None
        self.is_leak = False

    def add(self, size: float) -> bool:
        """Whether it is a leak, with this point."""
        self._points.append(size)
        del self._points[:-KEPT]
        self._rising = next((rising for window in WINDOWS if (rising := self._leak_of(*window))), None)
        self._found.append(self._rising is not None)
        is_confirmed = self._rising is not None and sum(self._found) >= CONFIRMATIONS
        self._quiet = 0 if is_confirmed else self._quiet + 1
        self.is_leak = is_confirmed or (self.is_leak and self._quiet < CLEARS_AFTER)
        return self.is_leak

    def verdict(self) -> Verdict:
        """What is known with the last point."""
        trend, step = self._rising or (self._plain(), 1)
        return Verdict(trend.slope / step, 1 - trend.p_value, any(self._found), self.is_leak)

    def _plain(self) -> Trend:
        """The trend of the last quarter of an hour, whatever it is."""
        newest = self._points[-_PLAIN:]
        return trend_of(newest) if len(newest) >= _PLAIN // 2 else Trend(0.0, 0.0, 1.0)

    def _leak_of(self, count: int, step: int) -> Rising | None:
        """The trend of the last ``count`` bins of ``step`` points, where it is a leak's. The cheap questions come first."""
        points, ends = self._points, 3 * step
        older = len(points) - count * step
        if older < 0:
            return None
        last = _binned(points[-ends:], step)
        rise = median(last) - median(_binned(points[older : older + ends], step))
        if rise < RISE_LEAST:
            return None
        history = points[:older]
        if history and min(last) <= max(history):
            # It has been there before: what comes and goes is no leak.
            return None
        bins = _binned(points[older:], step)
        trend = trend_of(bins)
        noise = _spread(trend.residuals(bins))
        if len(history) >= _HISTORY_LEAST:
            noise = max(noise, _spread(_binned(history, step)))
        if rise < _OVER_NOISE * noise or trend.p_value > ALPHA:
            return None
        return Rising(trend, step) if _goes_on(bins, trend.slope) and _is_no_step(bins, trend) else None


def _binned(points: Sequence[float], step: int) -> list[float]:
    if step == 1:
        return list(points)
    return [median(points[at : at + step]) for at in range(0, len(points), step)]


def _spread(values: Sequence[float]) -> float:
    """The standard deviation as the median absolute deviation tells it, which outliers do not widen."""
    middle = median(values)
    return 1.4826 * median(abs(value - middle) for value in values)


def _goes_on(bins: Sequence[float], slope: float) -> bool:
    """Whether it rises in both halves: a cache that fills up rises less and less."""
    half = len(bins) // 2
    return all(theil_sen(part)[0] >= _HALF_LEAST * slope for part in (bins[:half], bins[half:]))


def _is_no_step(bins: Sequence[float], trend: Trend) -> bool:
    """Whether a line says about as much of it as one step at the best place would."""
    off_line = sum(map(abs, trend.residuals(bins)))
    return off_line < _STEP_SAYS_MORE * min(_off_step(bins, at) for at in range(1, len(bins)))


def _off_step(bins: Sequence[float], at: int) -> float:
    return sum(abs(value - median(part)) for part in (bins[:at], bins[at:]) for value in part)
