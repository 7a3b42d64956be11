"""A trend that outliers do not bend: its slope after Theil and Sen, its significance after Mann and Kendall.

Sources: H. Theil, *A rank-invariant method of linear and polynomial regression analysis*, Proc. Kon. Ned. Akad. v. Wetensch.
A 53 (1950); P. K. Sen, *Estimates of the regression coefficient based on Kendall's tau*, JASA 63 (1968); H. B. Mann,
*Nonparametric tests against trend*, Econometrica 13 (1945); M. G. Kendall, *Rank Correlation Methods* (1975); and for values
that depend on the one before: S. Yue and C. Wang, *The Mann-Kendall test modified by effective sample size to detect trend in
serially correlated hydrological series*, Water Resources Management 18 (2004).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import fmean, median
from typing import Final

POINTS_MOST: Final = 64
"""Every pair is looked at: 2016 of them."""
_POINTS_LEAST: Final = 3


@dataclass(frozen=True, slots=True)
class Trend:
    """A line through values that are one step apart.

    Args:
        slope: what a step adds; the median of the slopes of all pairs.
        start: the line's value at the first point.
        p_value: how likely values without a trend rise so steadily, from 0 to 1 (one-sided).
    """

    slope: float
    start: float
    p_value: float

    def residuals(self, values: Sequence[float]) -> list[float]:
        """What the line leaves unexplained of each value."""
        return [value - self.start - self.slope * at for at, value in enumerate(values)]


def trend_of(values: Sequence[float]) -> Trend:
    """The trend of values in their order, one step apart.

    Raises:
        ValueError: fewer than 3 values, or more than 64.
    """
    if not _POINTS_LEAST <= len(values) <= POINTS_MOST:
        raise ValueError(f"a trend is of {_POINTS_LEAST} to {POINTS_MOST} values, not of {len(values)}")
    slope, start = theil_sen(values)
    flat = [value - slope * at for at, value in enumerate(values)]
    s, variance = mann_kendall(values)
    variance *= _inflation(_lag_one(flat), len(values))
    # The correction for continuity: S moves by two.
    z = (s - math.copysign(1, s)) / math.sqrt(variance) if s and variance else 0.0
    return Trend(slope, start, 0.5 * math.erfc(z / math.sqrt(2)))


def theil_sen(values: Sequence[float]) -> tuple[float, float]:
    """The median slope of all pairs, and the line's value at the first point."""
    slopes = [(late - early) / (j - i) for (i, early), (j, late) in combinations(enumerate(values), 2)]
    slope = median(slopes)
    return slope, median(values) - slope * (len(values) - 1) / 2


def mann_kendall(values: Sequence[float]) -> tuple[int, float]:
    """Mann and Kendall's S (pairs that rise less pairs that fall), and its variance with ties and no dependence."""
    s = sum((late > early) - (late < early) for early, late in combinations(values, 2))
    n = len(values)
    ties = sum(t * (t - 1) * (2 * t + 5) for t in Counter(values).values())
    return s, (n * (n - 1) * (2 * n + 5) - ties) / 18


def _lag_one(values: Sequence[float]) -> float:
    """How much a value goes with the one before it: 0 (and where it is less) to 1."""
    mean = fmean(values)
    offsets = [value - mean for value in values]
    total = sum(offset * offset for offset in offsets)
    if not total:
        return 0.0
    return max(sum(a * b for a, b in pairwise(offsets)) / total, 0.0)


def _inflation(rho: float, n: int) -> float:
    """By how much dependence of the first order widens S's variance (Yue and Wang, equation 10)."""
    return 1 + 2 * sum((1 - k / n) * rho**k for k in range(1, n))
