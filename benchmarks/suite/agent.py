"""The process that measures one revision: it is told what to measure, one figure at a time, by lines of JSON.

It begins with ``benchmarks/suite/launch.py``, which sees to it that Haven comes from the revision and the benchmarks from here.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.callbacks.load import AGENCIES
from benchmarks.suite import endpoints, jobs, micro
from benchmarks.suite.benchmark import Benchmark
from benchmarks.suite.calibration import calibration

_ROWS_OF_PUSHES = Path(__file__).parent.parent / "callbacks" / "rows.sql"


def serve(asked: Mapping[str, Any]) -> None:
    """Prepare what was asked for, say what there is, and measure until nobody asks any more.

    Args:
        asked: ``names`` of benchmarks, ``checkout``, ``folder`` for what stays between processes of this side, ``database``
            (its name), ``addresses`` of the servers, ``redis``, ``pushes`` to make and the ``first_push`` to pay.
    """
    answers = _own_output()
    with ExitStack() as stack:
        found, missing = _prepared(stack, asked)
        # As gunicorn does after it has loaded all: a full collection walks none of it.
        gc.collect()
        gc.freeze()
        answers({"ready": list(found), "missing": missing})
        for line in sys.stdin:
            name = json.loads(line)["measure"]
            answers({"s": found[name].measure()})


def _own_output() -> Callable[[Mapping[str, Any]], None]:
    """Standard output for the answers alone: whatever else is printed goes to the log."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return lambda answer: print(json.dumps(answer), file=out)


def _prepared(stack: ExitStack, asked: Mapping[str, Any]) -> tuple[dict[str, Benchmark], dict[str, str]]:
    """The benchmarks by name; and why some are missing: an older revision has not what they need."""
    found = {one.name: one for one in (calibration("cpu"), calibration("wall"))}
    missing: dict[str, str] = {}
    makers = dict(_makers(stack, asked))
    for name in asked["names"]:
        try:
            found[name] = makers[name]()
            found[name].measure()
        except Exception as error:  # noqa: BLE001  whatever another revision lacks: it is told, and the others go on
            missing[name] = f"{type(error).__name__}: {error}"
            found.pop(name, None)
    return found, missing


def _makers(stack: ExitStack, asked: Mapping[str, Any]) -> Iterator[tuple[str, Callable[[], Benchmark]]]:
    names = set(asked["names"])
    yield from micro.MICRO.items()
    if not names - set(micro.MICRO):
        return
    environ, logins = _database(asked)
    if names & set(endpoints.ENDPOINTS):
        log = Path(asked["folder"]) / "web.log"
        port = stack.enter_context(endpoints.gunicorn(Path(asked["checkout"]), environ, log))
        web = endpoints.Web(port, logins, asked["first_push"])
        for name, make in endpoints.ENDPOINTS.items():
            yield name, _bound(make, web)
    if names & set(jobs.JOBS):
        worker = jobs.Worker(environ, _agency_of(environ))
        for name, of in jobs.JOBS.items():
            yield name, _bound(of, worker)


def _bound(make: Callable[[Any], Benchmark], what: Any) -> Callable[[], Benchmark]:
    return lambda: make(what)


def _database(asked: Mapping[str, Any]) -> tuple[dict[str, str], Mapping[str, Any]]:
    """The settings, and the demo's logins; the database is made, by the revision's own migrations, where there is none."""
    from haven.db.migrate import upgrade
    from haven.db.prepare import APP_ROLE, OWNER_ROLE, prepare_server, with_role
    from haven.demo.service import load_demo

    folder, where = Path(asked["folder"]), asked["addresses"]
    name = asked["database"]
    owner_url = with_role(where["superuser_url"], OWNER_ROLE, where["owner_password"], name)
    app_url = with_role(where["superuser_url"], APP_ROLE, where["app_password"], name)
    kept = folder / "logins.json"
    if not kept.exists():
        # Both sides begin at once, and the roles are the server's.
        with (folder.parent / "preparing").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            prepare_server(where["superuser_url"], name, where["owner_password"], where["app_password"])
        upgrade(owner_url)
        logins = load_demo(owner_url, "small")
        _open_pushes(where["superuser_url"], name, asked["pushes"])
        kept.write_text(json.dumps(logins))
    environ = {
        "DATABASE_URL": app_url,
        "DATABASE_OWNER_URL": owner_url,
        "REDIS_URL": f"{where['redis_url']}/{asked['redis']}",
        "JOB_QUEUE_REDIS_DB": str(asked["redis"] + 1),
        "SECRET_KEY": "a key that is used in benchmarks and nowhere else",
        "PUBLIC_URL": "http://haven.test",
        "EXPORT_DIR": str(folder / "exports"),
        "RATE_LIMIT_MAX_REQUESTS": "10000000",
        "MPESA_CALLBACK_ADDRESSES": "127.0.0.1",
        "LOG_LEVEL": "WARNING",
        "REDIS_TIMEOUT": "20000",
        "CACHE_TIMEOUT": "10",
        "DRAIN_SECONDS": "0",
    }
    return environ, json.loads(kept.read_text())


def _open_pushes(superuser_url: str, database: str, count: int) -> None:
    """Payments that wait for their callback, each of a lease of its own."""
    with _connected(superuser_url, database) as cursor:
        cursor.execute(_ROWS_OF_PUSHES.read_text().format(agencies=AGENCIES, count=count))


@contextmanager
def _connected(superuser_url: str, database: str) -> Iterator[Any]:
    import psycopg2

    connection = psycopg2.connect(superuser_url.rpartition("/")[0] + f"/{database}", connect_timeout=10)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def _agency_of(environ: Mapping[str, str]) -> Any:
    """The demo's agency."""
    from sqlalchemy import create_engine, text

    from haven.db.base import PLATFORM
    from haven.db.migrate import sqlalchemy_url
    from haven.db.session import tenant_session

    engine = create_engine(sqlalchemy_url(environ["DATABASE_URL"]))
    query = text("SELECT id FROM agency WHERE slug <> 'platform' AND slug NOT LIKE 'benchmark-%' LIMIT 1")
    with tenant_session(engine, PLATFORM, is_platform=True) as session:
        found = session.execute(query).scalar_one()
    engine.dispose()
    return found
