"""Callers of the API, and a worker that runs what they ask for."""

from __future__ import annotations

import uuid

import pytest

from haven.runtime import Runtime
from tests.api.conftest import admin, caller_of
from workers.runner import run_job

__all__ = ["admin", "caller_of"]


@pytest.fixture(scope="session")
def runtime(settings):
    return Runtime.start(settings)


@pytest.fixture
def work(runtime):
    """Runs a job of the caller's agency to its end; its status."""

    def run(by, job_id):
        return run_job(runtime, by.agency_id, uuid.UUID(str(job_id)))

    return run
