"""Loads the demo: agencies that never were, into a database that has the schema.

Everything is written in one transaction, so a load is there whole or not at all. It needs the role that owns the tables.
"""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, nullcontext
from io import BytesIO
from random import Random
from typing import Any, Final

import psycopg2
from psycopg2 import errors
from psycopg2.extensions import connection, cursor

from haven.demo import places
from haven.demo.agency import agency_blocks, agency_blocks_alone
from haven.demo.binary import Ids
from haven.demo.plan import AgencyPlan
from haven.demo.sign_ins import PLATFORM_ADMIN, SignIns
from haven.demo.sizes import SIZES, Size
from haven.demo.structure import opened, without_indexes
from haven.demo.tables import COLUMNS, REBUILT, Block

Progress = Callable[[str, int, float], None]
"""Called after each step with its name (a table, an index), the rows it wrote, and its seconds."""

DEFAULT_SEED: Final = 2026
_LOCK: Final = 4_837_201_766
_LOCK_TIMEOUT: Final = "15s"
_CHUNK_BYTES: Final = 1 << 18
_WORKERS: Final = 3
_FEW: Final = 0.1
"""Tables that hold less than this share of what is to come are rebuilt with their indexes."""


class DemoRefused(Exception):
    """The demo cannot be loaded into this database; the message says why, and what to do."""


def load_demo(
    owner_url: str,
    size: str,
    *,
    seed: int = DEFAULT_SEED,
    progress: Progress | None = None,
    now: dt.datetime | None = None,
) -> dict[str, Any]:
    """Load the demo and give its logins.

    Args:
        owner_url: PostgreSQL, as the role that owns Haven's tables.
        size: ``small``, ``medium`` or ``large`` (see ``haven.demo.sizes``).
        seed: names, homes and figures follow from it; passwords and keys never do.
        progress: told of each step.
        now: what the demo takes for this moment; history leads up to it.

    Returns:
        ``{"platform_admin": {"email", "password"}, "agency_admin": {"email", "password", "api_key"},
        "others": [{"email", "role", "password"}, …]}``. Passwords and the key are kept nowhere else.

    Raises:
        DemoRefused: the demo is there already, or the database has not Haven's tables.
    """
    return load(owner_url, SIZES[size], seed=seed, progress=progress, now=now)


def load(
    owner_url: str,
    size: Size,
    *,
    seed: int = DEFAULT_SEED,
    progress: Progress | None = None,
    now: dt.datetime | None = None,
) -> dict[str, Any]:
    """``load_demo`` for a size of one's own."""
    plans = _plans(size, seed, now or dt.datetime.now(dt.UTC))
    sign_ins = SignIns(plans, seed)
    url = owner_url.replace("+psycopg2", "", 1)
    steps = _Steps(progress)
    with closing(psycopg2.connect(url)) as database:
        try:
            with database, database.cursor() as at:
                _load(at, size, plans, sign_ins, steps)
        except errors.LockNotAvailable:
            raise DemoRefused("The tables are in use: stop what works with them, and load again.") from None
    _vacuum(url, steps)
    return sign_ins.logins


