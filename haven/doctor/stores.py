"""Whether PostgreSQL and Redis are there, and set up as Haven needs them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import redis
from rq import Worker
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from config import Settings
from extensions.addresses import place_of
from extensions.hold_off import guarded_redis
from haven.db import migrate
from haven.doctor.findings import Finding, fail, ok, warn
from haven.doctor.mpesa import skew_of
from haven.runtime import CRON, jobs_redis

DATABASE: Final = "database"
MIGRATIONS: Final = "migrations"
REDIS: Final = "Redis"
PROCESSES: Final = "processes"
_TIMEOUT_S: Final = 5
_POSTGRES_OLDEST: Final = 18
_REDIS_OLDEST: Final = 6
_SKEW_WARN_S: Final = 2.0
_WORKER_CONNECTIONS: Final = 6

_ABOUT: Final = text(
    """
    SELECT current_setting('server_version_num')::int / 10000 AS version, current_user AS role,
           (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user) AS is_above_the_wall,
           EXISTS (SELECT 1 FROM pg_class WHERE oid = to_regclass('public.payment')
                   AND pg_has_role(current_user, relowner, 'USAGE')) AS owns_the_tables,
           current_setting('max_connections')::int AS most,
           extract(epoch FROM clock_timestamp())::float8 AS clock
    """
)


def check_database(settings: Settings) -> Iterator[Finding]:
    """The findings about PostgreSQL: its version, the application's role, room for connections, the clock, the schema."""
    host = urlsplit(settings.database_url).hostname
    try:
        with _connected(settings) as connection:
            started = time.time()
            about = connection.execute(_ABOUT).one()
            middle = (started + time.time()) / 2
            revision = _revision(connection)
    except SQLAlchemyError as error:
        yield fail(
            DATABASE,
            f"PostgreSQL at {host} cannot be used ({type(error).__name__}).",
            "Look at DATABASE_URL, whether the server runs, and whether it lets this machine in (pg_hba.conf).",
        )
        return
    yield from _of_the_server(settings, about)
    yield skew_of("PostgreSQL", about.clock - middle, _SKEW_WARN_S)
    yield _of_the_schema(revision)


def check_redis(settings: Settings) -> Iterator[Finding]:
    """The findings about Redis or Valkey: whether it answers, how old it is, what it throws away when it is full."""
    hosts, path = place_of(settings.redis_url)
    host = hosts or path
    try:
        about: dict[str, Any] = guarded_redis(settings.redis_url, _TIMEOUT_S).info()
    except redis.RedisError as error:
        yield fail(
            REDIS,
            f"Redis at {host} cannot be used ({type(error).__name__}).",
            "Look at REDIS_URL and whether the server runs. Nothing is lost meanwhile: jobs wait, and answers are slower.",
        )
        return
    version = str(about.get("valkey_version") or about.get("redis_version", "0"))
    if int(version.partition(".")[0]) < _REDIS_OLDEST:
        yield fail(REDIS, f"It is version {version}.", f"Use Redis {_REDIS_OLDEST} or newer, or Valkey.")
    yield from _of_its_memory(about)
    yield ok(REDIS, f"{host} answers (version {version}).")


def check_processes(settings: Settings) -> Iterator[Finding]:
    """The findings about workers and the clock, as far as they show: workers in Redis, the clock in PostgreSQL."""
    if settings.enable_job_queue:
        yield _of_the_workers(settings)
    try:
        with _connected(settings) as connection:
            clocks = connection.execute(
                text(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name = :name"
                ),
                {"name": CRON},
            ).scalar_one()
    except SQLAlchemyError:
        return  # the check of the database says so
    if clocks:
        yield ok(PROCESSES, "The clock (python -m workers.cron) is connected.")
    else:
        yield warn(
            PROCESSES,
            "No clock is seen at PostgreSQL: what gets lost on the way is not found.",
            "Start `python -m workers.cron`; behind a pooler it may run unseen.",
        )


def _connected(settings: Settings) -> Connection:
    engine = create_engine(
        migrate.sqlalchemy_url(settings.database_url),
        poolclass=NullPool,
        connect_args={
            "connect_timeout": _TIMEOUT_S,
            "application_name": "haven-doctor",
            "options": f"-c statement_timeout={_TIMEOUT_S * 1000}",
        },
    )
    return engine.connect()


def _revision(connection: Connection) -> str | None:
    if connection.execute(text("SELECT to_regclass('public.alembic_version')")).scalar() is None:
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _of_the_server(settings: Settings, about: Any) -> Iterator[Finding]:
    if about.version < _POSTGRES_OLDEST:
        yield fail(
            DATABASE, f"It is PostgreSQL {about.version}.", f"Haven needs {_POSTGRES_OLDEST} or newer."
        )
    if about.is_above_the_wall:
        yield fail(
            DATABASE,
            f"The role {about.role} is a superuser or has BYPASSRLS: the wall between agencies does not hold it.",
            "Make Haven's roles with `haven db prepare`, and set DATABASE_URL to haven_app.",
        )
    elif about.owns_the_tables:
        yield warn(
            DATABASE,
            f"The role {about.role} owns the tables: the application could change the schema.",
            "Set DATABASE_URL to haven_app and DATABASE_OWNER_URL to haven_owner (`haven db prepare`).",
        )
    else:
        yield ok(DATABASE, f"PostgreSQL {about.version} answers; the role {about.role} is held by the wall.")
    wanted = settings.web_concurrency * settings.db_pool_max + settings.worker_processes * _WORKER_CONNECTIONS
    if wanted > about.most:
        yield warn(
            DATABASE,
            f"Web and workers of this host may open {wanted} connections; max_connections is {about.most}.",
            "Lower DB_POOL_MAX or WEB_CONCURRENCY, raise max_connections, or put a pooler between.",
        )


def _of_the_schema(revision: str | None) -> Finding:
    newest = migrate.head()
    if revision == newest:
        return ok(MIGRATIONS, f"The schema is at revision {revision}, as this code needs it.")
    return fail(
        MIGRATIONS,
        f"The schema is at revision {revision or 'none'}; this code needs {newest}.",
        "Run `haven db upgrade`; where the schema is newer than the code, deploy the newer code.",
    )


def _of_its_memory(about: dict[str, Any]) -> Iterator[Finding]:
    policy = str(about.get("maxmemory_policy", "noeviction"))
    if policy.startswith("allkeys"):
        yield warn(
            REDIS,
            f"When it is full it throws away any key ({policy}), the wake-ups of jobs too.",
            "Set maxmemory-policy to volatile-lfu: only what has an end may go.",
        )
    elif policy == "noeviction" and int(about.get("maxmemory", 0)):
        yield warn(
            REDIS,
            "When it is full it takes no writes at all (noeviction).",
            "Set maxmemory-policy to volatile-lfu: what is cached makes room.",
        )


def _of_the_workers(settings: Settings) -> Finding:
    connection = jobs_redis(settings, timeout_s=_TIMEOUT_S)
    try:
        with connection:
            alive = len(Worker.all(connection=connection))
    except redis.RedisError as error:
        return warn(
            PROCESSES,
            f"Whether workers are alive cannot be seen ({type(error).__name__}).",
            "See what is said of Redis.",
        )
    if alive:
        return ok(PROCESSES, f"{alive} workers are alive.")
    return fail(PROCESSES, "No worker is alive: jobs wait.", "Start `python -m workers`.")
