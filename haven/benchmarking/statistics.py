"""Whether two series of timings differ, by bootstrap intervals of their ratio that know how timings are noisy.

Timings on a machine that is shared have heavy tails, follow each other (a neighbour's work lasts for some rounds), and differ
from one start of a process to the next, by where memory and code came to lie. So what counts of a start is the median of its
rounds, and starts are what is drawn: however its rounds hang together, a start is one observation (the cluster bootstrap: Davison
and Hinkley, *Bootstrap Methods and their Application*, 1997, section 3.8). The interval is the bootstrap's standard error times
Student's t of the starts: far out, where many benchmarks together need it, percentiles of some hundred samples say nothing. All of
it on logarithms, where a ratio and its inverse weigh the same.

The arrays have any number of leading axes, then starts, then rounds: 500 simulated runs are decided as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_RESAMPLES: Final = 400
LOOKS: Final = (6, 12, 24, 48)
"""Starts after which it is decided; what is unclear is measured on, until the last of them."""


class Decision(StrEnum):
    """What may be said of a benchmark."""

    SLOWER = "slower"
    FASTER = "faster"
    SAME = "same"
    UNCLEAR = "unclear"
    """The interval holds both a change that matters and none: more sessions would tell."""


@dataclass(frozen=True, slots=True)
class Rules:
    """When a change counts.

    Args:
        threshold: the least change that matters, as a share: 0.05 is 5 %.
        confidence: of the interval, for all benchmarks of a run together.
    """

    threshold: float = 0.05
    confidence: float = 0.98


@dataclass(frozen=True, slots=True)
class Intervals:
    """Ratios, here to there, each with the interval that it is in."""

    ratio: Array
    low: Array
    high: Array

    def decisions(self, threshold: float) -> NDArray[np.str_]:
        """Of each: see ``Decision``."""
        slower = (self.low > 1) & (self.ratio >= 1 + threshold)
        faster = (self.high < 1) & (self.ratio <= 1 / (1 + threshold))
        same = (self.low > 1 / (1 + threshold)) & (self.high < 1 + threshold)
        kinds = [Decision.SLOWER.value, Decision.FASTER.value, Decision.SAME.value]
        return np.select([slower, faster, same], kinds, Decision.UNCLEAR.value)


def paired(here: Array, there: Array, confidence: float, random: np.random.Generator) -> Intervals:
    """Of timings that were taken in turns: each round of one beside the same round of the other."""
    starts = np.median(np.log(here) - np.log(there), axis=-1)
    return _intervals(_location(starts), _error(starts, random), starts.shape[-1], confidence)


def apart(here: Array, there: Array, confidence: float, random: np.random.Generator) -> Intervals:
    """Of figures that were taken at different times: as many starts and rounds on each side as there are."""
    mine, theirs = (np.median(np.log(side), axis=-1) for side in (here, there))
    error = np.hypot(_error(mine, random), _error(theirs, random))
    fewest = min(mine.shape[-1], theirs.shape[-1])
    return _intervals(_location(mine) - _location(theirs), error, fewest, confidence)


def confidence_of_each(rules: Rules, count: int) -> float:
    """What each of ``count`` intervals must have so that all are right together (Bonferroni)."""
    return 1 - (1 - rules.confidence) / max(1, count)


def _location(starts: Array) -> Array:
    """The middle of the starts: the mean without the least and the greatest, where there are enough."""
    count = starts.shape[-1]
    if count < 4:
        return np.asarray(np.median(starts, axis=-1))
    return np.asarray(np.sort(starts, axis=-1)[..., 1:-1].mean(axis=-1))


def _error(starts: Array, random: np.random.Generator) -> Array:
    """The standard error of the location: how far locations of samples of the starts lie apart."""
    count = starts.shape[-1]
    which = random.integers(count, size=(_RESAMPLES, count))
    apart = _location(starts[..., which]).std(axis=-1)
    # Samples of a few lie closer together than what they were taken from.
    return np.asarray(apart * np.sqrt(count / (count - 1)))


def _intervals(found: Array, error: Array, starts: int, confidence: float) -> Intervals:
    from scipy.stats import t as student

    reach = float(student.ppf((1 + confidence) / 2, max(1, starts - 1))) * error
    return Intervals(np.exp(found), np.exp(found - reach), np.exp(found + reach))
