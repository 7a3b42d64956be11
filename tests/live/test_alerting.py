"""An alert on a whole Haven: real requests, the clock, a worker, a receiver; and the clock killed in between."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter

import httpx
import pytest

from tests.operations.conftest import receiver, start_receiver

__all__ = ["receiver", "start_receiver"]
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("live_alerting"), pytest.mark.timeout(400)]
RULE = {
    "name": "asked",
    "metric": "response_p95_seconds",
    "labels": {"route": "/api/v1/units"},
    "comparison": "ABOVE",
    "threshold": 0,
    "for_s": 0,
    "resolve_for_s": 0,
    "window_s": 20,
    "minimum_count": 20,
    "severity": "WARNING",
}
ENDS_WITHIN_S = 120


@pytest.fixture
def operator(start_stack, receiver):
    stack = start_stack(
        ALERT_WEBHOOK_URL=receiver.url, WEBHOOK_PRIVATE_ADDRESSES="true", RATE_LIMIT_MAX_REQUESTS="1000000"
    )
    admin = stack.platform_admin
    base = f"{stack.url}/api/v1"
    signed_in = httpx.post(
        f"{base}/auth/login", json={"email": admin["email"], "password": admin["password"]}, timeout=30
    ).json()
    headers = {"Authorization": f"Bearer {signed_in['access_token']}"}
    client = httpx.Client(base_url=base, headers=headers, timeout=30)
    client.stack = stack  # type: ignore[attr-defined]
    return client


def asked(operator, count=60):
    headers = {"Authorization": f"Bearer {operator.stack.agency_admin['api_key']}"}
    for _ in range(count):
        assert httpx.get(f"{operator.stack.url}/api/v1/units", headers=headers, timeout=30).status_code == 200


def until(is_so, act=lambda: None):
    deadline = time.monotonic() + ENDS_WITHIN_S
    while not is_so():
        assert time.monotonic() < deadline
        act()
        time.sleep(0.5)


@pytest.mark.req("A2")
def test_it_fires_and_is_over_once_on_a_whole_haven_also_when_the_clock_dies(operator, receiver):
    assert operator.post("/monitoring/alerts/rules", json=RULE).status_code == 201

    def states():
        return [one["state"] for one in operator.get("/monitoring/alerts?rule=asked").json()["data"]]

    def heard():
        said = [json.loads(body) for _, body in receiver.heard]
        return Counter(one["data"]["state"] for one in said if one["data"]["rule"] == "asked")

    until(lambda: states() == ["FIRING"], lambda: asked(operator))
    os.kill(operator.stack.pids["cron"], signal.SIGKILL)
    until(lambda: states() == ["RESOLVED"])
    until(lambda: heard() == {"FIRING": 1, "RESOLVED": 1})
    until(lambda: operator.get("/monitoring/maintenance").status_code == 200)
    time.sleep(25)
    assert states() == ["RESOLVED"]
    assert heard() == {"FIRING": 1, "RESOLVED": 1}
    (alert,) = operator.get("/monitoring/alerts?rule=asked").json()["data"]
    assert alert["labels"] == {"method": "GET", "route": "/api/v1/units"}
    assert 0 < alert["value"] < 30
