"""How many jobs wait in the queues of RQ and how many workers there are; numbers for monitoring. No Flask."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import redis

from extensions.contract import Metric
from haven.operations.kinds import QUEUES


def queue_numbers(connection: redis.Redis) -> Iterator[Metric]:
    """Of each queue its depth and workers; none while Redis is away.

    Args:
        connection: of the job queues' database; one round trip.
    """
    pipe = connection.pipeline(transaction=False)
    for queue in QUEUES:
        pipe.llen(f"rq:queue:{queue}")
        pipe.scard(f"rq:workers:{queue}")
        pipe.zcard(f"rq:failed:{queue}")
    try:
        found: list[Any] = pipe.execute()
    except redis.RedisError:
        return
    for at, queue in enumerate(QUEUES):
        depth, workers, failed = found[at * 3 : at * 3 + 3]
        labels = {"queue": queue}
        # Every process tells the same, so of all processes it is the largest, not the sum.
        yield Metric("queue_depth", depth, labels, merge="max")
        yield Metric("queue_workers", workers, labels, merge="max")
        yield Metric("queue_failed", failed, labels, merge="max")
