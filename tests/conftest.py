"""Fixtures of all tests: real servers, started once for the whole run, and a database for each test process.

Tests share that database: each makes an agency of its own, and the tenant wall keeps them apart.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from sqlalchemy import Engine, create_engine

from config import Settings, load_settings
from extensions.caching.build import build_cache, watch_writes
from haven.db.migrate import sqlalchemy_url
from haven.db.prepare import APP_ROLE, OWNER_ROLE
from haven.operations.cached_tables import CLEARS
from tests.support.live import LiveStack, start_live_stack
from tests.support.servers import Addresses, ThrowAwayServers
from tests.support.stall import StallWatch

if TYPE_CHECKING:
    from flask import Flask
    from flask.testing import FlaskClient

# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis.settings.register_profile(
    "haven", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("haven")

_servers = pytest.StashKey[ThrowAwayServers]()
_addresses = pytest.StashKey[Addresses]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the servers in the process that the person started; xdist's workers are told where they are."""
    config = session.config
    if hasattr(config, "workerinput"):
        config.stash[_addresses] = Addresses.from_json(config.workerinput["addresses"])
    elif not config.option.collectonly:
        # A polite kill ends like Ctrl-C: with the servers stopped.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if config.option.markexpr == "not long":
            config.pluginmanager.register(StallWatch(), "stall-watch")
        config.stash[_servers] = ThrowAwayServers()
        config.stash[_addresses] = config.stash[_servers].start()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["addresses"] = node.config.stash[_addresses].to_json()


def pytest_unconfigure(config: pytest.Config) -> None:
    if (servers := config.stash.get(_servers, None)) is not None:
        servers.stop()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of the live stack in one process, so that it is started once (`--dist loadgroup`)."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from tests.support.scheduling import OneLiveStack

    return OneLiveStack(config, log)


@pytest.fixture(scope="session")
def worker_number() -> int:
    """0, 1, … of this test process."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


@pytest.fixture(scope="session")
def addresses(request: pytest.FixtureRequest) -> Addresses:
    """The throw-away servers and their roles' passwords."""
    return request.config.stash[_addresses]


@pytest.fixture(scope="session")
def superuser_url(addresses: Addresses) -> str:
    """PostgreSQL as its superuser, whom no row-level security binds."""
    return addresses.superuser_url


@pytest.fixture(scope="session")
def database_name(addresses: Addresses, worker_number: int) -> str:
    """This test process's database, migrated."""
    name = f"haven_{worker_number}"
    addresses.new_database(name)
    return name


@pytest.fixture(scope="session")
def owner_url(addresses: Addresses, database_name: str) -> str:
    """The database as the role that migrates and owns the tables."""
    return addresses.database_url(OWNER_ROLE, database_name)


@pytest.fixture(scope="session")
def database_url(addresses: Addresses, database_name: str) -> str:
    """The database as the application's role, which row-level security binds."""
    return addresses.database_url(APP_ROLE, database_name)


@pytest.fixture(scope="session")
def redis_url(addresses: Addresses, worker_number: int) -> str:
    """A Valkey database of this test process alone; the next number is its job queue's."""
    return f"{addresses.redis_url}/{worker_number * 4}"


@pytest.fixture(scope="session")
def environ(
    database_url: str, owner_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The settings of the tests as environment variables: to change one, make your own of a copy."""
    return {
        "DATABASE_URL": database_url,
        "DATABASE_OWNER_URL": owner_url,
        "REDIS_URL": redis_url,
        "JOB_QUEUE_REDIS_DB": str(int(redis_url.rpartition("/")[2]) + 1),
        "SECRET_KEY": "a key that is used in tests and nowhere else",
        "PUBLIC_URL": "http://haven.test",
        "EXPORT_DIR": str(tmp_path_factory.mktemp("exports")),
        "ARGON2_MEMORY_KIB": "64",
        "ARGON2_TIME_COST": "1",
        "RATE_LIMIT_MAX_REQUESTS": "1000000",
        # A busy machine must not look like a Redis that is away.
        "CACHE_TIMEOUT": "10",
        "REDIS_TIMEOUT": "20000",
        "DB_POOL_MIN": "1",
        "DB_POOL_MAX": "10",
    }


@pytest.fixture(scope="session")
def settings(environ: dict[str, str]) -> Settings:
    """The settings of the tests."""
    return load_settings(environ)


@pytest.fixture(scope="session")
def engine(database_url: str, settings: Settings) -> Iterator[Engine]:
    """An engine of the application's role."""
    engine = create_engine(sqlalchemy_url(database_url))
    # What a test writes past the application clears what that has stored, as a worker's writes do.
    watch_writes(
        build_cache(settings.cache_redis_url, timeout_s=settings.cache_timeout), engine, CLEARS, debts=True
    )
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def app(settings: Settings) -> Flask:
    """The application, one for this test process."""
    from haven.app import create_app

    return create_app(settings)


@pytest.fixture
def settled_cache(app: Flask) -> None:
    """What other tests of this process left unsaid, with a Redis of theirs that was dead, is settled: a stored answer is trusted."""
    debts = app.extensions["haven"].cache.debts
    assert any(debts.are_none() for _ in range(10))


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client of the application, with no cookies of another test."""
    return app.test_client()


@pytest.fixture(scope="session")
def start_stack(
    addresses: Addresses, worker_number: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., LiveStack]]:
    """A function that runs `haven up` for a test, and stops it at the end of the run.

    ``start_stack()`` uses the throw-away servers, with a database of its own;
    ``start_stack(own_servers=True)`` has a PostgreSQL and a Valkey of its own, to be killed or flushed at will.
    Keyword arguments in upper case are settings: ``start_stack(ACCESS_TOKEN_TTL="60")``.
    """
    stacks: list[LiveStack] = []

    def start(*, own_servers: bool = False, **environ: str) -> LiveStack:
        folder = tmp_path_factory.mktemp("stack")
        if not own_servers:
            environ = _environ_on(addresses, worker_number, len(stacks)) | environ
        stacks.append(start_live_stack(folder, environ))
        return stacks[-1]

    yield start
    for stack in stacks:
        stack.stop()


def _environ_on(addresses: Addresses, worker_number: int, count: int) -> dict[str, str]:
    database, redis_database = f"haven_live_{worker_number}_{count}", worker_number * 4 + 2
    addresses.new_database(database)
    return {
        "DATABASE_URL": addresses.database_url(APP_ROLE, database),
        "DATABASE_OWNER_URL": addresses.database_url(OWNER_ROLE, database),
        "REDIS_URL": f"{addresses.redis_url}/{redis_database}",
        "JOB_QUEUE_REDIS_DB": str(redis_database + 1),
    }


@pytest.fixture(scope="session")
def live_stack(start_stack: Callable[..., LiveStack]) -> LiveStack:
    """The whole of Haven, running: two web processes, a worker, cron, the M-Pesa simulator, and the demo."""
    return start_stack(RATE_LIMIT_MAX_REQUESTS="1000000", ARGON2_MEMORY_KIB="64", ARGON2_TIME_COST="1")


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The project's folder."""
    return Path(__file__).parent.parent
