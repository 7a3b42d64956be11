"""The throw-away PostgreSQL and Valkey of one test run, and the database that every test process copies."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import psycopg2
from psycopg2 import sql

from haven.db.migrate import upgrade
from haven.db.prepare import APP_ROLE, OWNER_ROLE, prepare_server
from haven.embedded_servers import (
    EmbeddedPostgres,
    EmbeddedValkey,
    ServerUnavailable,
    free_port,
    own_folder,
    postgres_account,
)
from haven.supervisor import ProcessRecord, Supervisor, create_time, find_process, stop_left_over

PREFIX: Final = "haven-tests-"
TEMPLATE: Final = "haven_template"
REDIS_DATABASES: Final = 256
RECORDS: Final = "processes.json"


@dataclass(frozen=True)
class Addresses:
    """Where the servers of this run are; plain values, so that it reaches other test processes as JSON."""

    superuser_url: str
    redis_url: str
    """Without a database number."""
    owner_password: str
    app_password: str

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Addresses:
        return Addresses(**json.loads(text))

    def database_url(self, role: str, database: str) -> str:
        """The URL of a database as one of the roles haven_owner and haven_app."""
        password = {OWNER_ROLE: self.owner_password, APP_ROLE: self.app_password}[role]
        host = urlsplit(self.superuser_url).netloc.rpartition("@")[2]
        return f"postgresql://{role}:{quote(password)}@{host}/{database}"

    def new_database(self, name: str, template: str = TEMPLATE) -> None:
        """A database of its own: migrated, and empty but for the platform's row. One left by that name goes."""
        with superuser_cursor(self.superuser_url) as cursor:
            cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            cursor.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
                    *(sql.Identifier(part) for part in (name, template, OWNER_ROLE))
                )
            )


@contextmanager
def superuser_cursor(url: str) -> Iterator[Any]:
    """A cursor that commits each statement."""
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


class ThrowAwayServers:
    """Starts both servers in a temporary folder, and removes them with it."""

    def __init__(self) -> None:
        stop_abandoned()
        self._folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._folder.chmod(0o711)  # PostgreSQL's user passes through
        self._supervisor = Supervisor(self._folder, self._write_down)

    def start(self) -> Addresses:
        """Both servers, with the template database prepared and migrated (in about 3 s)."""
        home = self._folder / "postgres"
        account = postgres_account(home / "data")
        if not own_folder(home, account):
            raise ServerUnavailable(
                f"PostgreSQL's user cannot reach {home}; set TMPDIR to a folder that all reach."
            )
        settings = {"max_connections": "400"}
        postgres = EmbeddedPostgres(
            home, free_port(), secrets.token_hex(8), account, durable=False, settings=settings
        )
        valkey = EmbeddedValkey(
            self._folder / "valkey",
            free_port(),
            secrets.token_hex(8),
            durable=False,
            databases=REDIS_DATABASES,
        )
        valkey.prepare()
        self._supervisor.start(valkey.program())
        postgres.prepare()
        self._supervisor.start(postgres.program())
        self._supervisor.wait_ready(["postgres", "valkey"], deadline_s=30)
        addresses = Addresses(
            postgres.url(), valkey.url().rpartition("/")[0], secrets.token_hex(8), secrets.token_hex(8)
        )
        prepare_server(addresses.superuser_url, TEMPLATE, addresses.owner_password, addresses.app_password)
        upgrade(addresses.database_url(OWNER_ROLE, TEMPLATE))
        return addresses

    def stop(self) -> None:
        self._supervisor.stop(hurry=lambda: True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write_down(self, records: list[ProcessRecord]) -> None:
        ourselves = ProcessRecord("pytest", os.getpid(), create_time(os.getpid()))
        text = json.dumps([asdict(record) for record in [ourselves, *records]])
        (self._folder / RECORDS).write_text(text)


def stop_abandoned() -> None:
    """Stop the servers of test runs that were killed before they could."""
    for folder in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        try:
            records = [ProcessRecord(**record) for record in json.loads((folder / RECORDS).read_text())]
        except (OSError, ValueError):
            continue
        pytest_itself, *servers = records
        if find_process(pytest_itself) is None:
            stop_left_over(servers, patience_s=3)
            shutil.rmtree(folder, ignore_errors=True)
