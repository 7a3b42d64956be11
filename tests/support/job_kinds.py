"""Kinds of job that only tests have, and processes that know them: ``python -m tests.support.job_kinds workers|cron``."""

from __future__ import annotations

import datetime as dt
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import text

from extensions.jobs import rows, watch
from haven.notifications import mail
from haven.operations import outbound
from haven.operations.jobs import JobContext
from haven.operations.kinds import KINDS, Kind

_HERE = "tests.support.job_kinds"
HURRIED: Final = {"TEST_LEASE_S": "6"}
"""For processes whose leases and mail server run out of time sooner than in production, so that no test waits for 30 s."""
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
    "t_deadly": Kind("reports", f"{_HERE}:deadly", max_attempts=2),
    "t_slow": Kind("payments", f"{_HERE}:slow"),
    "t_told": Kind("notifications", f"{_HERE}:empty"),
    "t_missing": Kind("reports", f"{_HERE}:nothing_of_this_name"),
    "t_falls": Kind("reports", f"{_HERE}:falls", max_attempts=1),
}


def empty(context: JobContext) -> dict[str, Any]:
    return {}


def slow(context: JobContext) -> dict[str, Any]:
    time.sleep(4)
    return {}


def deadly(context: JobContext) -> dict[str, Any]:
    """Kills the worker with its horse: nobody is left who could say so."""
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
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


def one_try(kind: str) -> dict[str, Kind]:
    """The kind, with one attempt."""
    return {kind: replace(KINDS[kind], max_attempts=1)}


def be_patient(timeout_s: float) -> None:
    """Wait so long for a webhook's receiver, so that it is still waited for whatever the machine does meanwhile."""
    assert outbound.post.__kwdefaults__ is not None
    outbound.post.__kwdefaults__["timeout_s"] = timeout_s
    KINDS["webhook_deliver"] = replace(KINDS["webhook_deliver"], timeout_s=int(timeout_s) + 60)


def hurry(lease_s: float) -> None:
    """Leases of this length in this process, renewed and looked for accordingly, and half of it for a mail server."""
    mail._TIMEOUT_S = lease_s / 2  # type: ignore[misc]
    rows.LEASE = dt.timedelta(seconds=lease_s)  # type: ignore[misc]
    rows._UNHEARD_AFTER = dt.timedelta(seconds=lease_s / 3)  # type: ignore[misc]
    watch.RENEW_EVERY_S = lease_s / 6  # type: ignore[misc]


def _write(context: JobContext, condition: str) -> None:
    with context.session() as session:
        time.sleep(0.05)
        session.execute(
            text(f"INSERT INTO test_effect (job_id) SELECT :id{condition}"),
            {"id": context.job_id},
        )


def main() -> None:
    """``TEST_LEASE_S``, ``TEST_WEBHOOK_S``: see ``hurry``, ``be_patient``; ``TEST_ONE_TRY`` names a kind with one attempt."""
    KINDS.update(KINDS_OF_TESTS)
    if "TEST_ONE_TRY" in os.environ:
        KINDS.update(one_try(os.environ["TEST_ONE_TRY"]))
    if "TEST_LEASE_S" in os.environ:
        hurry(float(os.environ["TEST_LEASE_S"]))
    if "TEST_WEBHOOK_S" in os.environ:
        be_patient(float(os.environ["TEST_WEBHOOK_S"]))
    if sys.argv[1] == "workers":
        from workers.__main__ import main as start
    else:
        from workers.cron import main as start
    start()


if __name__ == "__main__":
    main()
