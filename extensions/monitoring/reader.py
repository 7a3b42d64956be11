"""What all processes measured in a stretch of time: the newest from Redis, what is older from the roll-ups."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from extensions.monitoring.recorder import Recorder
from extensions.monitoring.settled import PackedSlot, Settled
from extensions.monitoring.sketch import Sketch
from extensions.monitoring.slots import SLOT_S, Series, Slot, slot_start
from extensions.monitoring.store import SLOTS_KEPT_S, unpacked

log = logging.getLogger(__name__)

LIVE_S: Final = 900
"""Stretches up to this are read from slots alone."""
ALIVE_S: Final = 25.0
"""A process that has not written for so long is not counted as alive; one with nothing to do writes once in a slot."""
_SETTLED_S: Final = 60
"""A slot that ended so long ago is not written any more, but by a process that could not reach Redis."""
_RECENT_MOST: Final = 10
"""Slots that may still be written, of which is kept what they held when they were last read."""
_SETTLED_BYTES: Final = 4_000_000
"""What settled slots may take in a process: an hour of some hundred routes, a quarter of an hour of a thousand."""
_REREAD_S: Final = 300
"""How long a settled slot is believed: what a process sends late is seen after that."""


@dataclass(frozen=True, slots=True)
class Point:
    """One series in one slot of ``step_s`` seconds that began at ``slot`` (seconds since 1970)."""

    metric: str
    labels: str
    slot: int
    step_s: int
    sketch: Sketch


class Unreadable(Exception):
    """The history cannot be read now."""


class History(Protocol):
    """Roll-ups in a database. The extension knows none; whoever has one gives it (``Reader.history``).

    Both methods may raise ``Unreadable``.
    """

    def read(self, metric: str, since: int, until: int, step_s: int, labels: str | None) -> Iterable[Point]:
        """Points of slots that begin in the time, none finer than ``step_s`` where a coarser one covers it.

        Args:
            labels: of one series; None: of every one.
        """

    def rolled_until(self) -> int:
        """The end of the last minute that was rolled up, in seconds since 1970; 0: none."""


@dataclass(slots=True)
class Merged:
    """Series over a stretch of time, of all processes. ``missing`` says what could not be read."""

    series: dict[Series, Sketch] = field(default_factory=dict)
    in_flight: int = 0
    processes: int = 0
    missing: list[str] = field(default_factory=list)

    def into(self, series: Series) -> Sketch:
        """The sketch of a series to add to, made when it is the first time."""
        found = self.series.get(series)
        if found is None:
            found = self.series[series] = Sketch()
        return found

    def of(self, metric: str) -> dict[str, Sketch]:
        """Labels → sketch of a metric."""
        return {labels: sketch for (name, labels), sketch in self.series.items() if name == metric}

    def only(self, metric: str, labels: str) -> Merged:
        """This series and no other, where it was measured."""
        found = self.series.get((metric, labels))
        return Merged({} if found is None else {(metric, labels): found})

    def one(self, metric: str, labels: str = "") -> Sketch:
        """One series; an empty one where nothing was measured."""
        return self.series.get((metric, labels)) or Sketch()


@dataclass(frozen=True, slots=True)
class _Read:
    """A slot of all processes: their series together, and ``heads`` with none. ``packed`` is what it was read from."""

    slot: PackedSlot
    packed: list[bytes]
    heads: list[Slot]


class Reader:
    """Reads for one app. Slots that are settled are read once.

    Args:
        recorder: of this process; what it has is all there is while Redis is away.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._settled = Settled(_SETTLED_BYTES)
        self._recent: dict[int, _Read] = {}
        self._lock = threading.Lock()
        self.history: History | None = None

    def window(self, window_s: float, metrics: Sequence[str] = ()) -> Merged:
        """The last ``window_s`` seconds, in whole slots.

        Args:
            metrics: those that are wanted of the roll-ups, where it reaches so far back.
        """
        now = self._recorder.clock()
        since = slot_start(now - window_s)
        merged = Merged()
        live_since = since
        if self.history is not None and window_s > LIVE_S:
            live_since = self._add_history(merged, self.history, since, metrics)
        live_since = max(live_since, slot_start(now - SLOTS_KEPT_S))
        self._add_live(merged, range(live_since, slot_start(now) + 1, SLOT_S))
        return merged

    def newest(self, window_s: float, metric: str) -> Merged:
        """The last ``window_s`` seconds of one metric, all its labels together; up to an hour, and quickly: for what is asked all the time."""
        now = self._recorder.clock()
        merged = Merged()
        starts = range(slot_start(now - window_s), slot_start(now) + 1, SLOT_S)
        for slot in self._slots(starts, merged.missing, [(metric, "")]).values():
            for _, packed in slot.of(metric, ""):
                merged.into((metric, "")).merge_packed(packed)
        self._add_alive(merged)
        return merged

    def points(
        self, metric: str, since: int, until: int, step_s: int, labels: str | None = None
    ) -> tuple[list[Point], list[str]]:
        """The points of a metric by slots of ``step_s``, the oldest first, and what could not be read."""
        found, missing = self.points_of([(metric, labels)], since, until, step_s)
        return found[0], missing

    def points_of(
        self, asked: Sequence[tuple[str, str | None]], since: int, until: int, step_s: int
    ) -> tuple[list[list[Point]], list[str]]:
        """The points of several metrics, in the order asked; slots are read once for all of them.

        Args:
            asked: of each its metric, and the labels of one series (None: of every one).
        """
        missing: list[str] = []
        now = int(self._recorder.clock())
        live_since = max(slot_start(since), slot_start(now - SLOTS_KEPT_S))
        merged: list[dict[tuple[int, str], Sketch]] = [{} for _ in asked]
        if self.history is not None and step_s >= 60:
            live_since = self._add_rolled(
                self.history, merged, asked, since, until, step_s, live_since, missing
            )
        starts = range(live_since, min(until, slot_start(now) + SLOT_S), SLOT_S)
        for start, slot in self._slots(starts, missing, asked).items():
            for into, (metric, labels) in zip(merged, asked, strict=True):
                for found, packed in slot.of(metric, labels):
                    _sketch_of(into, start, step_s, found).merge_packed(packed)
        points = [
            [Point(metric, key[1], key[0], step_s, into[key]) for key in sorted(into)]
            for into, (metric, _) in zip(merged, asked, strict=True)
        ]
        return points, missing

    def _add_rolled(
        self,
        history: History,
        merged: Sequence[dict[tuple[int, str], Sketch]],
        asked: Sequence[tuple[str, str | None]],
        since: int,
        until: int,
        step_s: int,
        live_since: int,
        missing: list[str],
    ) -> int:
        """Add the roll-ups of a time; from when on slots are wanted."""
        try:
            live_since = max(live_since, min(history.rolled_until(), until))
            for into, (metric, labels) in zip(merged, asked, strict=True):
                for point in history.read(metric, since, min(until, live_since), step_s, labels):
                    _sketch_of(into, point.slot, step_s, point.labels).merge(point.sketch)
        except Unreadable as error:
            log.warning("history could not be read: %s", error)
            missing.append("history")
        return live_since

    def forget(self) -> int:
        """Forget what was read before; about how many bytes."""
        with self._lock:
            recent = self._recent.values()
            size = self._settled.size + sum(read.slot.size + sum(map(len, read.packed)) for read in recent)
            self._settled.clear()
            self._recent.clear()
        return size

    def _add_history(self, merged: Merged, history: History, since: int, metrics: Sequence[str]) -> int:
        """Add the roll-ups since then; from when on slots are wanted."""
        try:
            until = max(history.rolled_until(), since)
            for metric in metrics:
                for point in history.read(metric, since, until, 3600, None):
                    merged.into((point.metric, point.labels)).merge(point.sketch)
        except Unreadable as error:
            # A dead database is no reason to show nothing: the newest is in Redis.
            log.warning("history could not be read: %s", error)
            merged.missing.append("history")
            return since
        return until

    def _add_live(self, merged: Merged, starts: Sequence[int]) -> None:
        for slot in self._slots(starts, merged.missing, None).values():
            for series, packed in slot.all():
                merged.into(series).merge_packed(packed)
        self._add_alive(merged)

    def _add_alive(self, merged: Merged) -> None:
        alive = self._alive()
        merged.in_flight = sum(slot.in_flight for slot in alive) if alive else self._recorder.in_flight
        merged.processes = max(len(alive), 1)

    def _alive(self) -> list[Slot]:
        """The newest slot of each process that is alive."""
        now = time.time()
        starts = [slot_start(now - SLOT_S * ago) for ago in (2, 1, 0)]
        read = self._recorder.store.read_packed(starts) or {}
        newest = {
            slot.process: slot
            for start, packed in read.items()
            for slot in self._read_of(start, packed, now).heads
        }
        return [slot for slot in newest.values() if now - slot.at <= ALIVE_S]

    def _slots(
        self, starts: Sequence[int], missing: list[str], asked: Sequence[tuple[str, str | None]] | None
    ) -> dict[int, PackedSlot]:
        """Slot → its series, of all processes; of this one alone while Redis is away.

        Args:
            asked: what has to be among them, as ``points_of`` takes it; None: everything.
        """
        now = time.time()
        known = self._known(starts, now, asked)
        wanted = [start for start in starts if start not in known]
        read = self._recorder.store.read_packed(wanted)
        if read is None:
            if self._recorder.store.is_there:
                missing.append("other processes (Redis is away)")
            return self._own(starts)
        fresh = {start: self._fresh(start, packed, now) for start, packed in read.items()}
        found = known | fresh
        return {start: found[start] for start in starts}

    def _known(
        self, starts: Sequence[int], now: float, asked: Sequence[tuple[str, str | None]] | None
    ) -> dict[int, PackedSlot]:
        """Those that were read before, and are believed still."""
        known: dict[int, PackedSlot] = {}
        with self._lock:
            for start in starts:
                slot = self._settled.get(start)
                if slot is not None and now - slot.at < _REREAD_S and slot.knows(asked):
                    known[start] = slot
        return known

    def _fresh(self, start: int, packed: list[bytes], now: float) -> PackedSlot:
        """What was just read, and kept where it is settled."""
        slot = self._read_of(start, packed, now).slot
        if start + SLOT_S + _SETTLED_S < now:
            with self._lock:
                self._settled.put(start, replace(slot, at=now))
                self._settled.remove_before(slot_start(now - SLOTS_KEPT_S))
        return slot

    def _read_of(self, start: int, packed: list[bytes], now: float) -> _Read:
        """What is packed; unpacked only where it is not what was read of this slot before."""
        before = self._recent.get(start)
        if before is not None and before.packed == packed:
            return before
        slots = unpacked(packed)
        heads = [Slot(one.start, {}, one.in_flight, one.at, one.process) for one in slots]
        read = _Read(PackedSlot.pack(now, _merged_series(slots)), packed, heads)
        with self._lock:
            self._recent[start] = read
            for old in sorted(self._recent)[:-_RECENT_MOST]:
                del self._recent[old]
        return read

    def _own(self, starts: Sequence[int]) -> dict[int, PackedSlot]:
        slots = self._recorder.own_slots(frozenset(starts))
        return {slot.start: PackedSlot.pack(slot.at, slot.series) for slot in slots}


class Cached:
    """The last answers by key, each for some seconds; one caller computes, the others wait for it."""

    MOST: Final = 64

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[object, tuple[float, object]] = {}

    def get(self, key: object, compute: Callable[[], object]) -> object:
        """The answer, computed where there is none young enough."""
        with self._lock:
            at, answer = self._held.get(key, (float("-inf"), None))
            if self._clock() - at < self._seconds:
                return answer
            answer = compute()
            self._held[key] = (self._clock(), answer)
            while len(self._held) > self.MOST:
                del self._held[next(iter(self._held))]
            return answer

    def forget(self) -> None:
        """Compute every answer anew when it is next asked for."""
        with self._lock:
            self._held.clear()


def _merged_series(slots: Iterable[Slot]) -> dict[Series, Sketch]:
    merged = Merged()
    for slot in slots:
        for series, sketch in slot.series.items():
            merged.into(series).merge(sketch)
    return merged.series


def _sketch_of(merged: dict[tuple[int, str], Sketch], slot: int, step_s: int, labels: str) -> Sketch:
    """The sketch of a point to add to, made when it is the first time."""
    key = (slot // step_s * step_s, labels)
    found = merged.get(key)
    if found is None:
        found = merged[key] = Sketch()
    return found
