"""Making room: what others can let go of, then a collection, then the free memory back to the system."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import Final

from extensions.memory.collector import trim

log = logging.getLogger(__name__)

Hook = Callable[[float], int | None]
"""Lets go of what it can at a pressure from 0 to 1; about how many bytes. It must be quick: nothing is watched meanwhile."""
TRIM_FROM: Final = 0.5
"""The pressure from which free memory is given back: the next allocation has to ask for it again."""


class Relief:
    """The hooks of an app, and what was done."""

    def __init__(self) -> None:
        self._hooks: list[Hook] = []
        self.times = 0
        self.released_bytes = 0
        """What the hooks say that they let go of, since the process began."""

    def add(self, hook: Hook) -> None:
        """Call ``hook`` under pressure, after those that are there."""
        self._hooks.append(hook)

    def act(self, pressure: float) -> int:
        """Make room; what the hooks say that they let go of. One that fails is logged and keeps no other from its turn."""
        self.times += 1
        released = sum(_released(hook, pressure) for hook in self._hooks)
        gc.collect()
        if pressure >= TRIM_FROM:
            trim()
        self.released_bytes += released
        return released


def _released(hook: Hook, pressure: float) -> int:
    try:
        return int(hook(pressure) or 0)
    except Exception:
        log.exception("a hook could not release memory")
        return 0
