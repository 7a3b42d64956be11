"""What operators see of memory; and what others see."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest

from extensions.memory import Priority
from haven.api.resource import API
from haven.app import create_app
from tests.api.operations import assert_is_problem

PATH = "/monitoring/memory"


@pytest.fixture
def operator(caller_of):
    return caller_of("PLATFORM_ADMIN")


@pytest.mark.req("M7", "S1")
def test_operators_see_every_process_against_the_limit(operator):
    answer = operator.get(PATH)
    assert answer.status_code == 200, answer.get_json()
    shown = answer.get_json()
    assert shown["limit_source"] in {"cgroup", "machine", "setting"}
    assert 0 < shown["used_bytes"] < shown["limit_bytes"]
    assert shown["share"] == pytest.approx(shown["used_bytes"] / shown["limit_bytes"], abs=0.001)
    assert shown["thresholds"] == {"warning": 0.7, "critical": 0.8, "emergency": 0.9}
    own = [one for one in shown["processes"] if one["role"] == "web"]
    assert own
    assert dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(own[0]["at"]) < dt.timedelta(minutes=1)
    assert own[0]["rss_bytes"] > own[0]["uss_bytes"] > 0
    assert isinstance(shown["recommendations"], list)
    assert shown["missing"] == []


@pytest.mark.req("M7")
def test_only_operators_see_memory(admin, client):
    assert_is_problem(admin.get(PATH), 403)
    assert_is_problem(client.get(f"{API}{PATH}"), 401)


def test_without_the_extension_it_says_so(settings, operator):
    left = tuple(one for one in settings.extensions if not one.startswith("extensions.memory"))
    operator.client = create_app(dataclasses.replace(settings, extensions=left)).test_client()
    assert "EXTENSIONS" in assert_is_problem(operator.get(PATH), 503)["detail"]


@pytest.mark.req("M5")
def test_memory_is_a_part_of_health(operator):
    part = operator.get("/monitoring/health").get_json()["parts"]["memory"]
    assert part["level"] in {"NORMAL", "WARNING", "CRITICAL", "EMERGENCY"}
    assert part["limit_bytes"] > 0


@pytest.mark.req("S4")
def test_haven_refuses_callbacks_and_sign_in_last_and_long_work_first(app):
    priorities = app.extensions["memory"].watcher.gate.priorities
    by_path = {
        "/health": "NEVER", "/alive": "NEVER", "/ready": "NEVER", "/metrics": "NEVER",
        f"{API}/hooks/stk/x": "LAST", f"{API}/auth/login": "LAST", f"{API}/auth/refresh": "LAST", "/ops/sign-in": "LAST",
        f"{API}/units": "NORMAL", f"{API}/payments/mpesa/stk-push": "NORMAL",
        f"{API}/units/bulk": "FIRST", f"{API}/exports/units": "FIRST", f"{API}/reports/arrears": "FIRST",
    }  # fmt: skip
    assert {path: priorities.of(path).name for path in by_path} == by_path


def test_every_bulk_path_is_long_work(app):
    priorities = app.extensions["memory"].watcher.gate.priorities
    bulk = [rule.rule for rule in app.url_map.iter_rules() if rule.rule.endswith("/bulk")]
    assert bulk
    assert {priorities.of(path).name for path in bulk} == {"FIRST"}


@pytest.mark.req("S4")
def test_a_page_that_is_computed_before_flask_is_refused_too(settings, admin):
    """And what refuses is measured: monitoring stands around it."""
    app = create_app(settings)
    admin.client = app.test_client()
    assert [admin.get("/properties").status_code for _ in range(2)] == [200, 200]
    watcher = app.extensions["memory"].watcher
    watcher.stop()
    watcher.gate.set(Priority.NORMAL)
    problem = assert_is_problem(admin.get("/properties"), 503)
    assert "short of memory" in problem["detail"]
    monitoring = app.extensions["monitoring"]
    monitoring.recorder.flush()
    assert monitoring.reader.window(60).one("http", "GET (shed)").count == 1
