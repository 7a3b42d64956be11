"""Rows in bulk by a job, on servers of its own: rates against a plain COPY, memory, and what the web process takes.

    python -m benchmarks.bulk copy [rows]      100,000 tenants all or nothing against COPY of them, with and without triggers
    python -m benchmarks.bulk rates [rows]     rows a second of each resource and operation
    python -m benchmarks.bulk million [rows]   a file of so many tenants; its time and peak memory
    python -m benchmarks.bulk refused [rows]   the same with its last row wrong: nothing is left
    python -m benchmarks.bulk upload [mb]      a gunicorn worker that is sent a file so large; its peak memory

The job is the whole of it: storing the CSV file, then the worker's function, all or nothing. COPY is the superuser's (a
tenant's is refused), of rows that are ready; medians of three rounds, in turn.
"""

from __future__ import annotations

import io
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import httpx
import psycopg2
from sqlalchemy import text

from config import load_settings
from haven.app import create_app
from haven.bulk import running
from haven.bulk.models import BulkUpload
from haven.db.base import new_id
from haven.db.prepare import APP_ROLE, OWNER_ROLE
from haven.embedded_servers import free_port
from haven.operations import jobs
from haven.operations.models import Job
from haven.runtime import Runtime
from tests.api.operations import signed_in
from tests.support.builders import an_agency
from tests.support.servers import ThrowAwayServers
from workers.runner import run_job

ROUNDS: Final = 3
DATABASE: Final = "haven_bulk"
HEAD: Final = "Name,Phone,Email,ID No"


def main() -> None:
    """Run what is asked for."""
    what = sys.argv[1] if len(sys.argv) > 1 else "copy"
    size = (
        int(sys.argv[2])
        if len(sys.argv) > 2
        else {"million": 1_000_000, "refused": 1_000_000, "upload": 100, "rates": 20_000}.get(what, 100_000)
    )
    servers = ThrowAwayServers()
    try:
        addresses = servers.start()
        addresses.new_database(DATABASE)
        environ = {
            "DATABASE_URL": addresses.database_url(APP_ROLE, DATABASE),
            "DATABASE_OWNER_URL": addresses.database_url(OWNER_ROLE, DATABASE),
            "REDIS_URL": f"{addresses.redis_url}/0",
            "SECRET_KEY": "a key that is used in benchmarks and nowhere else",
            "PUBLIC_URL": "http://haven.test",
        }
        superuser = addresses.superuser_url.rpartition("/")[0] + f"/{DATABASE}"
        acts: dict[str, Callable[[], None]] = {
            "copy": lambda: _compare(_runtime(environ), superuser, size),
            "rates": lambda: _rates(_runtime(environ), size),
            "million": lambda: _million(environ, size, "False"),
            "refused": lambda: _million(environ, size, "True"),
            "upload": lambda: _upload(environ, size),
        }
        acts[what]()
    finally:
        servers.stop()


def say(words: str) -> None:
    """One line for whoever waits."""
    print(words, flush=True)  # noqa: T201


def _runtime(environ: dict[str, str]) -> Runtime:
    runtime: Runtime = create_app(load_settings(environ)).extensions["haven"]
    return runtime


