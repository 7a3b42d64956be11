"""What one process has counted, in slots of ten seconds, and the form in which a slot goes to Redis."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from extensions.monitoring.sketch import Sketch

SLOT_S: Final = 10
KEPT: Final = 90
"""Slots kept in the process: what is shown while Redis is away, and sent once it is back (15 minutes)."""
OTHER: Final = "(other)"
"""The labels under which is counted what a process has no room for."""

Series = tuple[str, str]
"""A metric's name and its labels; what is of all labels together has none."""


@dataclass(slots=True)
class Slot:
    """Ten seconds of one process. ``in_flight`` is as it was at ``at``."""

    start: int
    series: dict[Series, Sketch] = field(default_factory=dict)
    in_flight: int = 0
    at: float = 0.0
    process: str = ""
    is_sent: bool = True
    """Whether Redis has all of it."""

    def pack(self) -> bytes:
        """The whole slot, as small as may be: it is written anew each second."""
        rows = [[metric, labels, *sketch.pack()] for (metric, labels), sketch in self.series.items()]
        return zlib.compress(orjson.dumps([self.start, self.at, self.process, self.in_flight, rows]), 1)

    @staticmethod
    def unpack(packed: bytes) -> Slot:
        """What ``pack`` packed."""
        start, at, process, in_flight, rows = orjson.loads(zlib.decompress(packed))
        series = {(row[0], row[1]): Sketch.unpack(row[2:]) for row in rows}
        return Slot(start, series, in_flight, at, process)


class Slots:
    """The slots of this process: the one that is being filled, and those before it. Only one thread may use it.

    One that is over and sent is kept packed: a thirtieth of its size, and seldom looked at again.

    Args:
        series_most: so many series in a slot; further ones of a metric are counted together.
    """

    def __init__(self, series_most: int) -> None:
        self._series_most = series_most
        self.kept: dict[int, Slot] = {}
        self._packed: dict[int, bytes] = {}
        self.folded_together = 0
        """How often a value went to the labels ``(other)``."""

    def at(self, now: float) -> Slot:
        """The slot of this time; those that have had their time go."""
        start = slot_start(now)
        slot = self.kept.get(start)
        if slot is None:
            packed = self._packed.pop(start, None)
            slot = self.kept[start] = Slot(start) if packed is None else Slot.unpack(packed)
            self._pack_what_is_over(start)
            for old in sorted((*self.kept, *self._packed))[:-KEPT]:
                self.kept.pop(old, None)
                self._packed.pop(old, None)
        return slot

    def copies(self, starts: frozenset[int]) -> list[Slot]:
        """The slots that began then, as they are now."""
        packed = [one for start, one in self._packed.items() if start in starts]
        packed += [slot.pack() for slot in self.kept.values() if slot.start in starts]
        return [Slot.unpack(one) for one in packed]

    def _pack_what_is_over(self, newest: int) -> None:
        for start, slot in list(self.kept.items()):
            if slot.is_sent and start < newest - SLOT_S:
                self._packed[start] = self.kept.pop(start).pack()

    def sketch(self, slot: Slot, metric: str, labels: str, values: int = 1) -> Sketch:
        """The sketch of a series in the slot, made when it is the first time; for so many values."""
        slot.is_sent = False
        found = slot.series.get((metric, labels))
        if found is None and labels and len(slot.series) >= self._series_most:
            self.folded_together += values
            labels = OTHER
            found = slot.series.get((metric, labels))
        if found is None:
            found = slot.series[metric, labels] = Sketch()
        return found

    def unsent(self) -> list[Slot]:
        """The slots that Redis has not, the oldest first."""
        return [self.kept[start] for start in sorted(self.kept) if not self.kept[start].is_sent]


def slot_start(at: float) -> int:
    """When the slot of this time began, in seconds since 1970."""
    return int(at) // SLOT_S * SLOT_S


def labels_text(labels: dict[str, Any]) -> str:
    """Labels as one text, the same for the same labels: ``circuit=daraja,outcome=ok``."""
    return ",".join(f"{name}={labels[name]}" for name in sorted(labels))
