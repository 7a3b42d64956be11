"""Numbers of background jobs, which run in processes that nobody can scrape: pushed to Redis, and shown at ``/metrics``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import redis
from prometheus_client.core import HistogramMetricFamily

from extensions import trace
from extensions.monitoring.recorder import JOB, Recorder
from extensions.monitoring.requests import Finished

EDGES_S: Final = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0)
_KEPT_S: Final = 30 * 86_400
_SERIES_MOST: Final = 500


class JobNumbers:
    """How long jobs took, over all workers, since Redis began to count.

    Args:
        client: None: there is no Redis, and nothing to show.
    """

    def __init__(self, client: redis.Redis | None, prefix: str = "haven") -> None:
        self._client = client
        self._key = f"{prefix}:monitoring:jobs"

    def push(self, kind: str, status: str, seconds: float) -> None:
        """Count one attempt; where Redis is away it is missed."""
        if self._client is None:
            return
        edge = next((str(edge) for edge in EDGES_S if seconds <= edge), "+Inf")
        pipe = self._client.pipeline(transaction=False)
        pipe.hincrby(self._key, f"{kind}|{status}|{edge}", 1)
        pipe.hincrbyfloat(self._key, f"{kind}|{status}|sum", seconds)
        pipe.expire(self._key, _KEPT_S)
        try:
            pipe.execute()
        except redis.RedisError:
            return

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """For a registry of Prometheus'."""
        family = HistogramMetricFamily(
            "haven_job_duration_seconds", "Attempts of background jobs", labels=["kind", "status"]
        )
        for (kind, status), fields in sorted(self._read().items()):
            seen, buckets = 0.0, []
            for edge in (*map(str, EDGES_S), "+Inf"):
                seen += fields.get(edge, 0.0)
                buckets.append((edge, seen))
            family.add_metric([kind, status], buckets, fields.get("sum", 0.0))
        yield family

    def _read(self) -> dict[tuple[str, str], dict[str, float]]:
        if self._client is None:
            return {}
        try:
            found: dict[bytes, bytes] = self._client.hgetall(self._key)  # type: ignore[assignment]
        except redis.RedisError:
            return {}
        by: dict[tuple[str, str], dict[str, float]] = {}
        for name, number in list(found.items())[: _SERIES_MOST * (len(EDGES_S) + 2)]:
            kind, status, field = name.decode().split("|")
            by.setdefault((kind, status), {})[field] = float(number)
        return by


@contextmanager
def measured_job(recorder: Recorder, numbers: JobNumbers, kind: str) -> Iterator[JobMeasure]:
    """Measure the job that the block runs, with its statements and outside calls; sent when it is over.

    An exception counts as ``FAILED``; else what the block says: ``measure.status = "CANCELLED"``.
    """
    measure = JobMeasure()
    work, began_at, started = trace.begin(), time.time(), time.perf_counter()
    try:
        yield measure
    except BaseException:
        measure.status = "FAILED"
        raise
    finally:
        work.is_over = True
        ms = (time.perf_counter() - started) * 1000
        has_failed = measure.status == "FAILED"
        recorder.done(
            Finished(
                at=began_at + ms / 1000,
                method=JOB,
                route=kind,
                status=500 if has_failed else 200,
                ms=ms,
                started=started,
                bytes=0,
                wait_ms=None,
                has_failed=has_failed,
                content_type="",
                request_id=measure.request_id,
                trace=work,
            )
        )
        recorder.flush()
        numbers.push(kind, measure.status, ms / 1000)


class JobMeasure:
    """What the one who runs a job says of it."""

    __slots__ = ("request_id", "status")

    def __init__(self) -> None:
        self.status = "SUCCEEDED"
        self.request_id = ""
