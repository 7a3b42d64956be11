"""Counts of values in logarithmic bins, from which any percentile is read with at most 1 % relative error.

DDSketch (Masson, Rim, Lee: *DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees*, VLDB 2019,
section 2). The bins are those of the library ``ddsketch``; its own store is dense (a float for every bin in between) and
costs a method call for each of four steps, ours is sparse: most routes fill some twenty bins.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson
from ddsketch.mapping import LogarithmicMapping

ACCURACY: Final = 0.01
LEAST: Final = 1e-3
"""What is under it, 1 µs where the unit is a millisecond, is nought."""
MOST: Final = 1e15
"""What is over it counts as it: so there are at most 2,074 bins."""
_MAPPING: Final = LogarithmicMapping(ACCURACY)
_BINS_A_DOUBLING: Final = 1 / math.log1p(2 * ACCURACY / (1 - ACCURACY)) * math.log(2)
_NOUGHT: Final = -1_000_000
"""The bin of nought: below all others, so that sorting puts it first."""


class Sketch:
    """Values of one series over one time: how many, their sum, how many were errors, and the bins.

    ``tally`` counts without bins: what has been added so has a mean and no percentiles.
    """

    __slots__ = ("bins", "count", "errors", "sum")

    def __init__(self, count: int = 0, total: float = 0.0, errors: int = 0) -> None:
        self.count = count
        self.sum = total
        self.errors = errors
        self.bins: dict[int, int] = {}

    def add(self, value: float, *, is_error: bool = False) -> None:
        """Add one value; a negative one counts as nought in the bins."""
        self.count += 1
        self.sum += value
        if is_error:
            self.errors += 1
        key = _bin_of(value)
        self.bins[key] = self.bins.get(key, 0) + 1

    def add_all(self, values: Sequence[float], errors: int = 0) -> None:
        """Add many, of which so many were errors."""
        self.tally(len(values), sum(values), errors)
        bins = self.bins
        for key in map(_bin_of, values):
            bins[key] = bins.get(key, 0) + 1

    def tally(self, count: int, total: float, errors: int = 0) -> None:
        """Add ``count`` values of which only the sum is known."""
        self.count += count
        self.sum += total
        self.errors += errors

    def merge(self, other: Sketch) -> None:
        """Add all that ``other`` holds. In any order, of any processes, the outcome is the same."""
        self.tally(other.count, other.sum, other.errors)
        bins = self.bins
        for key, count in other.bins.items():
            bins[key] = bins.get(key, 0) + count

    def merge_packed(self, packed: Sequence[Any]) -> None:
        """Add what another one's ``pack`` packed, about as fast as ``merge`` would."""
        count, total, errors, gaps = packed
        self.count += count
        self.sum += total
        self.errors += errors
        if gaps:
            bins = self.bins
            key = 0
            pairs = iter(gaps)
            for gap, among in zip(pairs, pairs, strict=True):
                key += gap
                bins[key] = bins.get(key, 0) + among

    @property
    def mean(self) -> float | None:
        return self.sum / self.count if self.count else None

    @property
    def max(self) -> float | None:
        """The largest value, as exactly as a percentile."""
        return _value(max(self.bins)) if self.bins else None

    def quantiles(self, shares: Sequence[float]) -> list[float | None]:
        """The values at these shares, ascending, of all that have bins; the value of rank ``share * (n - 1)``."""
        total = sum(self.bins.values())
        if not total:
            return [None] * len(shares)
        ranks = [share * (total - 1) for share in shares]
        found: list[float | None] = []
        seen = 0
        for key in sorted(self.bins):
            seen += self.bins[key]
            while len(found) < len(ranks) and ranks[len(found)] < seen:
                found.append(_value(key))
        return found

    def counts_between(self, edges: Sequence[float]) -> list[int]:
        """How many values are up to each edge and over the one before; the last number: over all edges."""
        counts = [0] * (len(edges) + 1)
        for key, count in self.bins.items():
            value = _value(key)
            place = next((at for at, edge in enumerate(edges) if value <= edge), len(edges))
            counts[place] += count
        return counts

    def pack(self) -> list[Any]:
        """Count, sum, errors, and the bins as one list: the gap to the bin before, and its count, in turn."""
        return [self.count, self.sum, self.errors, _gaps(self.bins)]

    @staticmethod
    def unpack(packed: Sequence[Any]) -> Sketch:
        """What ``pack`` packed."""
        sketch = Sketch(packed[0], packed[1], packed[2])
        sketch.bins = _from_gaps(packed[3])
        return sketch

    def bins_bytes(self) -> bytes | None:
        """The bins alone, to be stored; None where there are none."""
        return orjson.dumps(_gaps(self.bins)) if self.bins else None

    @staticmethod
    def stored(count: int, total: float, errors: int, bins: bytes | None) -> Sketch:
        """What was stored as its numbers and ``bins_bytes``."""
        sketch = Sketch(count, total, errors)
        if bins:
            sketch.bins = _from_gaps(orjson.loads(bins))
        return sketch


def merged(sketches: Iterable[Sketch]) -> Sketch:
    """All of them in one."""
    whole = Sketch()
    for sketch in sketches:
        whole.merge(sketch)
    return whole


def _bin_of(value: float) -> int:
    """The library's own, without its three calls: it is asked once for each request."""
    if value <= LEAST:
        return _NOUGHT
    return math.ceil(math.log(min(value, MOST), 2) * _BINS_A_DOUBLING)  # noqa: FURB163  to the bit as the library


def _value(key: int) -> float:
    return 0.0 if key == _NOUGHT else float(_MAPPING.value(key))


def _gaps(bins: dict[int, int]) -> list[int]:
    flat: list[int] = []
    before = 0
    for key in sorted(bins):
        flat += (key - before, bins[key])
        before = key
    return flat


def _from_gaps(flat: Sequence[int]) -> dict[int, int]:
    bins: dict[int, int] = {}
    key = 0
    for at in range(0, len(flat), 2):
        key += flat[at]
        bins[key] = flat[at + 1]
    return bins
