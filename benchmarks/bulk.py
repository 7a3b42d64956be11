"""100,000 tenants by a bulk job, against a plain COPY into the same table with its indexes.

`python -m benchmarks.bulk [rows]`. Servers of its own; ways in turn, medians of three rounds. The job is the whole of it: the
request that stores the CSV file, then the worker's function, all or nothing. COPY is the superuser's (a tenant's is refused),
of rows that are ready; once into the table as it is, once with its triggers asleep, so with no audit trail at all.
"""

from __future__ import annotations

import io
import statistics
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any, Final

import psycopg2

from config import load_settings
from haven.app import create_app
from haven.bulk import running
from haven.bulk.models import BulkUpload
from haven.db.base import new_id
from haven.db.prepare import APP_ROLE, OWNER_ROLE
from haven.operations import jobs
from haven.runtime import Runtime
from tests.support.builders import an_agency
from tests.support.servers import ThrowAwayServers
from workers.runner import run_job

ROUNDS: Final = 3
DATABASE: Final = "haven_bulk"


def main() -> None:
    """Print the rate of each way, and how the job's compares."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    servers = ThrowAwayServers()
    try:
        addresses = servers.start()
        addresses.new_database(DATABASE)
        settings = load_settings(
            {
                "DATABASE_URL": addresses.database_url(APP_ROLE, DATABASE),
                "DATABASE_OWNER_URL": addresses.database_url(OWNER_ROLE, DATABASE),
                "REDIS_URL": f"{addresses.redis_url}/0",
                "SECRET_KEY": "a key that is used in benchmarks and nowhere else",
                "PUBLIC_URL": "http://haven.test",
            }
        )
        runtime: Runtime = create_app(settings).extensions["haven"]
        superuser = addresses.superuser_url.rpartition("/")[0] + f"/{DATABASE}"
        _compare(runtime, superuser, rows)
    finally:
        servers.stop()


def _compare(runtime: Runtime, superuser: str, rows: int) -> None:
    ways: dict[str, Callable[[uuid.UUID], None]] = {
        "the job": lambda agency: _job(runtime, agency, rows),
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
        print(f"{name:24} {seconds:7.2f} s  {rows / seconds:9,.0f} rows/s  the job has {ratio:.2f} of it")  # noqa: T201


def _job(runtime: Runtime, agency_id: uuid.UUID, rows: int) -> None:
    lines = (f"Tenant Number {n},07{n:08},t{n}@makao.test,{n}\n" for n in range(rows))
    file = io.BytesIO(("Name,Phone,Email,ID No\n" + "".join(lines)).encode())
    order = running.Order("tenants", "CREATE", "ATOMIC", "CSV", is_dry_run=False)
    with jobs.job_session(runtime, agency_id, "bench") as session:
        zone = running.zone_of(session)
        count = sum(1 for _ in order.rows(file, zone))
        upload_id = running.keep(session, order, file, count)
        job_id = jobs.submit(session, "bulk_apply", {"upload_id": str(upload_id)})
    assert run_job(runtime, agency_id, job_id) == "SUCCEEDED"
    with jobs.job_session(runtime, agency_id, "bench") as session:
        report: Any = session.get_one(BulkUpload, (agency_id, upload_id)).report
    assert report["succeeded"] == rows, report["errors"][:3]


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


if __name__ == "__main__":
    main()
