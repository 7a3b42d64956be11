"""Phones that nobody has used before."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from random import Random
from typing import Final

_PLACES: Final = 9_000_000
_STEP: Final = 1_285_717
"""Coprime to the places: all of them come before one comes again."""


def phones(seed: str) -> Iterator[str]:
    """Phones without end, none of which comes twice in nine million; at the simulator each of them pays (digits 0100 to 0999).

    Two runs do not begin at the same one: M-Pesa refuses the same amount from the same phone for two minutes.
    """
    first = Random(f"{seed}/{uuid.uuid4()}").randrange(_PLACES)
    for number in itertools.count():
        place = (first + number * _STEP) % _PLACES
        yield f"+2547{place // 900:04}{100 + place % 900:04}"
