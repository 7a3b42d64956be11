"""When a benchmark became slower: the places in its history where the level changed and stayed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

_LEAST: Final = 4
"""Runs on each side of a change: fewer are no level."""
_LEVEL: Final = 0.03
"""Of the Mann–Whitney test that a change must pass: 4 runs against 4 can say 0.029."""


@dataclass(frozen=True, slots=True)
class Change:
    """From the run ``at`` (counted from nought) on it takes ``ratio`` times as long as before."""

    at: int
    ratio: float


def changes(ratios: Sequence[float], threshold: float = 0.05) -> list[Change]:
    """The changes of level in a series of figures, the oldest first.

    PELT (Killick, Fearnhead, Eckley: *Optimal detection of changepoints with a linear computational cost*, JASA 2012) on the
    logarithms, with the penalty of BIC for a noise that is estimated from differences of neighbours, which a change of level hardly
    touches; each change must then pass a Mann–Whitney test of the levels beside it, and be as large as ``threshold``.
    """
    import ruptures
    from scipy.stats import mannwhitneyu

    if len(ratios) < 2 * _LEAST:
        return []
    logs = np.log(np.asarray(ratios, dtype=np.float64))
    noise = max(float(np.median(np.abs(np.diff(logs)))) / 0.954, 1e-3)
    search = ruptures.Pelt(model="l2", min_size=_LEAST, jump=1).fit(logs.reshape(-1, 1))
    ends = search.predict(pen=3 * noise**2 * float(np.log(len(logs))))
    found = []
    for before, at, after in zip([0, *ends], ends[:-1], ends[1:], strict=False):
        old, new = logs[before:at], logs[at:after]
        ratio = float(np.exp(np.median(new) - np.median(old)))
        is_large = ratio >= 1 + threshold or ratio <= 1 / (1 + threshold)
        if is_large and float(mannwhitneyu(old, new).pvalue) < _LEVEL:
            found.append(Change(int(at), ratio))
    return found
