"""Jobs that run in this process, and callers of the API."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from config import Settings
from haven.db.base import new_id
from haven.operations.jobs import JobContext, job_session
from haven.operations.models import Job
from haven.runtime import Runtime
from tests.api.conftest import admin, caller_of  # noqa: F401
from workers.runner import run_job


class AtJobs:
    """Jobs of the exports queue, run in this process over one folder."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.folder = Path(runtime.settings.export_dir)

    def with_settings(self, **changes: Any) -> AtJobs:
        return AtJobs(replace(self.runtime, settings=replace(self.runtime.settings, **changes)))

    def a_context(self, agency_id: uuid.UUID) -> JobContext:
        """A job of the agency's that runs."""
        job_id = new_id()
        with job_session(self.runtime, agency_id, "tests") as session:
            session.add(
                Job(
                    agency_id=agency_id,
                    id=job_id,
                    queue="exports",
                    kind="export",
                    status="RUNNING",
                    arguments={"resource": "payments"},
                    requested_by="tests",
                    max_attempts=1,
                )
            )
        return JobContext(self.runtime, agency_id, job_id, "tests")

    def end(self, context: JobContext) -> None:
        """The job ends well."""
        with context.session() as session:
            job = session.get(Job, (context.agency_id, context.job_id))
            assert job is not None
            job.status = "SUCCEEDED"

    def job(self, agency_id: uuid.UUID, job_id: uuid.UUID) -> Job:
        with job_session(self.runtime, agency_id, "tests") as session:
            found = session.get(Job, (agency_id, job_id))
            assert found is not None
            return found

    def run(self, agency_id: uuid.UUID, job_id: uuid.UUID) -> Job:
        """Run the job as a worker does; how it is then."""
        run_job(self.runtime, agency_id, job_id)
        return self.job(agency_id, job_id)

    def files(self) -> list[Path]:
        """Everything in the folder, finished or not."""
        return sorted(path for path in self.folder.rglob("*") if path.is_file())


@pytest.fixture
def at_jobs(settings: Settings, engine: Engine, tmp_path: Path) -> AtJobs:
    """A folder of its own for each test."""
    return AtJobs(Runtime.start(replace(settings, export_dir=str(tmp_path / "exports")), engine))
