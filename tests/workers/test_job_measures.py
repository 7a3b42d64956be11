"""Jobs are measured: in history with their errors, and pushed for Prometheus."""

from __future__ import annotations

import os
import uuid

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import text

from extensions.monitoring import JOB, STATEMENT, JobNumbers
from extensions.monitoring.reader import Reader
from haven.operations import job_measures
from haven.runtime import Runtime


@pytest.fixture
def runtime(settings, engine):
    return Runtime.start(settings)


@pytest.mark.req("M6")
def test_a_job_is_measured_with_its_statements_and_whether_it_failed(runtime):
    kind = f"tests_{uuid.uuid4().hex[:8]}"
    with job_measures.measured(runtime, kind, "request-1"), runtime.engine.connect() as connection:
        connection.execute(text(f"SELECT 1 AS {kind}"))
    with job_measures.measured(runtime, kind, "request-2") as measure:
        measure.status = "FAILED"
    with pytest.raises(OSError, match="gone"), job_measures.measured(runtime, kind, "request-3"):
        raise OSError("gone")
    recorder, numbers = job_measures._of_process(os.getpid(), runtime)
    merged = Reader(recorder).window(60)
    found = merged.one(JOB, kind)
    assert (found.count, found.errors) == (3, 2)
    assert any(kind in one.sample for one in recorder.statements.values())
    assert merged.of(STATEMENT)
    registry = CollectorRegistry()
    registry.register(numbers)
    shown = generate_latest(registry).decode()
    assert f'haven_job_duration_seconds_count{{kind="{kind}",status="SUCCEEDED"}} 1.0' in shown
    assert f'haven_job_duration_seconds_bucket{{kind="{kind}",le="+Inf",status="FAILED"}} 2.0' in shown


def test_without_redis_a_job_runs_all_the_same():
    numbers = JobNumbers(None)
    numbers.push("tests", "SUCCEEDED", 1.0)
    assert [family.samples for family in numbers.collect()] == [[]]
