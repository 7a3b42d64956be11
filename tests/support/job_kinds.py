"""Kinds of job that only tests have, and processes that know them: ``python -m tests.support.job_kinds workers|cron``."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from typing import Any

from sqlalchemy import text

from haven.operations.jobs import JobContext
from haven.operations.kinds import KINDS, Kind

_HERE = "tests.support.job_kinds"
KINDS_OF_TESTS = {
    "t_empty": Kind("exports", f"{_HERE}:empty"),
    "t_bench": Kind("payments", f"{_HERE}:empty"),
    "t_effect": Kind("exports", f"{_HERE}:effect", max_attempts=20),
    "t_careless": Kind("exports", f"{_HERE}:careless", max_attempts=20),
    "t_deaf": Kind("reports", f"{_HERE}:deaf"),
    "t_sql": Kind("reports", f"{_HERE}:long_statement"),
    "t_stuck": Kind("reports", f"{_HERE}:deaf", max_attempts=1, timeout_s=1),
    "t_poison": Kind("reports", f"{_HERE}:poison", max_attempts=1),
    "t_greedy": Kind("reports", f"{_HERE}:greedy", max_attempts=1),
    "t_missing": Kind("reports", f"{_HERE}:nothing_of_this_name"),
    "t_falls": Kind("reports", f"{_HERE}:falls", max_attempts=1),
}


def empty(context: JobContext) -> dict[str, Any]:
    return {}


def effect(context: JobContext) -> dict[str, Any]:
    """Has its effect once, however often it runs."""
    _write(context, " WHERE NOT EXISTS (SELECT FROM test_effect WHERE job_id = :id)")
    return {}


def careless(context: JobContext) -> dict[str, Any]:
    """Has its effect as often as it runs, and dies after it the first time: the control."""
    _write(context, "")
    with context.session() as session:
        count = session.execute(
            text("SELECT count(*) FROM test_effect WHERE job_id = :id"), {"id": context.job_id}
        ).scalar_one()
    if count == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return {}


def deaf(context: JobContext) -> dict[str, Any]:
    """Writes something, and then hears nothing."""
    with context.session() as session:
        session.execute(text("INSERT INTO test_effect (job_id) VALUES (:id)"), {"id": context.job_id})
        while True:
            with suppress(Exception):
                time.sleep(60)


def long_statement(context: JobContext) -> dict[str, Any]:
    with context.session() as session:
        session.execute(text("INSERT INTO test_effect (job_id) VALUES (:id)"), {"id": context.job_id})
        session.execute(text("SELECT pg_sleep(100)"))
    return {}


def poison(context: JobContext) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def greedy(context: JobContext) -> dict[str, Any]:
    kept = [bytes(1_000_000) for _ in range(100)]
    kept += [b"x" * 1_000_000 for _ in range(600)]
    time.sleep(30)
    return {"kept": len(kept)}


def falls(context: JobContext) -> dict[str, Any]:
    raise RuntimeError("the disk is full")


def _write(context: JobContext, condition: str) -> None:
    with context.session() as session:
        time.sleep(0.05)
        session.execute(
            text(f"INSERT INTO test_effect (job_id) SELECT :id{condition}"),
            {"id": context.job_id},
        )


def main() -> None:
    KINDS.update(KINDS_OF_TESTS)
    if sys.argv[1] == "workers":
        from workers.__main__ import main as start
    else:
        from workers.cron import main as start
    start()


if __name__ == "__main__":
    main()
