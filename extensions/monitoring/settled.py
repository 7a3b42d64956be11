"""Slots that are not written any more, kept by a process in few bytes: who draws an hour asks for 360 of them again and again."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from extensions.monitoring.sketch import Sketch
from extensions.monitoring.slots import Series

Packed = Sequence[Any]
"""What ``Sketch.pack`` gives."""
_Row = tuple[str, Packed]
_COMPRESSED_FROM: Final = 512
"""A shorter part is as short as it was when it is compressed, and takes longer to read."""
_PART_BYTES: Final = 120
"""What a part takes beside its bytes: the object, and its place in a dictionary."""
_SLOT_BYTES: Final = 700
_NARROW_BYTES: Final = 600
"""A longer part is one of many labels (routes, statements): of an old slot it is the first to go."""

_WHOLE_LEAST: Final = 12
"""So many of the newest stay whole as long as anything older can go."""


@dataclass(frozen=True, slots=True)
class PackedSlot:
    """The series of a slot of all processes, by metric: ``whole`` those of all labels together, ``labelled`` the others.

    Of the metrics in ``left_out`` it does not know the labelled ones. ``at``: when it was read, in seconds since 1970.
    """

    at: float
    whole: dict[str, bytes]
    labelled: dict[str, bytes]
    left_out: frozenset[str] = frozenset()

    @staticmethod
    def pack(at: float, series: Mapping[Series, Sketch]) -> PackedSlot:
        """The same as ``series``, in about a twenty-fifth of the memory."""
        rows: tuple[dict[str, list[_Row]], dict[str, list[_Row]]] = ({}, {})
        for (metric, labels), sketch in series.items():
            of_metric = rows[bool(labels)].setdefault(sys.intern(metric), [])
            of_metric.append((labels, sketch.pack()))
        whole, labelled = ({metric: _part(found) for metric, found in one.items()} for one in rows)
        return PackedSlot(at, whole, labelled)

    def of(self, metric: str, labels: str | None) -> Iterator[tuple[str, Packed]]:
        """Labels → what its sketch packs, of a metric; of one series where ``labels`` are given."""
        parts = [self.whole] if labels == "" else [self.labelled] if labels else [self.whole, self.labelled]
        for part in parts:
            for found, packed in _rows(part.get(metric)):
                if labels is None or found == labels:
                    yield found, packed

    def all(self) -> Iterator[tuple[Series, Packed]]:
        """Every series."""
        for part in (self.whole, self.labelled):
            for metric, rows in part.items():
                for labels, packed in _rows(rows):
                    yield (metric, labels), packed

    def knows(self, asked: Iterable[tuple[str, str | None]] | None) -> bool:
        """Whether nothing is left out of what is asked: a metric, and the labels of one series or None; None: of everything."""
        if not self.left_out:
            return True
        return asked is not None and all(
            labels == "" or metric not in self.left_out for metric, labels in asked
        )

    def narrow(self) -> PackedSlot:
        """The same without the labelled series of metrics that have many."""
        wide = {metric for metric, part in self.labelled.items() if len(part) > _NARROW_BYTES}
        labelled = {metric: part for metric, part in self.labelled.items() if metric not in wide}
        return replace(self, labelled=labelled, left_out=self.left_out | wide)

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        parts = [*self.whole.values(), *self.labelled.values()]
        return _SLOT_BYTES + sum(len(part) + _PART_BYTES for part in parts)


class Settled:
    """Packed slots by their start: the newest whole, of older ones what charts ask, and the oldest not at all, as there is room.

    Not for several threads at a time.

    Args:
        most_bytes: what they may take together.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._slots: dict[int, PackedSlot] = {}
        self._sizes: dict[int, int] = {}
        self.size = 0
        """About how many bytes they take."""

    def __len__(self) -> int:
        return len(self._slots)

    def get(self, start: int) -> PackedSlot | None:
        return self._slots.get(start)

    def put(self, start: int, slot: PackedSlot) -> None:
        """Keep it, and make room."""
        self._set(start, slot)
        if self.size > self._most_bytes:
            self._narrow()
        while self.size > self._most_bytes:
            self.remove(min(self._slots))

    def remove_before(self, start: int) -> None:
        """Remove those that began earlier."""
        for old in [one for one in self._slots if one < start]:
            self.remove(old)

    def remove(self, start: int) -> None:
        self.size -= self._sizes.pop(start)
        del self._slots[start]

    def clear(self) -> None:
        self._slots.clear()
        self._sizes.clear()
        self.size = 0

    def _narrow(self) -> None:
        """Leave out of the oldest what has many labels."""
        for old in sorted(self._slots)[:-_WHOLE_LEAST]:
            if self.size <= self._most_bytes:
                return
            if not self._slots[old].left_out:
                self._set(old, self._slots[old].narrow())

    def _set(self, start: int, slot: PackedSlot) -> None:
        self.size -= self._sizes.get(start, 0)
        self._slots[start], self._sizes[start] = slot, slot.size
        self.size += self._sizes[start]


def _part(rows: list[_Row]) -> bytes:
    part = orjson.dumps(rows)
    # A copy, as orjson's own bytes keep the 16 KiB or more that they were written into.
    return bytes(memoryview(part)) if len(part) < _COMPRESSED_FROM else zlib.compress(part, 1)


def _rows(part: bytes | None) -> list[_Row]:
    if part is None:
        return []
    # What is compressed never begins as a list does.
    found: list[_Row] = orjson.loads(part if part.startswith(b"[") else zlib.decompress(part))
    return found