class _Steps:
    """Tells the caller of each step, with the seconds since the one before."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._since = time.monotonic()

    def __call__(self, step: str, rows: int) -> None:
        now = time.monotonic()
        if self._progress is not None:
            self._progress(step, rows, now - self._since)
        self._since = now


def _plans(size: Size, seed: int, now: dt.datetime) -> list[AgencyPlan]:
    now_ms = int(now.timestamp() * 1000)
    ids = Ids(Random(f"{seed}/agencies"))
    plans = []
    for number, (_, slug) in enumerate(places.AGENCIES[: size.agencies]):
        joined_at = AgencyPlan(number, b"", slug, seed, now_ms, size).joined_at()
        # Ids rise with the number: rows then arrive in the order of every primary key.
        plans.append(AgencyPlan(number, ids.at(joined_at + number), slug, seed, now_ms, size))
    return plans


def _load(at: cursor, size: Size, plans: list[AgencyPlan], sign_ins: SignIns, steps: _Steps) -> None:
    _prepare(at)
    with opened(at, tuple(COLUMNS)):
        _refuse_a_second_time(at)
        is_rebuilt = size.sets_indexes_aside and _are_all_but_empty(at, size)
        with without_indexes(at, REBUILT, steps) if is_rebuilt else nullcontext():
            for block in _all_blocks(plans, sign_ins):
                steps("waiting for rows", 0)
                at.copy_expert(block.statement, BytesIO(block.content), _CHUNK_BYTES)
                steps(block.table, block.rows)


def _prepare(at: cursor) -> None:
    at.execute("SELECT to_regclass('ledger_entry') IS NOT NULL")
    if at.fetchone() != (True,):
        raise DemoRefused("This database has not Haven's tables: run `haven db upgrade` first.")
    at.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    for setting, value in (
        ("lock_timeout", _LOCK_TIMEOUT),
        ("statement_timeout", "0"),
        ("maintenance_work_mem", "512MB"),
        ("work_mem", "256MB"),
        ("max_parallel_maintenance_workers", "2"),
        ("synchronous_commit", "off"),
    ):
        at.execute("SELECT set_config(%s, %s, true)", (setting, value))


def _refuse_a_second_time(at: cursor) -> None:
    slugs = [slug for _, slug in places.AGENCIES]
    at.execute(
        "SELECT slug FROM agency WHERE slug = ANY (%s)"
        " UNION ALL SELECT email FROM sign_in_address WHERE email = %s LIMIT 1",
        (slugs, PLATFORM_ADMIN),
    )
    found = at.fetchone()
    if found is not None:
        raise DemoRefused(
            f"This database has the demo already ({found[0]}). To load it again, take an empty database:"
            " make another one, or drop this one, create it and run `haven db upgrade`."
        )


def _are_all_but_empty(at: cursor, size: Size) -> bool:
    """Whether to make indexes again costs less than to keep them: decided by what the tables hold now."""
    few = int((size.invoices or 0) * size.agencies * _FEW)
    at.execute("SELECT count(*) FROM (SELECT FROM ledger_transaction LIMIT %s) AS some_of_them", (few + 1,))
    (count,) = at.fetchone() or (0,)
    return bool(count <= few)


def _all_blocks(plans: list[AgencyPlan], sign_ins: SignIns) -> Iterator[Block]:
    yield from sign_ins.blocks()
    if plans[0].size.sets_indexes_aside:
        yield from _blocks_from_other_processes(plans)
    else:
        for plan in plans:
            yield from agency_blocks(plan)


def _blocks_from_other_processes(plans: list[AgencyPlan]) -> Iterator[Block]:
    """Rows made while the server writes those before; never more than a few agencies are in memory."""
    workers = max(2, min(_WORKERS, os.cpu_count() or 2))
    waiting = deque(plans)
    ready: deque[Future[list[Block]]] = deque()
    # Spawned, not forked: a fork would share this process's connection.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        try:
            while waiting or ready:
                while waiting and len(ready) <= workers:
                    ready.append(pool.submit(agency_blocks_alone, waiting.popleft()))
                yield from ready.popleft().result()
        finally:
            for future in ready:
                future.cancel()


def _vacuum(url: str, steps: _Steps) -> None:
    """Give the planner its statistics and index-only scans their visibility map."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda table: _vacuum_one(url, table), reversed(COLUMNS)))
    steps("vacuum analyze", 0)


def _vacuum_one(url: str, table: str) -> None:
    with closing(psycopg2.connect(url)) as database:
        _autocommit(database)
        with database.cursor() as at:
            at.execute(f"VACUUM (ANALYZE) {table}")


def _autocommit(database: connection) -> None:
    # VACUUM runs in no transaction.
    database.autocommit = True
