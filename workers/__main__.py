"""``python -m workers``: a pool of RQ workers over all queues."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Final

import redis
import structlog

# Imported here, so that a job's process is forked with them and starts at once.
import workers.exports
import workers.maintenance
import workers.notifications
import workers.payments
import workers.reports  # noqa: F401
from config import Settings, load_settings
from extensions.jobs.pool import Pool, PoolRules
from extensions.jobs.queues import Queues
from extensions.jobs.worker import DurableWorker
from extensions.logs import configure_logging
from haven.operations.kinds import QUEUES, SHARES
from haven.operations.memory_watch import watch_memory
from haven.runtime import RUNNER, jobs_redis
from workers.runner import killed, prepare

log = structlog.get_logger(__name__)
_LONGEST_WAIT_S: Final = 30
_REDIS_TIMEOUT_S: Final = 5.0


def main() -> None:
    """Work until a SIGTERM; the jobs in hand are finished first, or put back."""
    settings = load_settings()
    configure_logging(settings.log_level)
    connection = jobs_redis(settings, timeout_s=_REDIS_TIMEOUT_S)
    _wait_for(connection)
    rules = pool_rules(settings)
    DurableWorker.killed = staticmethod(partial(killed, settings))
    prepare(settings)
    queues = Queues(jobs_redis(settings, timeout_s=_REDIS_TIMEOUT_S), RUNNER, SHARES)
    log.info("workers_started", least=rules.low, most=rules.high, queues=QUEUES)
    watched = partial(watch_memory, settings, "worker", os.getpid())
    Pool(list(QUEUES), connection, queues, rules, after_fork=watched).run()


def pool_rules(settings: Settings) -> PoolRules:
    """The bounds of the pool, as the settings say."""
    return PoolRules(
        settings.worker_processes,
        max(settings.worker_processes, settings.worker_processes_max),
        settings.worker_stop_grace,
        settings.worker_idle_time,
        settings.worker_max_jobs,
        settings.worker_memory_limit,
    )


def _wait_for(connection: redis.Redis) -> None:
    """Wait until Redis answers, with a longer pause each time. It ends with the process: there is nothing else to do."""
    wait_s = 0.5
    while True:
        try:
            connection.ping()
        except redis.RedisError as error:
            log.warning("redis_unavailable", error=type(error).__name__, again_in_s=wait_s)
            time.sleep(wait_s)
            wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
        else:
            return


if __name__ == "__main__":
    main()
