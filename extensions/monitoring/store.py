"""Where the measurements of all processes meet: a few keys in Redis that end by themselves.

For each slot of ten seconds one hash, a field for each process, which writes the whole of its slot anew each second. Adding
up in Redis (``HINCRBY``) would need a command for each bin, and would count twice what a time-out did not stop; this may be
written any number of times.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import zlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson
import redis

from extensions.monitoring.slots import SLOT_S, Slot

if TYPE_CHECKING:
    from extensions.monitoring.recorder import Statement

log = logging.getLogger(__name__)

SLOTS_KEPT_S: Final = 3600
"""How long a slot is in Redis: the roll-up may be away so long without a gap in history."""
_SLOW_KEPT_S: Final = 86_400
_STATEMENTS_KEPT_S: Final = 2 * 86_400
_STATEMENTS_MOST: Final = 3000
_SENT_AT_ONCE: Final = 30


class Store:
    """The way to Redis. Each call is one round trip, bounded by the client's time-out, and fails without an error.

    Args:
        client: a client that leaves a dead Redis alone (``hold_off``); None: there is none.
        prefix: what every key begins with.
        host: the name of this host; the operating system's when empty.
    """

    def __init__(self, client: redis.Redis | None, prefix: str = "haven", host: str = "") -> None:
        self._client = client
        self._prefix = f"{prefix}:monitoring"
        self._host = host or socket.gethostname()
        self.sent_at: float | None = None
        """When Redis last took what this process had."""
        self.failures = 0
        self.is_away = False
        """Whether Redis failed when it was last asked."""
        self.begin_anew()

    def begin_anew(self) -> None:
        """Be another process. A number of a process that is gone may come back, so its start is part of its name."""
        self.process = f"{self._host}:{os.getpid()}:{time.time_ns() // 1_000_000:x}"
        self.sent_at = None

    @property
    def is_there(self) -> bool:
        """Whether there is a Redis at all."""
        return self._client is not None

    def send(
        self,
        slots: Sequence[Slot],
        slow: Sequence[dict[str, Any]],
        statements: Sequence[Statement],
        slow_kept: int,
    ) -> bool:
        """Write slots, slow requests and texts of statements; False where Redis did not take them."""
        if self._client is None:
            return False
        pipe = self._client.pipeline(transaction=False)
        for slot in slots[:_SENT_AT_ONCE]:
            key = self._slot(slot.start)
            pipe.hset(key, self.process, slot.pack())
            pipe.expire(key, SLOTS_KEPT_S)
            pipe.zadd(self._touched, {str(slot.start // 60 * 60): time.time()})
        if slots:
            pipe.zremrangebyscore(self._touched, "-inf", time.time() - SLOTS_KEPT_S)
            pipe.expire(self._touched, SLOTS_KEPT_S)
        if slow:
            pipe.lpush(self._slow, *(orjson.dumps(one) for one in slow))
            pipe.ltrim(self._slow, 0, slow_kept - 1)
            pipe.expire(self._slow, _SLOW_KEPT_S)
        if statements:
            pipe.hset(self._statements, mapping={one.fingerprint: _told(one) for one in statements})
            pipe.expire(self._statements, _STATEMENTS_KEPT_S)
        try:
            if len(pipe):
                pipe.execute()
        except redis.RedisError as error:
            self._failed(error)
            return False
        for slot in slots[:_SENT_AT_ONCE]:
            slot.is_sent = True
        self.sent_at = time.time()
        self.is_away = False
        return True

    def read(self, starts: Sequence[int]) -> dict[int, list[Slot]] | None:
        """The slots of every process that began then; None where Redis does not say."""
        found = self.read_packed(starts)
        return None if found is None else {start: unpacked(values) for start, values in found.items()}

    def read_packed(self, starts: Sequence[int]) -> dict[int, list[bytes]] | None:
        """The same as they are stored; ``unpacked`` makes slots of them."""
        if self._client is None:
            return None
        pipe = self._client.pipeline(transaction=False)
        for start in starts:
            pipe.hvals(self._slot(start))
        try:
            found = pipe.execute() if starts else []
        except redis.RedisError as error:
            self._failed(error)
            return None
        return dict(zip(starts, found, strict=True))

    def slow(self, limit: int) -> list[dict[str, Any]] | None:
        """The slow requests of every process, the newest first; None where Redis does not say."""
        if self._client is None:
            return None
        try:
            found: list[bytes] = self._client.lrange(self._slow, 0, limit - 1)  # type: ignore[assignment]
        except redis.RedisError as error:
            self._failed(error)
            return None
        return [orjson.loads(one) for one in found]

    def statements(self, fingerprints: Sequence[str]) -> dict[str, dict[str, str]] | None:
        """Fingerprint → ``text``, ``sample``, ``route``, ``request_id``; None where Redis does not say."""
        if self._client is None:
            return None
        if not fingerprints:
            return {}
        try:
            found: list[bytes | None] = self._client.hmget(self._statements, list(fingerprints))  # type: ignore[assignment]
        except redis.RedisError as error:
            self._failed(error)
            return None
        pairs = zip(fingerprints, found, strict=True)
        return {fingerprint: orjson.loads(told) for fingerprint, told in pairs if told is not None}

    def forget_surplus(self) -> None:
        """Forget the texts of statements where releases have left too many; each process tells its own again within the hour."""
        if self._client is None:
            return
        try:
            if int(self._client.hlen(self._statements)) > _STATEMENTS_MOST:
                self._client.delete(self._statements)
        except redis.RedisError as error:
            self._failed(error)

    def touched_minutes(self, since: float) -> list[int] | None:
        """The minutes (seconds since 1970) into which something was written since; None where Redis does not say."""
        if self._client is None:
            return None
        try:
            found: Iterable[bytes] = self._client.zrangebyscore(self._touched, since, "+inf")  # type: ignore[assignment]
        except redis.RedisError as error:
            self._failed(error)
            return None
        return sorted(int(one) for one in found)

    def _slot(self, start: int) -> str:
        return f"{self._prefix}:slot:{start // SLOT_S * SLOT_S}"

    @property
    def _touched(self) -> str:
        return f"{self._prefix}:touched"

    @property
    def _slow(self) -> str:
        return f"{self._prefix}:slow"

    @property
    def _statements(self) -> str:
        return f"{self._prefix}:statements"

    def _failed(self, error: redis.RedisError) -> None:
        self.failures += 1
        self.is_away = True
        log.debug("monitoring goes on in memory: Redis is away (%s)", type(error).__name__)


def _told(one: Statement) -> bytes:
    return orjson.dumps(
        {"text": one.text, "sample": one.sample, "route": one.route, "request_id": one.request_id}
    )


def unpacked(values: Iterable[bytes]) -> list[Slot]:
    """The slots of processes, as they are stored."""
    found = []
    for value in values:
        try:
            found.append(Slot.unpack(value))
        except (ValueError, TypeError, IndexError, zlib.error):
            # Another release's form: its numbers are missed for the time of a rolling restart.
            continue
    return found
