"""An RQ worker that can be stopped without loss, that no queue starves under, and that comes back when Redis does."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, ClassVar, Final

import psutil
import redis
from rq import Queue, Worker
from rq import worker_registration as registration
from rq.job import Job
from rq.utils import now

from extensions.jobs.attempt import KILLED
from extensions.jobs.watch import PUT_BACK_SIGNAL

Killed = Callable[[str, str, str, str], None]
"""Told of a work horse that was killed: the owner and id of its job, the worker's name, and a sentence."""
_OTHERS_EVERY: Final = 4
"""Each fourth look begins with another queue than the first, so that none starves."""
_TTL_S: Final = 45
_RECONNECT_S: Final = 2.0


class DurableWorker(Worker):
    """Differs from RQ's in what happens when somebody or something dies."""

    max_connection_wait_time = _RECONNECT_S
    killed: ClassVar[Killed | None] = None
    memory_limit: ClassVar[int] = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"worker_ttl": _TTL_S, "job_monitoring_interval": 10, **kwargs})
        self.log_job_description = False
        self._looks = 0
        self._first = list(self._ordered_queues)

    def reorder_queues(self, reference_queue: Queue) -> None:  # noqa: ARG002
        """The queues in their order; each fourth time one of the others first, in turn."""
        self._looks += 1
        turn, rest = divmod(self._looks, _OTHERS_EVERY)
        at = 0 if rest else turn % len(self._first)
        self._ordered_queues = [self._first[at], *self._first[:at], *self._first[at + 1 :]]

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """As RQ's; registers the worker again where Redis has forgotten it."""
        if (
            pipeline is None
            and self.birth_date is not None
            and not self.connection.hexists(self.key, "birth")
        ):
            self.last_heartbeat = now()
            self.connection.hset(self.key, mapping=self.serialize())
            registration.register(self)
        super().heartbeat(timeout, pipeline)

    def execute_job(self, job: Job, queue: Queue) -> None:
        super().execute_job(job, queue)
        if self.memory_limit and psutil.Process().memory_info().rss > self.memory_limit:
            self.log.info("Worker %s: has grown too big, another takes its place", self.name)
            self._stop_requested = True

    def setup_work_horse_signals(self) -> None:
        """The horse hears of a stop from its worker only: a platform sends SIGTERM to every process at once."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """The grace is over: the horse puts its job back and ends, and with it the worker."""
        asked = self._shutdown_requested_date
        if asked is not None and (now() - asked).total_seconds() < 1:
            return
        if self.horse_pid:
            self._signal_horse(PUT_BACK_SIGNAL)

    def handle_work_horse_killed(self, job: Job, retpid: Any, ret_val: Any, rusage: Any) -> None:
        """Say so in the job's row at once, rather than when its lease runs out."""
        super().handle_work_horse_killed(job, retpid, ret_val, rusage)  # type: ignore[no-untyped-call]
        tell = type(self).killed
        if tell is None:
            return
        is_signal = ret_val is not None and os.WIFSIGNALED(ret_val)
        how = f"signal {os.WTERMSIG(ret_val)}" if is_signal else f"wait status {ret_val}"
        try:
            owner, job_id = job.args
            tell(owner, job_id, self.name, KILLED.format(how=how))
        except Exception as error:  # noqa: BLE001  the lease runs out, and another worker has the job
            self.log.warning("Worker %s: killed horse not written down: %s", self.name, type(error).__name__)

    def _signal_horse(self, number: signal.Signals) -> None:
        try:
            os.kill(self.horse_pid, number)
        except ProcessLookupError:
            self.log.debug("Worker %s: horse already dead", self.name)


def registered(connection: redis.Redis) -> int:
    """How many workers are alive, by what they say in Redis."""
    return len(registration.get_keys(connection=connection))
