"""``/metrics`` of several gunicorn processes after a mixed load, as Prometheus' own tool sees it."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from extensions.monitoring import JobNumbers
from tests.support.web import running_web

LOAD = ("/alive", "/ready", "/nothing/12345", "/api/v1/units", "/api/v1/units/9", "/health/detailed")
EACH = 20
LOAD_OF = {("(no route)", "4xx"): 2 * EACH}
SEEN = [
    ("/alive", "2xx"),
    ("/health/detailed", "2xx"),
    ("(no route)", "4xx"),
    ("/api/v1/units", "4xx"),
]


def counted(text: str) -> dict[tuple[str, str], int]:
    """Route and class of status → requests."""
    found = re.findall(
        r'haven_http_request_duration_seconds_count\{method="GET",route="([^"]*)",status="(\dxx)"\} ([\d.]+)',
        text,
    )
    return {(route, status): int(float(number)) for route, status, number in found}


@pytest.fixture(scope="module")
def web(environ, tmp_path_factory):
    with running_web(environ, tmp_path_factory.mktemp("web"), WEB_CONCURRENCY="3", METRICS_TOKEN="") as web:
        yield web


@pytest.fixture(scope="module")
def text(web, redis_url):
    """The metrics after a load over all processes, told by whichever of them answers."""
    import redis

    JobNumbers(redis.Redis.from_url(redis_url)).push("tests", "SUCCEEDED", 0.3)
    before = counted(httpx.get(f"{web.url}/metrics", timeout=30).text)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda path: httpx.get(web.url + path, timeout=30), LOAD * EACH))
    deadline = time.monotonic() + 60
    while True:
        shown = httpx.get(f"{web.url}/metrics", timeout=30).text
        found = counted(shown)
        if all(found.get(key, 0) - before.get(key, 0) >= LOAD_OF.get(key, EACH) for key in SEEN):
            return shown
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


@pytest.mark.req("M6")
def test_whichever_process_is_asked_tells_of_all(web, text):
    found = counted(text)
    assert found["/health/detailed", "2xx"] == EACH
    assert found["/api/v1/units", "4xx"] == EACH
    assert "12345" not in text
    for name in ("haven_database_pool_in_use", "haven_jobs_waiting", "haven_caching_local_bytes"):
        assert name in text, name
    assert 'haven_job_duration_seconds_count{kind="tests",status="SUCCEEDED"}' in text


@pytest.mark.req("M6")
def test_promtool_finds_nothing_wrong(text):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.fail("promtool is missing: apt-get install prometheus (`.ci/run` does)")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
