"""How long a failed attempt waits: exponential back-off with jitter, so that what failed together does not return together."""

from __future__ import annotations

import random
from typing import Final

FIRST_S: Final = 5.0
LONGEST_S: Final = 3600.0


def wait_s(attempts: int, draw: float | None = None) -> float:
    """The wait after the attempt with this number, in seconds: 5, 10, 20 … 3600, less up to a quarter by chance.

    Args:
        attempts: how many have been made, from 1.
        draw: the chance, from 0 to 1; drawn when not given.
    """
    full_s = min(FIRST_S * 2.0 ** min(attempts - 1, 30), LONGEST_S)
    return full_s * (1 - 0.25 * (random.random() if draw is None else draw))
