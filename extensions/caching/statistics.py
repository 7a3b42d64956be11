"""How often each namespace answered, missed and computed; counted in the process, added up in Redis once a second."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from extensions import trace
from extensions.caching.keys import Keys
from extensions.caching.link import Link, Unavailable

_FLUSH_S: Final = 1.0
_OWNERS_KEPT: Final = 10_000
_KEPT_S: Final = 30 * 86_400
_WAITING_MOST: Final = 10_000

HITS, MISSES, STALE, BYPASSED, COMPUTED, BYTES = (
    "hits", "misses", "stale", "bypassed", "computations", "bytes",
)  # fmt: skip
ALL: Final = "+"
"""The owner under which the counts of all owners are added up."""
_OUTCOMES: Final = frozenset({HITS, MISSES, STALE, BYPASSED})
FIELDS: Final = (HITS, MISSES, STALE, BYPASSED, COMPUTED, BYTES)


@dataclass(frozen=True, slots=True)
class Numbers:
    """The counts of one namespace. ``bytes`` is how many were stored."""

    hits: int = 0
    misses: int = 0
    stale: int = 0
    bypassed: int = 0
    computations: int = 0
    bytes: int = 0

    @property
    def hit_rate(self) -> float | None:
        """Of all look-ups the share that the cache answered; None before the first."""
        asked = self.hits + self.stale + self.misses
        return (self.hits + self.stale) / asked if asked else None


class Statistics:
    """Counts; loses at most the last second of a process that dies."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys
        self._lock = threading.Lock()
        self._waiting: Counter[tuple[str, str]] = Counter()
        self._flushed_at = time.monotonic()
        self.total: Counter[str] = Counter()

    def count(self, owner: str, namespace: str, field: str, number: int = 1) -> None:
        name = f"{namespace}:{field}"
        if field in _OUTCOMES:
            trace.add(trace.LOOKUP, name)
        self._count(owner, name, field, number)

    def count_hit(self, owner: str, hit: trace.Span) -> None:
        """``count`` of a hit, by what is traced of it, which is the same each time; its name is ``namespace:hits``."""
        trace.add_span(hit)
        self._count(owner, hit.name, HITS, 1)

    def flush(self) -> None:
        """Add what was counted here to Redis; kept for the next time while that is away."""
        with self._lock:
            waiting, self._waiting = self._waiting, Counter()
            self._flushed_at = time.monotonic()
        if not waiting:
            return
        try:
            self._link.run(lambda client: self._add(client, waiting))
        except Unavailable:
            with self._lock:
                self._waiting.update(waiting)

    def read(self, owner: str) -> dict[str, Numbers]:
        """The counts of an owner, by namespace. Raises ``Unavailable``."""
        self.flush()
        found: dict[bytes, bytes] = self._link.run(
            lambda client: client.hgetall(self._keys.statistics(owner))
        )
        counts: dict[str, dict[str, int]] = {}
        for name, number in found.items():
            namespace, _, field = name.decode().rpartition(":")
            if field in FIELDS:
                counts.setdefault(namespace, {})[field] = int(number)
        return {namespace: Numbers(**counts[namespace]) for namespace in sorted(counts)}

    def used_since(self, seconds: float, most: int) -> list[str]:
        """The owners that asked the cache in the last ``seconds``, the latest first. Raises ``Unavailable``."""
        oldest = time.time() - seconds
        found: list[bytes] = self._link.run(
            lambda client: client.zrevrangebyscore(self._keys.owners(), "+inf", oldest, 0, most)
        )
        return [owner.decode() for owner in found]

    def _count(self, owner: str, name: str, field: str, number: int) -> None:
        with self._lock:
            self.total[field] += number
            if len(self._waiting) < _WAITING_MOST:
                self._waiting[owner, name] += number
            is_due = time.monotonic() - self._flushed_at >= _FLUSH_S
        if is_due:
            self.flush()

    def _add(self, client: Any, waiting: Counter[tuple[str, str]]) -> None:
        now = time.time()
        pipe = client.pipeline(transaction=False)
        owners = {owner for owner, _ in waiting}
        for (owner, field), number in waiting.items():
            pipe.hincrby(self._keys.statistics(owner), field, number)
            pipe.hincrby(self._keys.statistics(ALL), field, number)
        for owner in owners:
            pipe.expire(self._keys.statistics(owner), _KEPT_S)
        pipe.zadd(self._keys.owners(), dict.fromkeys(owners, now))
        pipe.zremrangebyrank(self._keys.owners(), 0, -_OWNERS_KEPT - 1)
        pipe.execute()
