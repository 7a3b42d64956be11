"""How slots become history: a minute for a day, ten minutes for a week, an hour for thirty days. No database in here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from extensions.monitoring.reader import Point
from extensions.monitoring.sketch import Sketch
from extensions.monitoring.slots import SLOT_S
from extensions.monitoring.store import SLOTS_KEPT_S, Store

MINUTE, TEN_MINUTES, HOUR = 60, 600, 3600
STEPS: Final = (MINUTE, TEN_MINUTES, HOUR)
_DAY: Final = 86_400
_KEPT: Final = {MINUTE: (_DAY, TEN_MINUTES), TEN_MINUTES: (7 * _DAY, HOUR), HOUR: (30 * _DAY, HOUR)}
"""Step → how long its points are kept, and what the end of that is rounded down to: never half of a coarser slot goes."""
SETTLE_S: Final = 5
"""So long after its end a minute is rolled up; what comes later is rolled up again."""
_TOUCHED_S: Final = 150
"""A minute that was written so lately is rolled up again. More than two turns of the clock."""


def kept_since(step_s: int, now: float) -> int:
    """The first slot of that step which is still kept, in seconds since 1970."""
    age, rounded = _KEPT[step_s]
    return int(now - age) // rounded * rounded


def due_minutes(store: Store, rolled_until: int, now: float) -> list[int]:
    """The minutes that are to be rolled up now: those that ended since the last time, and those with late news."""
    newest = int(now - SETTLE_S) // MINUTE * MINUTE - MINUTE
    oldest = int(now - SLOTS_KEPT_S) // MINUTE * MINUTE + MINUTE
    touched = store.touched_minutes(now - _TOUCHED_S if rolled_until else 0.0) or []
    missed = range(max(rolled_until, oldest), newest + 1, MINUTE) if rolled_until else ()
    return [minute for minute in sorted({*touched, *missed}) if oldest <= minute <= newest]


def minute_points(store: Store, minute: int) -> list[Point] | None:
    """Every series of that minute, of all processes; None where Redis does not say."""
    read = store.read(range(minute, minute + MINUTE, SLOT_S))
    if read is None:
        return None
    merged: dict[tuple[str, str], Sketch] = {}
    for slots in read.values():
        for slot in slots:
            for series, sketch in slot.series.items():
                merged.setdefault(series, Sketch()).merge(sketch)
    return [Point(metric, labels, minute, MINUTE, sketch) for (metric, labels), sketch in merged.items()]


def coarser(points: Iterable[Point], step_s: int) -> list[Point]:
    """The same in slots of ``step_s``; exactly what had been measured in them at once."""
    merged: dict[tuple[str, str, int], Sketch] = {}
    for point in points:
        key = (point.metric, point.labels, point.slot // step_s * step_s)
        merged.setdefault(key, Sketch()).merge(point.sketch)
    return [Point(metric, labels, slot, step_s, sketch) for (metric, labels, slot), sketch in merged.items()]


def cover(since: int, until: int, coarsest_s: int, now: float) -> list[tuple[int, int, int]]:
    """Which points tell of a time, each moment once and in as few points as may be: ``(step, from, to)``.

    Args:
        coarsest_s: no coarser than this, unless nothing finer is kept any more.
    """
    found = []
    for step, slots in groupby(_steps(since, until, coarsest_s, now), key=lambda one: one[0]):
        starts = [start for _, start in slots]
        found.append((step, starts[0], starts[-1] + step))
    return found


def _steps(since: int, until: int, coarsest_s: int, now: float) -> Iterator[tuple[int, int]]:
    at = since // _finest(since, now) * _finest(since, now)
    while at < until:
        finest = _finest(at, now)
        fitting = [s for s in STEPS if finest < s <= coarsest_s and at % s == 0 and at + s <= until]
        step = max(fitting, default=finest)
        yield step, at
        at += step


def _finest(at: int, now: float) -> int:
    return next((step for step in STEPS if at >= kept_since(step, now)), HOUR)
