"""A PostgreSQL of a test's own, and a streaming replica of it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from haven.db.migrate import upgrade
from haven.db.prepare import APP_ROLE, OWNER_ROLE, prepare_server, with_role
from haven.embedded_servers import (
    EmbeddedPostgres,
    ServerUnavailable,
    free_port,
    own_folder,
    postgres_account,
)
from haven.supervisor import ProcessRecord, Supervisor, create_time
from tests.support.servers import PREFIX, RECORDS, superuser_cursor

DATABASE = "haven"


@dataclass
class Pair:
    """Both servers; the replica can be stopped and started again."""

    primary: EmbeddedPostgres
    replica: EmbeddedPostgres
    app_password: str
    supervisor: Supervisor
    replica_supervisor: Supervisor

    @property
    def database_url(self) -> str:
        return with_role(self.primary.url(), APP_ROLE, self.app_password, DATABASE)

    @property
    def replica_url(self) -> str:
        return with_role(self.replica.url(), APP_ROLE, self.app_password, DATABASE)

    def on_replica(self, statement: str) -> None:
        with superuser_cursor(self.replica.url()) as cursor:
            cursor.execute(statement)

    def start_replica(self) -> None:
        self.replica_supervisor.start(self.replica.program())
        self.replica_supervisor.wait_ready(["postgres"], deadline_s=60)

    def kill_replica(self) -> None:
        self.replica_supervisor.stop(hurry=lambda: True)


@contextmanager
def replicated() -> Iterator[Pair]:
    """Start both; the schema of Haven is there."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    folder.chmod(0o711)  # PostgreSQL's user passes through
    homes = [folder / "primary", folder / "replica"]
    account = postgres_account(homes[0] / "data")
    for home in homes:
        if not own_folder(home, account):
            raise ServerUnavailable(
                f"PostgreSQL's user cannot reach {home}; set TMPDIR to a folder that all reach."
            )
    password = secrets.token_hex(8)
    primary, replica = (
        EmbeddedPostgres(
            home, free_port(), password, account, durable=False, settings={"max_connections": "60"}
        )
        for home in homes
    )
    logs = [folder / "logs-primary", folder / "logs-replica"]
    for one in logs:
        one.mkdir()
    records = WrittenDown(folder)
    supervisors = [Supervisor(log, records.of(log.name)) for log in logs]
    pair = Pair(primary, replica, secrets.token_hex(8), *supervisors)
    try:
        primary.prepare()
        pair.supervisor.start(primary.program())
        pair.supervisor.wait_ready(["postgres"], deadline_s=60)
        owner_password = secrets.token_hex(8)
        prepare_server(primary.url(), DATABASE, owner_password, pair.app_password)
        upgrade(with_role(primary.url(), OWNER_ROLE, owner_password, DATABASE))
        _copy(primary, replica)
        replica.prepare()
        pair.start_replica()
        yield pair
    finally:
        pair.replica_supervisor.stop(hurry=lambda: True)
        pair.supervisor.stop(hurry=lambda: True)
        shutil.rmtree(folder, ignore_errors=True)


class WrittenDown:
    """The processes of both servers in a file, by which the next test run stops them if this one is killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._records: dict[str, list[ProcessRecord]] = {}

    def of(self, name: str) -> Callable[[list[ProcessRecord]], None]:
        def write_down(records: list[ProcessRecord]) -> None:
            self._records[name] = records
            ourselves = ProcessRecord("pytest", os.getpid(), create_time(os.getpid()))
            every = [ourselves, *(one for records in self._records.values() for one in records)]
            (self._folder / RECORDS).write_text(json.dumps([asdict(one) for one in every]))

        return write_down


def _copy(primary: EmbeddedPostgres, replica: EmbeddedPostgres) -> None:
    binary = Path(primary.program().argv[0]).with_name("pg_basebackup")
    arguments = ["--pgdata", str(replica.data), "--write-recovery-conf", "--checkpoint", "fast", "--no-sync"]
    subprocess.run(
        [str(binary), "--dbname", primary.url(), *arguments],
        cwd="/",
        env={"LC_ALL": "C"},
        check=True,
        capture_output=True,
        timeout=100,
        **(primary.account.popen_arguments() if primary.account else {}),
    )