def _compare(runtime: Runtime, superuser: str, rows: int) -> None:
    ways: dict[str, Callable[[uuid.UUID], None]] = {
        "the job": lambda agency: _tenants(runtime, agency, rows),
        "COPY": lambda agency: _copy(superuser, agency, rows, "origin"),
        "COPY without triggers": lambda agency: _copy(superuser, agency, rows, "replica"),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            agency = an_agency(runtime.engine)
            started = time.perf_counter()
            way(agency)
            taken[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(seconds) for name, seconds in taken.items()}
    for name, seconds in medians.items():
        ratio = seconds / medians["the job"]
        say(f"{name:24} {seconds:7.2f} s  {rows / seconds:9,.0f} rows/s  the job has {ratio:.2f} of it")


def _tenants(runtime: Runtime, agency_id: uuid.UUID, rows: int) -> None:
    lines = (f"Tenant Number {n},07{n:08},t{n}@makao.test,{n}" for n in range(rows))
    _job(runtime, agency_id, "tenants", "CREATE", [HEAD, *lines])


def _job(runtime: Runtime, agency_id: uuid.UUID, resource: str, operation: str, lines: Iterable[str]) -> int:
    """Do the file by a job, whole; how many rows."""
    file = io.BytesIO("\n".join([*lines, ""]).encode())
    order = running.Order(resource, operation, "ATOMIC", "CSV", is_dry_run=False)
    with jobs.job_session(runtime, agency_id, "bench") as session:
        upload_id = running.keep(session, order, file)
        job_id = jobs.submit(session, "bulk_apply", {"upload_id": str(upload_id)})
    outcome = run_job(runtime, agency_id, job_id)
    with jobs.job_session(runtime, agency_id, "bench") as session:
        report: Any = session.get_one(BulkUpload, (agency_id, upload_id)).report
        error = session.get_one(Job, (agency_id, job_id)).error
    assert (outcome, report.get("failed")) == ("SUCCEEDED", 0), (outcome, error, report.get("errors", ())[:3])
    done: int = report["succeeded"]
    return done


def _copy(superuser: str, agency_id: uuid.UUID, rows: int, role: str) -> None:
    lines = (
        f"{agency_id}\t{new_id()}\tTenant Number {n}\t+2547{n:08}\tt{n}@makao.test\t{n}\n"
        for n in range(rows)
    )
    file = io.BytesIO("".join(lines).encode())
    connection = psycopg2.connect(superuser)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SET session_replication_role = %s", (role,))
            cursor.execute("SELECT set_config('haven.agency_id', %s, true)", (str(agency_id),))
            started = "COPY tenant (agency_id, id, full_name, phone, email, national_id) FROM STDIN"
            cursor.copy_expert(started, file)
    finally:
        connection.close()


def _rates(runtime: Runtime, rows: int) -> None:
    """Each resource made, changed and removed; ``rows`` tenants, units and leases, payments of all those leases."""
    agency = an_agency(runtime.engine)

    def timed(resource: str, operation: str, lines: list[str]) -> None:
        started = time.perf_counter()
        done = _job(runtime, agency, resource, operation, lines)
        seconds = time.perf_counter() - started
        say(
            f"{resource:11} {operation.lower():7} {done:8,} rows {seconds:7.2f} s {done / seconds:8,.0f} rows/s"
        )

    def ids(table: str, order: str = "id") -> list[str]:
        with jobs.job_session(runtime, agency, "bench") as session:
            return [
                str(one)
                for one in session.execute(text(f"SELECT id FROM {table} ORDER BY {order}")).scalars()  # noqa: S608
            ]

    timed("properties", "CREATE", ["Building,Code,Type", *(f"Makao {n},M{n},APARTMENT" for n in range(rows))])
    timed("properties", "UPDATE", ["id,Location", *(f"{one},Kilimani" for one in ids("property"))])
    home = ids("property")[0]
    timed("tenants", "CREATE", [HEAD, *(f"Tenant {n},07{n:08},t{n}@makao.test,{n}" for n in range(rows))])
    timed("tenants", "UPDATE", ["id,Notes", *(f"{one},paid up" for one in ids("tenant"))])
    timed("units", "CREATE", ["Property,Unit,Rent", *(f"{home},U{n},25000" for n in range(rows))])
    timed("units", "UPDATE", ["id,Rent", *(f"{one},26000" for one in ids("unit"))])
    let = zip(ids("unit"), ids("tenant"), strict=True)
    timed("leases", "CREATE", ["Unit,Tenant,Start", *(f"{unit},{tenant},2026-01-01" for unit, tenant in let)])
    timed("leases", "UPDATE", ["id,Grace", *(f"{one},7" for one in ids("lease"))])
    leases = ids("lease")
    _bill(runtime, agency)
    timed("payments", "CREATE", ["lease_id,Amount,Method", *(f"{one},30000,CASH" for one in leases)])
    mpesa = [f"{one},1000,MPESA,RCP{n:07}" for n, one in enumerate(leases)]
    timed("payments", "CREATE", ["lease_id,Amount,Method,Receipt No", *mpesa])
    with jobs.job_session(runtime, agency, "bench") as session:
        session.execute(
            text(
                "INSERT INTO payment (agency_id, id, lease_id, tenant_id, amount, method) SELECT agency_id, uuidv7(), id, tenant_id, 1, 'CARD' FROM lease"
            )
        )
    pending = ids("payment WHERE status = 'PENDING'")
    timed("payments", "UPDATE", ["id,Ref", *(f"{one},slip {n}" for n, one in enumerate(pending))])
    agency = an_agency(runtime.engine)
    _tenants(runtime, agency, rows)
    timed("tenants", "DELETE", ["id", *ids("tenant")])


def _bill(runtime: Runtime, agency_id: uuid.UUID) -> None:
    """An open invoice of 26,000 for each lease, so that payments have something to pay."""
    with jobs.job_session(runtime, agency_id, "bench") as session:
        session.execute(
            text(
                "WITH billed AS (INSERT INTO invoice (agency_id, id, lease_id, tenant_id, number, period_start, period_end,"
                " issued_at, due_at, total, status) SELECT agency_id, uuidv7(), id, tenant_id, row_number() OVER (),"
                " '2026-01-01', '2026-01-31', now(), '2026-01-05', 26000, 'OVERDUE' FROM lease RETURNING agency_id, id)"
                " INSERT INTO invoice_line (agency_id, id, invoice_id, position, kind, description, amount)"
                " SELECT agency_id, uuidv7(), id, 1, 'RENT', 'Rent', 26000 FROM billed"
            )
        )


def _million(environ: dict[str, str], rows: int, is_wrong: str) -> None:
    """A job in a process of its own, as a work horse is."""
    done = subprocess.run(
        [sys.executable, "-c", f"from benchmarks.bulk import one_job; one_job({rows}, {is_wrong})"],
        env={**os.environ, **environ},
        check=False,
    )
    assert done.returncode == 0


def one_job(rows: int, is_wrong: bool) -> None:
    """A file of tenants, all or nothing, in this process; says how long it took and the most memory it had."""
    runtime = Runtime.start(load_settings())
    agency = an_agency(runtime.engine)
    with tempfile.TemporaryFile() as file:
        for part in _parts(rows):
            file.write(part)
        file.write(b"The Last,12,,\n" if is_wrong else b"The Last,0712345678,,\n")
        order = running.Order("tenants", "CREATE", "ATOMIC", "CSV", is_dry_run=False)
        with jobs.job_session(runtime, agency, "bench") as session:
            upload_id = running.keep(session, order, file)
            job_id = jobs.submit(session, "bulk_apply", {"upload_id": str(upload_id)})
    before, started = peak_mb(), time.perf_counter()
    outcome = run_job(runtime, agency, job_id)
    seconds = time.perf_counter() - started
    with jobs.job_session(runtime, agency, "bench") as session:
        job = session.get_one(Job, (agency, job_id))
        left = session.execute(text("SELECT count(*) FROM tenant")).scalar_one()
        trail = session.execute(text("SELECT count(*) FROM audit_entry WHERE entity = 'tenant'")).scalar_one()
    result: Any = job.result
    assert outcome == "SUCCEEDED"
    assert (left, trail) == ((0, 0) if is_wrong else (rows + 1, rows + 1)), (left, trail)
    refused = [(one["row"], one["column"], one["detail"]) for one in result["errors"]]
    say(
        f"{rows + 1:9,} rows {seconds:7.1f} s {(rows + 1) / seconds:8,.0f} rows/s, peak {peak_mb():.0f} MB"
        f" ({before:.0f} MB before), progress {job.progress_done:,} of {job.progress_total:,}, {left:,} tenants there"
        f" {refused or ''}"
    )


def _parts(rows: int) -> Iterable[bytes]:
    yield f"{HEAD}\n".encode()
    for first in range(0, rows, 10_000):
        numbers = range(first, min(first + 10_000, rows))
        yield "".join(f"Tenant Number {n},07{n:08},t{n}@makao.test,{n}\n" for n in numbers).encode()


def peak_mb(pid: int | str = "self") -> float:
    """The most memory a process has had at once (VmHWM)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def _upload(environ: dict[str, str], megabytes: int) -> None:
    """One gunicorn worker, sent a small file and then a large one."""
    token = signed_in(app := create_app(load_settings(environ)), app.extensions["haven"].engine).token
    with _gunicorn(environ) as (url, worker):
        for size in (1, megabytes):
            with tempfile.TemporaryFile() as file:
                _fill(file, size * 1_000_000)
                length, started = file.tell(), time.perf_counter()
                file.seek(0)
                answer = httpx.post(
                    f"{url}/api/v1/tenants/bulk",
                    content=iter(lambda: file.read(65_536), b""),
                    headers={"Authorization": f"Bearer {token}", "Content-Type": "text/csv"},
                    timeout=300,
                )
            assert answer.status_code == 202, answer.text
            seconds = time.perf_counter() - started
            say(
                f"{length / 1e6:6.0f} MB sent, answered in {seconds:5.2f} s; the web process had at most {peak_mb(worker()):.0f} MB"
            )


def _fill(file: BinaryIO, size: int) -> None:
    file.write(f"{HEAD}\n".encode())
    for part in _parts(10_000_000):
        file.write(part.removeprefix(f"{HEAD}\n".encode()))
        if file.tell() >= size:
            return


@contextmanager
def _gunicorn(environ: dict[str, str]) -> Any:
    """A web server as in production, with one worker; its address and what tells the worker's process id."""
    port = free_port()
    more = {"PORT": str(port), "WEB_CONCURRENCY": "1", "RATE_LIMIT_ENABLED": "false"}
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "gunicorn",
                "-c",
                "gunicorn.conf.py",
                "-b",
                f"127.0.0.1:{port}",
                "wsgi:app",
            ],
            env={**os.environ, **environ, **more},
            stdout=log,
            stderr=log,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(300):
                try:
                    if httpx.get(f"{url}/alive", timeout=2).status_code == 200:
                        break
                except httpx.HTTPError:
                    time.sleep(0.1)
            children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
            yield url, lambda: children.read_text().split()[0]
        finally:
            server.terminate()
            server.wait(20)


if __name__ == "__main__":
    main()
