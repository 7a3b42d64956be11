"""``python -m benchmarks.exports``: payments to a file through the whole job, against psql's COPY of the same query.

    make bench-exports                                  # 1,200,000 payments; some ten minutes, 6 GB in TMPDIR
    make bench-exports ARGS="--payments 50000"

By turns: psql copies the query of the CSV to /dev/null, and that of the NDJSON; then each format is made by a job of its own in
a process of its own, as a work horse has it (everything imported, its connections open), from the claim to the file in the
storage. Medians are told, their ratio to psql's of the CSV (and of NDJSON to its own), the most memory that the process ever had
(VmHWM), and a child of it (Arrow's, for Parquet), and the load of the machine.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click
from sqlalchemy import create_engine, text

from config import load_settings
from haven.db.base import PLATFORM
from haven.db.migrate import sqlalchemy_url
from haven.db.prepare import APP_ROLE, OWNER_ROLE
from haven.db.session import tenant_session
from haven.demo.service import load
from haven.demo.sizes import SIZES, Size
from haven.insight.exports import service
from haven.insight.exports.query import Plan, copy_csv, copy_json, sql_of
from haven.insight.exports.writing import FORMATS
from haven.operations.jobs import job_session
from haven.operations.models import Job
from haven.runtime import Runtime
from tests.support.servers import Addresses, ThrowAwayServers

_WHOLE: Final = 1_200_000
_JSON: Final = "psql, JSON"
_CHILD: Final = """
import contextlib, json, psutil, sys, threading, time, uuid
import haven.models
import workers.exports
from config import load_settings
from haven.runtime import Runtime
from workers.runner import prepare, run_job
settings = load_settings()
prepare(settings)
runtime = Runtime.start(settings)
agency_id, job_id = map(uuid.UUID, sys.argv[1:])
with runtime.engine.connect(), runtime.engine.connect():
    pass
over, child = threading.Event(), 0
def look():
    # Arrow's process, where there is one; rusage would count the process that it was forked from.
    global child
    while not over.wait(0.05):
        for one in psutil.Process().children():
            with contextlib.suppress(OSError, StopIteration, psutil.Error):
                if one.exe() == psutil.Process().exe() and "arrow_writer" in " ".join(one.cmdline()):
                    status = open(f"/proc/{one.pid}/status")
                    child = max(child, int(next(line for line in status if line.startswith("VmHWM")).split()[1]))
