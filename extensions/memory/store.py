"""Where the processes of all hosts meet: one hash in Redis, a field for each process, which tells of itself every few seconds."""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import Any, Final

import orjson
import redis

log = logging.getLogger(__name__)

ALIVE_S: Final = 20.0
"""A process that has not told of itself for so long is gone."""
_KEPT_S: Final = 3600
_PROCESSES_MOST: Final = 1000

Report = dict[str, Any]


class Store:
    """The way to Redis. Each call is one round trip, bounded by the client's time-out, and fails without an error.

    Args:
        client: a client that leaves a dead Redis alone (``hold_off``); None: there is none.
        host: the name of this host; the operating system's when empty.
    """

    def __init__(self, client: redis.Redis | None, prefix: str = "haven", host: str = "") -> None:
        self._client = client
        self._key = f"{prefix}:memory:processes"
        self.host = host or socket.gethostname()
        self.is_away = False
        """Whether Redis failed when it was last asked."""

    @property
    def is_there(self) -> bool:
        """Whether there is a Redis at all."""
        return self._client is not None

    @property
    def process(self) -> str:
        """The name of this process."""
        return f"{self.host}:{os.getpid()}"

    def write(self, report: Report) -> None:
        """Tell of this process; where Redis is away the next one tells."""
        if self._client is None:
            return
        pipe = self._client.pipeline(transaction=False)
        pipe.hset(self._key, self.process, orjson.dumps(report))
        pipe.expire(self._key, _KEPT_S)
        try:
            pipe.execute()
            self.is_away = False
        except redis.RedisError as error:
            self._failed(error)

    def read(self) -> list[Report] | None:
        """The reports of every process that is alive; None where Redis does not say. Those of the dead are removed."""
        if self._client is None:
            return None
        try:
            found: dict[bytes, bytes] = self._client.hgetall(self._key)  # type: ignore[assignment]
            reports = {name: _read(text) for name, text in found.items()}
            alive_since = time.time() - ALIVE_S
            gone = [name for name, one in reports.items() if one is None or one["at"] < alive_since]
            if gone:
                self._client.hdel(self._key, *gone)
        except redis.RedisError as error:
            self._failed(error)
            return None
        self.is_away = False
        alive = [one for name, one in reports.items() if one is not None and name not in gone]
        return alive[:_PROCESSES_MOST]

    def _failed(self, error: redis.RedisError) -> None:
        self.is_away = True
        log.debug("memory is watched by each process alone: Redis is away (%s)", type(error).__name__)


def _read(text: bytes) -> Report | None:
    """A report; None where it is another release's."""
    try:
        report = orjson.loads(text)
        return report if {"host", "pid", "role", "at", "trend", "gc"} <= report.keys() else None
    except (ValueError, AttributeError):
        return None
