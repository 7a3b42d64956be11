"""Who was refused in the last hour: counted in the process, gathered in Redis, bounded in both."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Final

import redis
from redis.client import Pipeline

SLOT_S: Final = 300
SLOTS: Final = 12
"""An hour, in parts of five minutes."""
CALLERS_KEPT: Final = 1000
"""Callers told apart in a part, the most refused ones; the counts of the rest are let go."""

Refused = Counter[tuple[str, str]]
"""(class, caller) → how often."""


class Refusals:
    """The refusals of one process, and of all where there is Redis; ``clock`` says the time in s since 1970."""

    def __init__(self, clock: Callable[[], float], prefix: str) -> None:
        self._clock = clock
        self._prefix = f"{prefix}:refused"
        self._here: dict[int, Refused] = {}
        self._unsent: dict[int, Refused] = {}
        self._lock = threading.Lock()
        self.totals: Counter[str] = Counter()
        """Class → how often since the process began."""

    def add(self, name: str, caller: str) -> None:
        """Somebody was refused by the limit ``name``."""
        slot = self._slot()
        with self._lock:
            self.totals[name] += 1
            for kept in (self._here, self._unsent):
                counts = kept.setdefault(slot, Counter())
                if len(counts) < CALLERS_KEPT or (name, caller) in counts:
                    counts[name, caller] += 1
                for old in [one for one in kept if one <= slot - SLOTS]:
                    del kept[old]

    def send(self, pipeline: Pipeline) -> Callable[[], None]:
        """Put what Redis has not been told into ``pipeline``; call the result if that fails, to tell it another time."""
        with self._lock:
            unsent, self._unsent = self._unsent, {}
        for slot, counts in unsent.items():
            name = f"{self._prefix}:{slot}"
            for (limit, caller), count in counts.items():
                pipeline.zincrby(name, count, f"{limit} {caller}")
            pipeline.zremrangebyrank(name, 0, -CALLERS_KEPT - 1)
            pipeline.expire(name, SLOT_S * (SLOTS + 1))
        return lambda: self._take_back(unsent)

    def last_hour(self) -> Refused:
        """What this process refused in the last hour."""
        oldest = self._slot() - SLOTS
        with self._lock:
            return sum((counts for slot, counts in self._here.items() if slot > oldest), Counter())

    def last_hour_of_all(self, client: redis.Redis) -> Refused:
        """What all processes refused in the last hour, as far as they have told Redis.

        Raises:
            redis.RedisError: it does not answer.
        """
        newest = self._slot()
        pipeline = client.pipeline(transaction=False)
        for slot in range(newest - SLOTS + 1, newest + 1):
            pipeline.zrange(f"{self._prefix}:{slot}", 0, -1, withscores=True)
        found: Refused = Counter()
        for members in pipeline.execute():
            for member, count in members:
                name, _, caller = member.decode().partition(" ")
                found[name, caller] += int(count)
        return found

    def _take_back(self, unsent: dict[int, Refused]) -> None:
        with self._lock:
            for slot, counts in unsent.items():
                self._unsent.setdefault(slot, Counter()).update(counts)

    def _slot(self) -> int:
        return int(self._clock()) // SLOT_S