threading.Thread(target=look, daemon=True).start()
began = time.perf_counter()
outcome = run_job(runtime, agency_id, job_id)
took_s = time.perf_counter() - began
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
over.set()
print(json.dumps({"outcome": outcome, "took_s": took_s, "peak_mib": int(peak.split()[1]) / 1024, "child_mib": child / 1024}))
"""


@click.command()
@click.option("--payments", default=_WHOLE, show_default=True, help="In the one agency.")
@click.option("--rounds", default=5, show_default=True, help="Of psql, CSV and NDJSON; medians are told.")
@click.option("--slow-rounds", default=1, show_default=True, help="Of the other formats.")
def main(payments: int, rounds: int, slow_rounds: int) -> None:
    """What an export costs."""
    servers = ThrowAwayServers()
    folder = Path(tempfile.mkdtemp(prefix="haven-bench-exports-"))
    try:
        _measure(servers.start(), folder, payments, rounds, slow_rounds)
    finally:
        servers.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _measure(addresses: Addresses, folder: Path, payments: int, rounds: int, slow_rounds: int) -> None:
    name = "haven_bench_exports"
    addresses.new_database(name)
    began = time.monotonic()
    load(addresses.database_url(OWNER_ROLE, name), _size(payments))
    click.echo(f"loaded {payments:,} payments in {time.monotonic() - began:.0f} s")
    environ = {
        "DATABASE_URL": addresses.database_url(APP_ROLE, name),
        "REDIS_URL": f"{addresses.redis_url}/0",
        "SECRET_KEY": "a key that is used in benchmarks and nowhere else",
        "EXPORT_DIR": str(folder),
        "LOG_LEVEL": "ERROR",
    }
    engine = create_engine(sqlalchemy_url(environ["DATABASE_URL"]))
    with tenant_session(engine, PLATFORM, is_platform=True) as session:
        query = text("SELECT id FROM agency WHERE slug <> 'platform' ORDER BY id LIMIT 1")
        agency_id = session.execute(query).scalar_one()
    runtime = replace(Runtime.start(load_settings(environ), engine), wake=lambda *_: None)
    statements = _statements(runtime, agency_id)
    times: dict[str, list[float]] = {one: [] for one in (*statements, *FORMATS)}
    peaks: dict[str, float] = {}
    for number in range(max(rounds, slow_rounds)):
        for what, found in times.items():
            if number >= (rounds if what in (*statements, "csv", "ndjson") else slow_rounds):
                continue
            if what in statements:
                found.append(_psql(environ["DATABASE_URL"], agency_id, statements[what]))
                continue
            done = _job(runtime, environ, agency_id, what)
            found.append(done["took_s"])
            peaks[what] = max(peaks.get(what, 0), done["peak_mib"])
            click.echo(
                f"round {number + 1}: {what} {done['took_s']:.2f} s, {done['size'] / 1e6:,.1f} MB,"
                f" its own child at most {done['child_mib']:.0f} MiB, load {os.getloadavg()[0]:.1f}"
            )
    base = statistics.median(times["psql"])
    click.echo(f"\n{payments:,} payments\n          median, s   ratio to psql   peak memory, MiB")
    for what, found in times.items():
        median = statistics.median(found)
        peak = f"{peaks[what]:.0f}" if what in peaks else "-"
        click.echo(f"{what:<10}{median:8.2f}   {median / base:13.2f}   {peak:>16}")
    own = statistics.median(times["ndjson"]) / statistics.median(times[_JSON])
    click.echo(f"ndjson to psql of its own query {own:.2f}")


def _size(payments: int) -> Size:
    return replace(
        SIZES["large"],
        agencies=1,
        payments=payments,
        invoices=payments * 5 // 6,
        sets_indexes_aside=payments > 100_000,
    )


def _statements(runtime: Runtime, agency_id: uuid.UUID) -> dict[str, str]:
    plan = Plan.of("payments", {})
    with job_session(runtime, agency_id, "bench") as session:
        raw: Any = session.connection().connection.driver_connection
        with raw.cursor() as cursor:
            return {
                "psql": copy_csv(sql_of(plan.csv(), cursor), header=True),
                _JSON: copy_json(sql_of(plan.json(), cursor)),
            }


def _psql(url: str, agency_id: uuid.UUID, statement: str) -> float:
    """Seconds that psql takes for the statement, its start and connection among them."""
    environ = os.environ | {"PGOPTIONS": f"-c haven.agency_id={agency_id} -c timezone=UTC"}
    began = time.perf_counter()
    # Whole statements are too long for an argument: psql reads it.
    subprocess.run(
        ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", url],
        input=f"{statement};\n".encode(),
        env=environ,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - began


def _job(runtime: Runtime, environ: dict[str, str], agency_id: uuid.UUID, form: str) -> dict[str, Any]:
    """Make an export in a process of its own; what that says of it."""
    with job_session(runtime, agency_id, "user:00000000-0000-0000-0000-000000000000") as session:
        job_id = service.request(session, "payments", form, {})
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(agency_id), str(job_id)],
        env=os.environ | environ,
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    with job_session(runtime, agency_id, "bench") as session:
        job = session.get(Job, (agency_id, job_id))
        if job is None or job.result is None:
            raise click.ClickException(f"The export failed: {job and job.error}")
        size = job.result["size_bytes"]
    for path in Path(environ["EXPORT_DIR"]).rglob("*.*"):
        if path.is_file():
            path.unlink()
    return found | {"size": size}


if __name__ == "__main__":
    main()
