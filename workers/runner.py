"""Runs one job: takes it, calls its function, writes down what came of it."""

from __future__ import annotations

import datetime as dt
import importlib
import os
import uuid
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import structlog

import haven.models  # noqa: F401  every table must be known before the first query
from config import load_settings
from haven.errors import HavenError
from haven.operations import job_measures, jobs
from haven.operations.kinds import KINDS
from haven.runtime import Runtime

log = structlog.get_logger(__name__)


@lru_cache(maxsize=1)
def _runtime_of(process_id: int) -> Runtime:  # noqa: ARG001  a connection is never shared over a fork
    return Runtime.start(load_settings())


def run(agency_id: str, job_id: str) -> None:
    """Run the job with this id, if it is there to be run. What goes wrong is written to its row, not raised."""
    run_job(_runtime_of(os.getpid()), uuid.UUID(agency_id), uuid.UUID(job_id))


def run_job(runtime: Runtime, agency_id: uuid.UUID, job_id: uuid.UUID) -> str:
    """The same with a runtime given; what came of it: a status, or ``SKIPPED``."""
    with jobs.job_session(runtime, agency_id, "worker") as session:
        job = jobs.claim(session, job_id, dt.datetime.now(dt.UTC))
    if job is None:
        return "SKIPPED"
    context = jobs.JobContext(runtime, agency_id, job_id, f"job:{job.kind}", job.request_id)
    with (
        structlog.contextvars.bound_contextvars(job_id=str(job_id), kind=job.kind, request_id=job.request_id),
        job_measures.measured(runtime, job.kind, job.request_id) as measure,
    ):
        measure.status = _attempt(context, job.kind, job.arguments)
        return measure.status


def _attempt(context: jobs.JobContext, kind: str, arguments: dict[str, Any]) -> str:
    try:
        result = _function(kind)(context, **arguments)
    except jobs.Cancelled:
        _write(context, lambda session: jobs.stop(session, context.job_id))
        return "CANCELLED"
    except Exception as error:  # whatever it is, the job's row must say so
        words = str(error) if isinstance(error, HavenError) else f"{type(error).__name__}: {error}"
        log.exception("job_attempt_failed")
        _write(context, lambda session: jobs.fail(session, context.job_id, words))
        return "FAILED"
    _write(context, lambda session: jobs.succeed(session, context.job_id, result))
    log.info("job_succeeded")
    return "SUCCEEDED"


def _write(context: jobs.JobContext, change: Callable[[Any], None]) -> None:
    with context.session() as session:
        change(session)


def _function(kind: str) -> Callable[..., dict[str, Any]]:
    module, _, name = KINDS[kind].function.partition(":")
    found: Callable[..., dict[str, Any]] = getattr(importlib.import_module(module), name)
    return found
