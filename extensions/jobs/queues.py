"""The way to the workers: RQ queues in Redis, of which each owner has a share.

An owner's jobs beyond its share of a queue wait in PostgreSQL. So behind a hundred jobs of one owner another's one waits
for a share of them, not for all. Redis holds nothing that is not in PostgreSQL: flushed, it is filled again.
"""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import redis
from rq import Queue
from rq.registry import FailedJobRegistry
from rq.serializers import JSONSerializer

DEFAULT_SHARE: Final = 4
_WAKE_TTL_S: Final = 3600
_FORGOTTEN_AFTER_S: Final = 900
"""A place that is not given back, as its worker died, is free again after this."""
_GRACE_S: Final = 60
_ENDED: Final = "haven:jobs:ended"
_FULL, _HAS_PLACE = 0, 2
_ADMIT = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[2])
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return 2
end
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[4]) then
  redis.call('SET', KEYS[2], '1', 'EX', 86400)
  return 0
end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
redis.call('EXPIRE', KEYS[1], 86400)
return 1
"""


@dataclass(frozen=True, slots=True)
class Depth:
    """A queue as workers see it: jobs that wait, and how long the first of them has (s)."""

    waiting: int
    oldest_s: float


@dataclass
class Queues:
    """The queues in ``connection``.

    Args:
        runner: the function that a worker calls with the owner and the id of a job, both as text.
        shares: how many jobs of one owner may be in a queue or running, by queue.
    """

    connection: redis.Redis
    runner: str
    shares: Mapping[str, int] = field(default_factory=dict)
    _admit: Any = None

    def share(self, queue: str) -> int:
        return self.shares.get(queue, DEFAULT_SHARE)

    def wake(
        self, owner: str, job_id: uuid.UUID, queue: str, kind: str, timeout_s: int, *, again: bool = False
    ) -> bool:
        """Tell a worker of a job. False where its owner's share of the queue is used up: it is told later.

        Args:
            again: the job may have lost its way to a worker, so one that has a place is looked for in the queue.

        Raises:
            redis.RedisError: nobody was told.
        """
        admitted = self._admitted(owner, job_id, queue)
        if admitted == _FULL:
            return False
        if admitted == _HAS_PLACE and not again:
            return True
        rq = Queue(queue, connection=self.connection, serializer=JSONSerializer)
        if again and rq.get_job_position(job_id.hex) is not None:
            return True
        FailedJobRegistry(queue, connection=self.connection).remove(job_id.hex)
        # No ``unique``: what a killed worker has left in Redis must not keep its job from being run again. Two
        # workers that are woken for one job do no harm: one of them claims its row.
        rq.enqueue_call(
            self.runner,
            args=(owner, str(job_id)),
            # A job is stopped at its time by its own watch; this is for a process that has lost that, too.
            timeout=timeout_s + _GRACE_S,
            ttl=_WAKE_TTL_S,
            result_ttl=_WAKE_TTL_S // 6,
            failure_ttl=_WAKE_TTL_S * 24,
            description=f"{kind} {job_id}",
            job_id=job_id.hex,
        )
        return True

    def done(self, owner: str, job_id: uuid.UUID, queue: str, outcome: str = "SKIPPED") -> bool:
        """The job has left its place. Whether others of its owner wait for one.

        Args:
            outcome: what came of it, for ``ended``.

        Raises:
            redis.RedisError: unknown; the sweeper finds them.
        """
        places, backlog = _names(owner, queue)
        with self.connection.pipeline() as pipeline:
            pipeline.zrem(places, job_id.hex)
            pipeline.hincrby(_ENDED, f"{queue}:{outcome}", 1)
            pipeline.exists(backlog)
            *_, waits = pipeline.execute()
        return bool(waits)

    def ended(self) -> dict[tuple[str, str], int]:
        """How many attempts have ended in each way, by queue and outcome, since Redis was empty.

        Raises:
            redis.RedisError: unknown.
        """
        counts: Any = self.connection.hgetall(_ENDED)
        return {tuple(name.decode().split(":", 1)): int(count) for name, count in counts.items()}

    def no_backlog(self, owner: str, queue: str) -> None:
        """None of the owner's jobs waits for a place any more."""
        self.connection.delete(_names(owner, queue)[1])

    def depth(self, queue: str) -> Depth:
        """What waits in Redis for a worker.

        Raises:
            redis.RedisError: unknown.
        """
        rq = Queue(queue, connection=self.connection, serializer=JSONSerializer)
        ids = rq.get_job_ids(0, 1)
        if not ids:
            return Depth(0, 0.0)
        first = rq.fetch_job(ids[0])
        since = first.enqueued_at if first is not None else None
        now = dt.datetime.now(dt.UTC)
        if since is None:
            return Depth(rq.count, 0.0)
        return Depth(rq.count, max((now - since.astimezone(dt.UTC)).total_seconds(), 0.0))

    def _admitted(self, owner: str, job_id: uuid.UUID, queue: str) -> int:
        if self._admit is None:
            self._admit = self.connection.register_script(_ADMIT)
        now = time.time()
        answer = self._admit(
            keys=list(_names(owner, queue)),
            args=[job_id.hex, now - _FORGOTTEN_AFTER_S, now, self.share(queue)],
        )
        return int(answer)


def _names(owner: str, queue: str) -> tuple[str, str]:
    return f"haven:jobs:places:{{{queue}:{owner}}}", f"haven:jobs:backlog:{{{queue}:{owner}}}"
