"""Jobs as monitoring sees them: how long each took, with its statements and calls; pushed, as nobody can scrape a worker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from extensions import trace
from extensions.monitoring.jobs import JobMeasure, JobNumbers, measured_job
from extensions.monitoring.recorder import Recorder, Rules
from extensions.monitoring.store import Store
from haven.runtime import Runtime


@contextmanager
def measured(runtime: Runtime, kind: str, request_id: str) -> Iterator[JobMeasure]:
    """Measure the job that the block runs; where monitoring is off, or the job runs within a request, only in name."""
    if not runtime.settings.enable_performance_monitoring or trace.current() is not None:
        yield JobMeasure()
        return
    recorder, numbers = _of_process(os.getpid(), runtime)
    with measured_job(recorder, numbers, kind) as measure:
        measure.request_id = request_id
        yield measure


@lru_cache(maxsize=1)
def _of_process(process_id: int, runtime: Runtime) -> tuple[Recorder, JobNumbers]:  # noqa: ARG001  one for each
    settings = runtime.settings
    rules = Rules(settings.slow_request_threshold, settings.slow_query_threshold)
    return Recorder(Store(runtime.redis), rules), JobNumbers(runtime.redis)
