"""Jobs from the request for one to the end of its attempt, in a process that is ready for them as a work horse is."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.suite.benchmark import Benchmark
from benchmarks.suite.endpoints import Refused

_NOTHING = "bench_nothing"


def nothing(context: object) -> dict[str, Any]:  # noqa: ARG001  what every job's function gets
    """What the empty job does."""
    return {}


class Worker:
    """Runs jobs of one agency, each at once."""

    def __init__(self, environ: Mapping[str, str], agency_id: uuid.UUID) -> None:
        import haven.models  # noqa: F401  every table must be known before the first query
        from config import load_settings
        from haven.operations.kinds import KINDS, Kind
        from haven.runtime import Runtime
        from workers.runner import run_job

        KINDS[_NOTHING] = Kind("maintenance", f"{__name__}:nothing")
        self.agency_id = agency_id
        # Nobody is woken: the job runs here.
        self.runtime = replace(Runtime.start(load_settings(environ)), wake=lambda *_: None)
        self._files = Path(environ["EXPORT_DIR"])
        self._run = run_job

    def run(self, ask: Callable[[Any], uuid.UUID]) -> None:
        """Ask for a job and do it.

        Raises:
            Refused: it did not succeed.
        """
        from haven.operations.jobs import job_session

        with job_session(self.runtime, self.agency_id, f"user:{uuid.UUID(int=0)}") as session:
            job_id = ask(session)
        outcome = self._run(self.runtime, self.agency_id, job_id)
        if outcome != "SUCCEEDED":
            raise Refused(f"the job ended {outcome}")

    def remove_files(self) -> None:
        for path in self._files.rglob("*.*"):
            if path.is_file():
                path.unlink()


def empty_job(worker: Worker) -> Benchmark:
    """A job that does nothing: what every job costs."""
    from haven.operations.jobs import submit

    return Benchmark("empty_job", lambda: worker.run(lambda session: submit(session, _NOTHING, {})), 2)


def small_export(worker: Worker) -> Benchmark:
    """Every unit of the agency into a CSV file in the storage."""
    from haven.insight.exports import service

    def export() -> None:
        worker.run(lambda session: service.request(session, "units", "csv", {}))
        worker.remove_files()

    return Benchmark("small_export", export, 1)


JOBS: dict[str, Callable[[Worker], Benchmark]] = {"empty_job": empty_job, "small_export": small_export}
