"""``python -m workers``: a pool of RQ workers over all queues."""

from __future__ import annotations

import time
from typing import Final

import redis
import structlog
from rq.serializers import JSONSerializer
from rq.worker_pool import WorkerPool

# Imported here, so that a job's process is forked with them and starts at once.
import workers.maintenance
import workers.notifications
import workers.payments
import workers.reports  # noqa: F401
from config import load_settings
from extensions.logs import configure_logging
from haven.operations.kinds import QUEUES
from haven.runtime import jobs_redis

log = structlog.get_logger(__name__)
_LONGEST_WAIT_S: Final = 30


def main() -> None:
    """Work until a SIGTERM; the job in hand is finished first."""
    settings = load_settings()
    configure_logging(settings.log_level)
    connection = jobs_redis(settings, timeout_s=None)
    _wait_for(connection)
    pool = WorkerPool(
        list(QUEUES),
        connection=connection,
        num_workers=settings.worker_processes,
        serializer=JSONSerializer,
    )
    log.info("workers_started", processes=settings.worker_processes, queues=QUEUES)
    pool.start(logging_level="WARNING")


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
