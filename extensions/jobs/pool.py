"""RQ's worker pool, which grows with what waits, shrinks when nothing does, and stops without losing a job."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any, Final

import redis
import structlog
from redis import ConnectionPool, Redis
from rq import Queue
from rq.serializers import JSONSerializer
from rq.worker_pool import ForkProcess, WorkerData, WorkerPool

from extensions.jobs.queues import Depth, Queues
from extensions.jobs.worker import DurableWorker

log = structlog.get_logger(__name__)

_TICK_S: Final = 0.5
_OLD_S: Final = 2.0
_KILL_AFTER_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class PoolRules:
    """The bounds of a pool.

    ``grace_s``: how long the jobs in hand have to finish at a stop; then they are put back. ``idle_s``: how long nothing
    must wait before a worker goes. ``max_jobs`` and ``memory_limit`` (bytes; 0: any): after so many, or above, another
    process takes a worker's place.
    """

    low: int = 2
    high: int = 4
    grace_s: float = 10.0
    idle_s: float = 60.0
    max_jobs: int = 1000
    memory_limit: int = 0


def wanted(now: int, depths: Mapping[str, Depth], idle_for_s: float, rules: PoolRules) -> int:
    """How many workers there should be, one more or less than ``now`` at the most.

    One more while more jobs wait than there are workers, or one has waited for 2 s; one less when nothing has for
    ``idle_s``.
    """
    waiting = sum(depth.waiting for depth in depths.values())
    oldest_s = max((depth.oldest_s for depth in depths.values()), default=0.0)
    if waiting > now or (waiting and oldest_s >= _OLD_S):
        return min(now + 1, rules.high)
    if idle_for_s >= rules.idle_s:
        return max(now - 1, rules.low)
    return now


class Pool(WorkerPool):
    """Processes of ``DurableWorker`` over ``names``.

    Args:
        queues: where their depths are read.
        after_fork: called first in each new process.
    """

    def __init__(
        self,
        names: list[str],
        connection: Redis,
        queues: Queues,
        rules: PoolRules,
        after_fork: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(names, connection, rules.low, worker_class=DurableWorker, serializer=JSONSerializer)
        self._rules = rules
        self._of = queues
        self._after_fork = after_fork
        self._waited_at = time.monotonic()
        self._stops_at: float | None = None
        self._is_forced = False
        self._leaving: list[WorkerData] = []
        """Workers that finish their last job."""

    def run(self) -> None:
        """Work until SIGTERM or SIGINT."""
        self._burst = False
        self.status = self.Status.STARTED
        self._install_signal_handlers()  # type: ignore[no-untyped-call]
        while not (self.status == self.Status.STOPPED and self.all_workers_have_stopped()):
            if self.status == self.Status.STOPPED:
                self._hurry()
            else:
                self.check_workers()
                self._resize()
            time.sleep(_TICK_S)

    def request_stop(self, signum: Any = None, frame: Any = None) -> None:  # noqa: ARG002
        """Let each worker finish the job in hand."""
        if self.status == self.Status.STOPPED:
            return
        self.status = self.Status.STOPPED
        self._stops_at = time.monotonic() + self._rules.grace_s
        self._signal_all(signal.SIGTERM)

    def reap_workers(self) -> None:
        for data in list(self.worker_dict.values()):
            data.process.join(0)
            if not data.process.is_alive():
                self.handle_dead_worker(data)
        self._reap_leaving()

    def get_worker_process(
        self,
        name: str,
        burst: bool,  # noqa: ARG002
        _sleep: float = 0,
        logging_level: str = "INFO",  # noqa: ARG002
    ) -> BaseProcess:
        return ForkProcess(target=self._work, args=(name,), name=f"worker {name}")

    def _work(self, name: str) -> None:
        # What the pool does at a signal is not for its workers, until RQ's own handlers are there.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        self._after_fork()
        pool = ConnectionPool(connection_class=self._pool_class, **self._pool_kwargs)
        connection = Redis(connection_pool=pool)
        queues = [Queue(one, connection=connection, serializer=JSONSerializer) for one in self._queue_names]
        DurableWorker.memory_limit = self._rules.memory_limit
        worker = DurableWorker(queues, name=name, connection=connection, serializer=JSONSerializer)
        # No RQ scheduler: what is due is in PostgreSQL, and the clock brings it.
        worker.work(logging_level="WARNING", max_jobs=self._rules.max_jobs or None)

    def _resize(self) -> None:
        try:
            depths = {name: self._of.depth(name) for name in self._queue_names}
        except redis.RedisError as error:
            log.warning("redis_unavailable", error=type(error).__name__)
            return
        if any(depth.waiting for depth in depths.values()):
            self._waited_at = time.monotonic()
        idle_for_s = time.monotonic() - self._waited_at
        count = wanted(self.num_workers, depths, idle_for_s, self._rules)
        if count == self.num_workers:
            return
        log.info("workers_resized", before=self.num_workers, after=count)
        if count < self.num_workers:
            self._waited_at = time.monotonic() - self._rules.idle_s + min(self._rules.idle_s, 5.0)
            self._retire_one()
        self.num_workers = count

    def _retire_one(self) -> None:
        """The youngest worker finishes what it has in hand, and goes."""
        data = list(self.worker_dict.values())[-1]
        self.stop_worker(data, signal.SIGTERM)
        self.worker_dict.pop(data.name)
        self._leaving.append(data)

    def _reap_leaving(self) -> None:
        self._leaving = [one for one in self._leaving if one.process.is_alive()]

    def all_workers_have_stopped(self) -> bool:
        self._reap_leaving()
        return super().all_workers_have_stopped() and not self._leaving

    def _hurry(self) -> None:
        now = time.monotonic()
        if self._stops_at is None or now < self._stops_at:
            return
        if not self._is_forced:
            self._is_forced = True
            log.warning("workers_put_their_jobs_back", workers=len(self.worker_dict))
            self._signal_all(signal.SIGTERM)
        elif now >= self._stops_at + _KILL_AFTER_S:
            self._signal_all(signal.SIGKILL)

    def _signal_all(self, number: signal.Signals) -> None:
        for data in [*self.worker_dict.values(), *self._leaving]:
            self.stop_worker(data, number)
