"""A real Prometheus that scrapes a running Haven for a minute says what our own page says."""

from __future__ import annotations

import contextlib
import math
import shutil
import subprocess
import time
from bisect import bisect_left
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from extensions.monitoring.prometheus import BUCKETS_S
from haven.embedded_servers import free_port
from tests.live import walk
from tests.live.api import Live

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
SCRAPE_S: Final = 2
LOAD_S: Final = 60
ENOUGH: Final = 40
"""Requests of a route from which its percentiles are compared."""
SHARES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
PATIENCE_S: Final = 60


@pytest.fixture
def live(live_stack):
    return Live(live_stack)


class Prometheus:
    """One of our own, on this host."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=10)

    def is_ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return self._http.get("/-/ready").status_code == 200
        return False

    def ask(self, query: str) -> dict[tuple[str, str], float]:
        """Method and route → value."""
        answer = self._http.get("/api/v1/query", params={"query": query})
        assert answer.status_code == 200, answer.text
        found = answer.json()["data"]["result"]
        return {
            (one["metric"].get("method", ""), one["metric"].get("route", "")): float(one["value"][1])
            for one in found
        }


@contextlib.contextmanager
def prometheus(scraped: str, folder: Path) -> Iterator[Prometheus]:
    program = shutil.which("prometheus")
    if program is None:
        pytest.fail("prometheus is missing: apt-get install prometheus (`.ci/run` does)")
    settings = folder / "prometheus.yml"
    settings.write_text(
        f"global: {{scrape_interval: {SCRAPE_S}s, scrape_timeout: {SCRAPE_S}s}}\n"
        f"scrape_configs: [{{job_name: haven, static_configs: [{{targets: ['{scraped}']}}]}}]\n"
    )
    port = free_port()
    arguments = [
        program, f"--config.file={settings}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
    ]  # fmt: skip
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(arguments, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        asked = Prometheus(f"http://127.0.0.1:{port}")
        wait_until(asked.is_ready)
        yield asked
    finally:
        process.terminate()
        process.wait(30)


def wait_until(is_so: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def load(live: Live) -> None:
    """A mixed load by several at once, for a minute."""
    paths = walk.plain_gets(live)
    ends_at = time.monotonic() + LOAD_S
    lists = [path for path in paths if path in ("/properties", "/units", "/tenants", "/leases", "/payments")]
    assert len(lists) == 5

    def read(number: int) -> None:
        client = Live(live.stack)
        while time.monotonic() < ends_at:
            for path in lists:
                client.get(f"{path}?limit={5 + number}")
                client.http.get(path, headers={"Cache-Control": "no-cache"})

    with ThreadPoolExecutor(5) as pool:
        reading = [pool.submit(read, number) for number in range(4)]
        walk.look_at_everything(live, paths)
        lease = live.a_lease()
        for ending in ("0001", "1032", "0002"):
            assert live.push(lease["id"], ending).status_code == 202
        assert walk.export(live, "payments")["status"] == "SUCCEEDED"
        for one in reading:
            one.result(timeout=LOAD_S * 3)


def bucket_of(seconds: float) -> tuple[float, float]:
    """The bucket that a duration is in; the last is open."""
    at = bisect_left(BUCKETS_S, seconds)
    return (BUCKETS_S[at - 1] if at else 0.0), (BUCKETS_S[at] if at < len(BUCKETS_S) else math.inf)


@pytest.mark.req("M6", "M2")
def test_a_real_prometheus_agrees_with_our_page(live, tmp_path):
    by = walk.operator(live)

    def ours() -> dict[tuple[str, str], dict[str, Any]]:
        told = by.get("/monitoring/performance?window=3600").json()
        assert told["missing"] == []
        return {(row["method"], row["route"]): row for row in told["endpoints"]}

    with prometheus(live.stack.url.removeprefix("http://"), tmp_path) as theirs:
        load(live)

        def is_all_counted() -> bool:
            counted = theirs.ask("sum by (method, route) (haven_http_request_duration_seconds_count)")
            rows = {at: row for at, row in ours().items() if row["count"] >= ENOUGH and not is_own(at[1])}
            return len(rows) >= 5 and all(counted.get(at) == row["count"] for at, row in rows.items())

        wait_until(is_all_counted)
        rows = {at: row for at, row in ours().items() if row["count"] >= ENOUGH and not is_own(at[1])}
        for name, share in SHARES.items():
            found = theirs.ask(
                f"histogram_quantile({share}, sum by (method, route, le) (haven_http_request_duration_seconds_bucket))"
            )
            for at, row in rows.items():
                # Both may lie anywhere in the bucket of the exact value, which ours meets to 1 %.
                low, high = bucket_of(row[name] / 1000)
                low, high = min(low, bucket_of(row[name] / 1010)[0]), max(high, bucket_of(row[name] / 990)[1])
                assert low <= found[at] <= min(high, BUCKETS_S[-1]), (at, name, row[name], found[at])
        up = theirs.ask("avg_over_time(up[1m])")
        assert list(up.values()) == [1.0]
        assert set(theirs.ask("haven_job_duration_seconds_count")) != set()


def is_own(route: str) -> bool:
    """Whether the test itself, or Prometheus, asks it while it compares."""
    return route == "/metrics" or "/monitoring/" in route or "/jobs/" in route


@pytest.mark.req("M6")
def test_promtool_finds_nothing_wrong_after_all_kinds_of_work(live):
    walk.look_at_everything(live, walk.plain_gets(live))
    assert walk.export(live, "tenants")["status"] == "SUCCEEDED"
    text = httpx.get(f"{live.stack.url}/metrics", timeout=30).text
    assert "haven_job_duration_seconds_count" in text
    assert "haven_http_request_duration_seconds_bucket" in text
    promtool = shutil.which("promtool")
    assert promtool is not None, "apt-get install prometheus (`.ci/run` does)"
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
