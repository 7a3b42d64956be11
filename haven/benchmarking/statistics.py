"""Whether two series of timings differ, by bootstrap intervals of their ratio that know how timings are noisy.

Timings on a machine that is shared have heavy tails, follow each other (a neighbour's work lasts for some rounds), and differ
from one start of a process to the next, by where memory and code came to lie. So within a start the median of the rounds counts,
rounds are drawn in blocks, and starts are drawn before rounds: the bootstrap of two levels (Davison and Hinkley, *Bootstrap
Methods and their Application*, 1997, sections 3.8 and 8.2.3). The interval is the bootstrap's standard error times Student's t of the
starts: far out, where many benchmarks together need it, percentiles of some hundred samples say nothing. All of it on logarithms,
where a ratio and its inverse weigh the same.

The arrays have any number of leading axes, then starts, then rounds: 500 simulated runs are decided as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_BLOCK: Final = 3
"""Rounds that are drawn together."""
_WITHIN: Final = 64
"""Medians that are drawn for each start."""
_RESAMPLES: Final = 400
LOOKS: Final = (6, 12, 24, 36)
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
    logs = np.log(here) - np.log(there)
    found = _location(np.median(logs, axis=-1))
    error = _resampled(logs, random).std(axis=-1)
    return _intervals(found, error, logs.shape[-2], confidence)


def apart(here: Array, there: Array, confidence: float, random: np.random.Generator) -> Intervals:
    """Of figures that were taken at different times: as many starts and rounds on each side as there are."""
    mine, theirs = np.log(here), np.log(there)
    found = _location(np.median(mine, axis=-1)) - _location(np.median(theirs, axis=-1))
    error = np.hypot(_resampled(mine, random).std(axis=-1), _resampled(theirs, random).std(axis=-1))
    return _intervals(found, error, min(mine.shape[-2], theirs.shape[-2]), confidence)


def confidence_of_each(rules: Rules, count: int) -> float:
    """What each of ``count`` intervals must have so that all are right together (Bonferroni)."""
    return 1 - (1 - rules.confidence) / max(1, count)


def _location(starts: Array) -> Array:
    """The middle of the starts: the mean without the least and the greatest, where there are enough."""
    count = starts.shape[-1]
    if count < 4:
        return np.asarray(np.median(starts, axis=-1))
    return np.asarray(np.sort(starts, axis=-1)[..., 1:-1].mean(axis=-1))


def _resampled(logs: Array, random: np.random.Generator) -> Array:
    """Locations of ``_RESAMPLES`` samples drawn from the starts and, within each, from blocks of rounds; the last axis."""
    starts, rounds = logs.shape[-2:]
    medians = np.median(logs[..., _blocks(rounds, random)], axis=-1)
    which = random.integers(starts, size=(_RESAMPLES, starts))
    draw = random.integers(_WITHIN, size=(_RESAMPLES, starts))
    return _location(medians[..., which, draw])


def _blocks(rounds: int, random: np.random.Generator) -> NDArray[Any]:
    """Rounds to draw, ``_WITHIN`` times: blocks that follow each other, the first after the last."""
    length = min(_BLOCK, rounds)
    begins = random.integers(rounds, size=(_WITHIN, -(-rounds // length)))
    drawn = (begins[..., None] + np.arange(length)) % rounds
    return drawn.reshape(_WITHIN, -1)[:, :rounds]


def _intervals(found: Array, error: Array, starts: int, confidence: float) -> Intervals:
    from scipy.stats import t as student

    reach = float(student.ppf((1 + confidence) / 2, max(1, starts - 1))) * error
    return Intervals(np.exp(found), np.exp(found - reach), np.exp(found + reach))
