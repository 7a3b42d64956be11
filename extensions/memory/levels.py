"""How near the limit memory is, in four levels; it goes up at once, and down only when it is well below."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

BELOW: Final = 0.03
"""A level is left this share of the limit below where it began, so that it does not flap."""


class Level(IntEnum):
    NORMAL = 0
    WARNING = 1
    CRITICAL = 2
    EMERGENCY = 3

    @property
    def pressure(self) -> float:
        """How much of what can be freed is to be freed, from 0 to 1."""
        return (0.0, 0.25, 0.5, 1.0)[self]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Shares of the limit, from 0 to 1, at which the levels begin."""

    warning: float = 0.7
    critical: float = 0.8
    emergency: float = 0.9

    @property
    def last(self) -> float:
        """The share from which even sign-in and callbacks are refused: half-way from emergency to the limit."""
        return (self.emergency + 1) / 2

    def level(self, share: float, before: Level) -> Level:
        """The level now, after the level ``before``."""
        beginnings = (
            (Level.EMERGENCY, self.emergency),
            (Level.CRITICAL, self.critical),
            (Level.WARNING, self.warning),
        )
        for level, beginning in beginnings:
            if share >= (beginning - BELOW if before >= level else beginning):
                return level
        return Level.NORMAL
