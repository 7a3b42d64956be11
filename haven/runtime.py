"""What the parts of one process share: its settings, the database's engine, Redis, breakers, and the waker of workers."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import redis
import structlog
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import SQLAlchemyError

from config import Settings
from extensions.caching.build import build_cache, watch_writes
from extensions.caching.cache import Cache
from extensions.caching.cache import Rules as CacheRules
from extensions.circuit_breaker.breaker import Breakers
from extensions.circuit_breaker.rules import Rules as BreakerRules
from extensions.database.replica import Reading, make_reading
from extensions.hold_off import guarded_redis
from extensions.jobs.queues import Queues
from haven.db.migrate import sqlalchemy_url
from haven.operations.cached_tables import CLEARS
from haven.operations.kinds import KINDS, SHARES

log = structlog.get_logger(__name__)

Wake = Callable[[uuid.UUID, uuid.UUID, str], None]
WORKER: Final = "haven-worker"
CRON: Final = "haven-cron"
"""What PostgreSQL calls the connections of a worker, and of the clock."""
RUNNER: Final = "workers.runner.run"


@dataclass(frozen=True, slots=True)
class Runtime:
    """Connects to nothing before it is used.

    ``wake(agency_id, job_id, kind)`` tells a worker of a committed job. It never raises: a job that nobody was told of is
    found by the sweeper.
    """

    settings: Settings
    engine: Engine
    redis: redis.Redis
    wake: Wake
    queues: Queues
    reading: Reading
    cache: Cache
    breakers: Breakers

    @classmethod
    def start(
        cls,
        settings: Settings,
        engine: Engine | None = None,
        *,
        reading: Reading | None = None,
        cache: Cache | None = None,
        breakers: Breakers | None = None,
    ) -> Runtime:
        """The runtime of this process; a web process brings its own ``engine``, and what its extensions made.

        Whatever is written through the engine clears the cache, in every process and whatever is switched off: else an
        answer stored before would come back.
        """
        timeout_s = settings.redis_timeout / 1000
        sessions = guarded_redis(settings.redis_url, timeout_s)
        engine = engine if engine is not None else worker_engine(settings, settings.database_url)
        jobs = guarded_redis(settings.redis_url, timeout_s, db=settings.job_queue_redis_db)
        queues = Queues(jobs, RUNNER, SHARES)
        here: list[Runtime] = []
        wake = _waker(queues) if settings.enable_job_queue else _runs_here(here)
        cache = cache or build_cache(
            settings.cache_redis_url, cache_rules(settings), timeout_s=settings.cache_timeout
        )
        watch_writes(cache, engine, CLEARS, debts=True)
        reading = reading or _reading(settings, engine, sessions)
        if breakers is None:
            breakers = Breakers(breaker_rules(settings), sessions)
        runtime = cls(settings, engine, sessions, wake, queues, reading, cache, breakers)
        here.append(runtime)
        return runtime


def cache_rules(settings: Settings) -> CacheRules:
    """How this process caches."""
    return CacheRules(
        is_on=settings.enable_cache,
        ttl_s=settings.cache_ttl_default,
        local_bytes=settings.cache_local_bytes,
    )


def breaker_rules(settings: Settings) -> BreakerRules:
    """When a circuit opens, as the settings say; the rest as the extension has it."""
    return BreakerRules(
        failure_rate=settings.breaker_failure_rate,
        minimum_calls=settings.breaker_minimum_calls,
        open_s=settings.breaker_open_time,
    )


def _reading(settings: Settings, primary: Engine, client: redis.Redis) -> Reading:
    url = settings.database_replica_url
    replica = worker_engine(settings, url) if url else None
    return make_reading(primary, replica, client, settings.database_replica_max_lag)


def worker_engine(settings: Settings, url: str, name: str = WORKER, overflow: int = 4) -> Engine:
    """The engine of a process that is no web process: few connections, the same time-outs."""
    options = f"-c statement_timeout={settings.db_statement_timeout * 10} -c timezone=UTC"
    return create_engine(
        sqlalchemy_url(url),
        pool_size=2,
        max_overflow=overflow,
        pool_timeout=settings.db_pool_timeout,
        pool_recycle=settings.db_pool_recycle,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": settings.db_connect_timeout,
            "application_name": name,
            "options": options,
        },
    )


def jobs_redis(settings: Settings, timeout_s: float | None) -> redis.Redis:
    """The Redis of the job queues, for workers: they wait on it without a time-out of their own (None)."""
    arguments: dict[str, Any] = {"socket_connect_timeout": 2.0, "socket_timeout": timeout_s}
    connection = redis.Redis.from_url(settings.redis_url, **arguments)
    pool = connection.connection_pool
    pool.connection_kwargs["db"] = settings.job_queue_redis_db
    return connection


def _waker(queues: Queues) -> Wake:
    def wake(agency_id: uuid.UUID, job_id: uuid.UUID, kind: str) -> None:
        spec = KINDS[kind]
        try:
            queues.wake(str(agency_id), job_id, spec.queue, kind, spec.timeout_s)
        except redis.RedisError as error:
            log.warning("worker_not_woken", job_id=str(job_id), kind=kind, error=type(error).__name__)

    return wake


def _runs_here(here: list[Runtime]) -> Wake:
    """Without a job queue a job runs in the process that asks for it, once its transaction is committed."""

    def run(agency_id: uuid.UUID, job_id: uuid.UUID, kind: str) -> None:
        import importlib

        runner = importlib.import_module(RUNNER.rpartition(".")[0])
        try:
            runner.run_job(here[0], agency_id, job_id)
        except SQLAlchemyError as error:  # its row is there: the clock finds it
            log.warning("job_not_run_here", job_id=str(job_id), kind=kind, error=type(error).__name__)

    return run
