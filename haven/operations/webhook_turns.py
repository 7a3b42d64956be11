"""Deliveries to one endpoint take turns, so that one which hangs has one worker at the most, and that for a part of the time.

The turn is a key in Redis. It is a comfort: while Redis is away every delivery goes at once, and none is lost.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

import redis

from extensions.jobs.attempt import Postponed
from haven.operations.kinds import KINDS

_PATIENCE_S: Final = 1.0
"""A receiver that answers within this is waited for; while one takes longer, other deliveries to it wait as jobs."""
_LOOK_EVERY_S: Final = 0.02
_AGAIN_S: Final = 2.0
_REST: Final = 3
"""One that failed slowly is left alone for so many times as long as it took: it has a quarter of one worker."""
_HELD: Final = b"held"


@dataclass
class Turn:
    """Set ``failed`` where the receiver did not take the event."""

    failed: bool = False


@contextmanager
def taking_turn(client: redis.Redis, endpoint_id: uuid.UUID) -> Iterator[Turn]:
    """The endpoint is this caller's alone in the block; waits for it for a second at the most.

    Raises:
        Postponed: another delivery takes long, or the endpoint is left alone for a while.
    """
    name = f"haven:webhook:{endpoint_id}"
    _take(client, name)
    began = time.monotonic()
    turn = Turn()
    try:
        yield turn
    finally:
        took_s = time.monotonic() - began
        with suppress(redis.RedisError):  # it ends by itself
            if turn.failed and took_s > _PATIENCE_S:
                client.set(name, _HELD, px=int(1000 * _REST * took_s))
            else:
                client.delete(name)


def _take(client: redis.Redis, name: str) -> None:
    longest_ms = 1000 * KINDS["webhook_deliver"].timeout_s
    ends_at = time.monotonic() + _PATIENCE_S
    try:
        while not client.set(name, str(time.time()), nx=True, px=longest_ms):
            found = client.get(name)
            if found == _HELD:
                left_s = max(client.pttl(name), 0) / 1000
                raise Postponed(
                    left_s + _some_time(), "The receiver is left alone for a while: it did not answer."
                )
            if time.monotonic() > ends_at or (found is not None and time.time() - float(found) > _PATIENCE_S):
                raise Postponed(_some_time(), "The receiver takes long over another event.")
            time.sleep(_LOOK_EVERY_S)
    except redis.RedisError:  # then nobody takes turns
        return


def _some_time() -> float:
    """Not all at once."""
    return _AGAIN_S * (1 + random.random())
