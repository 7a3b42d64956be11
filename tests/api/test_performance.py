"""What operators see of requests, statements, history and health; and what others see."""

from __future__ import annotations

import dataclasses
import datetime as dt
import time
import uuid

import pytest
from sqlalchemy import text

from haven.app import create_app
from tests.api.operations import assert_is_problem

PATHS = (
    "/monitoring/performance",
    "/monitoring/slow-requests",
    "/monitoring/slow-queries",
    "/monitoring/history",
    "/monitoring/database",
    "/monitoring/health",
)


@pytest.fixture
def operator(caller_of):
    return caller_of("PLATFORM_ADMIN")


def row(answer, **wanted):
    assert answer.status_code == 200, answer.get_json()
    (found,) = (
        one for one in answer.get_json()["endpoints"] if wanted.items() <= {k: one[k] for k in wanted}.items()
    )
    return found


def statements_of(by, **query):
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    answer = by.get(f"/monitoring/slow-queries?limit=200&{asked}")
    assert answer.status_code == 200, answer.get_json()
    return answer.get_json()


@pytest.mark.req("M7")
def test_requests_are_seen_by_route_with_what_they_cost(operator, admin):
    missing = uuid.uuid4()
    for _ in range(3):
        assert admin.get(f"/units/{missing}").status_code == 404
    time.sleep(1.1)  # an answer is good for a second
    answer = operator.get("/monitoring/performance?window=600")
    shown = answer.get_json()
    found = row(answer, method="GET", route="/api/v1/units/<uuid:row_id>")
    assert found["count"] >= 3
    assert found["statements_mean"] >= 1
    assert found["p50"] <= found["p99"] <= found["max"] * 1.02
    assert str(missing) not in answer.get_data(as_text=True)
    assert shown["count"] >= sum(one["count"] for one in shown["endpoints"] if one["route"] != "x") > 0
    assert shown["missing"] == []


@pytest.mark.req("M1")
def test_a_slow_request_is_kept_with_its_statements(settings, caller_of):
    by, operator = caller_of(), caller_of("PLATFORM_ADMIN")
    slow = create_app(dataclasses.replace(settings, slow_request_threshold=1))
    by.client = operator.client = slow.test_client()
    answer = by.get("/units?q=slowly")
    answer.get_data()
    kept = operator.get("/monitoring/slow-requests?limit=200").get_json()
    assert kept["threshold_ms"] == 1
    (found,) = (one for one in kept["requests"] if one["request_id"] == answer.headers["X-Request-ID"])
    assert (found["method"], found["route"], found["status"]) == ("GET", "/api/v1/units", 200)
    assert found["sql"]["count"] >= 1
    statements = [one for one in found["spans"] if one["kind"] == "sql"]
    assert all(one["fingerprint"] and one["from_ms"] >= 0 for one in statements)
    assert any("FROM unit" in one["name"] for one in statements)
    assert "slowly" not in str(found)


@pytest.mark.req("D6", "M3")
def test_the_plan_of_a_statement_is_shown_and_it_is_not_run(operator, admin, app):
    admin.get("/units?q=planned").get_data()
    shown = statements_of(operator)
    listed = next(one for one in shown["statements"] if one["text"].startswith("SELECT CAST(unit."))
    assert "planned" not in str(shown["statements"])
    alone = statements_of(operator, fingerprint=listed["fingerprint"])
    assert [one["fingerprint"] for one in alone["statements"]] == [listed["fingerprint"]]
    assert alone["plan"]["Plan"]["Node Type"]
    # A per cent sign of a parameter, and the values that the plan does not know, have come through.
    assert "Total Cost" in alone["plan"]["Plan"]
    told = shown["pg_stat_statements"]
    assert told["is_available"] or told["reason"]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO owner DEFAULT VALUES",
        "WITH gone AS (DELETE FROM owner RETURNING id) SELECT * FROM gone",
        "SELECT 1; DROP TABLE owner",
        "SELECT set_config('a', 'b', true)\n; SELECT 2",
        "EXPLAIN SELECT 1",
        "COPY owner TO PROGRAM 'true'",
        "",
    ],
)
def test_only_a_select_is_planned(app, statement):
    from haven.errors import Conflict
    from haven.operations.database_report import plan_of

    with app.app_context(), pytest.raises(Conflict, match="Only the plan of a SELECT"):
        plan_of(app.extensions["sqlalchemy"].session(), statement)


def test_what_cannot_be_planned_without_values_says_so_and_leaves_the_transaction_well(app):
    from haven.errors import Conflict
    from haven.operations.database_report import plan_of

    with app.app_context():
        session = app.extensions["sqlalchemy"].session()
        with pytest.raises(Conflict, match="without its values"):
            plan_of(session, "SELECT nothing_there FROM nowhere WHERE a = %(a)s")
        plan = plan_of(
            session, "SELECT id FROM unit WHERE label LIKE %(a)s AND label LIKE '50%%' AND label <> %(a)s"
        )
        assert plan["Plan"]["Node Type"]
        assert session.execute(text("SELECT 1")).scalar() == 1
        session.rollback()


@pytest.mark.req("M7")
def test_history_has_points_and_classes(operator, admin):
    admin.get("/units").get_data()
    answer = operator.get("/monitoring/history?metric=http&step=10&classes=true").get_json()
    assert answer["step_s"] == 10
    assert sum(point["count"] for point in answer["points"]) >= 1
    newest = answer["points"][-1]
    assert sum(newest["classes"]) == newest["count"]
    assert len(newest["classes"]) == len(answer["class_edges"]) + 1
    every = operator.get("/monitoring/history?metric=http&labels=*&step=10").get_json()
    assert "GET /api/v1/units" in {point["labels"] for point in every["points"]}
    month_ago = (dt.datetime.now(dt.UTC) - dt.timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert operator.get(f"/monitoring/history?from={month_ago}").get_json()["step_s"] == 21_600
    pool = operator.get("/monitoring/history?metric=database_pool_in_use&step=10").get_json()
    assert pool["points"]


@pytest.mark.parametrize(
    "path, field",
    [
        ("/monitoring/performance?window=5", "window"),
        ("/monitoring/performance?window=x", "window"),
        ("/monitoring/performance?windows=60", "windows"),
        ("/monitoring/slow-requests?limit=0", "limit"),
        ("/monitoring/slow-queries?order=random", "order"),
        ("/monitoring/slow-queries?only_slow=yes", "only_slow"),
        ("/monitoring/slow-queries?fingerprint=DROP", "fingerprint"),
        ("/monitoring/history?metric=a'b", "metric"),
        ("/monitoring/history?from=yesterday", "from"),
        ("/monitoring/history?from=2026-11-25", "from"),
        ("/monitoring/history?from=2999-01-01T00:00:00Z", "from"),
        ("/monitoring/history?from=2001-01-01T00:00:00Z", "from"),
        ("/monitoring/history?step=7", "step"),
        ("/monitoring/history?step=10&step=60", "step"),
    ],
)
def test_a_wrong_parameter_is_named(operator, path, field):
    problem = assert_is_problem(operator.get(path), 422)
    assert problem["errors"][0]["pointer"] == field


def test_too_many_points_are_refused_with_the_number(operator):
    day_ago = (dt.datetime.now(dt.UTC) - dt.timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    problem = assert_is_problem(operator.get(f"/monitoring/history?from={day_ago}&step=10"), 422)
    assert "at most 2000 points" in problem["errors"][0]["detail"]


def test_an_unknown_statement_is_not_found(operator):
    assert_is_problem(operator.get("/monitoring/slow-queries?fingerprint=000000000000"), 404)


@pytest.mark.req("D2", "M3")
def test_the_database_is_shown(operator):
    shown = operator.get("/monitoring/database").get_json()
    assert shown["pool"]["in_use"] >= 0
    assert shown["server"]["connections"] >= 1
    assert "unit" in {one["table"] for one in shown["tables"]} | {"unit"}


@pytest.mark.parametrize("role", ["AGENCY_ADMIN", "MANAGER", "VIEWER"])
def test_nobody_else_sees_any_of_it(caller_of, role):
    by = caller_of(role)
    for path in PATHS:
        assert_is_problem(by.get(path), 403)


@pytest.mark.req("M5")
def test_details_of_health_are_for_operators(operator, admin, client, settings):
    for answer in (client.get("/health/detailed"), admin.get("/health/detailed")):
        assert answer.get_json().keys() == {"status"}
    shown = operator.get("/health/detailed").get_json()
    assert {"postgresql", "redis", "database", "monitoring"} <= shown["parts"].keys()
    assert shown["parts"]["database"]["in_use"] >= 0
    assert operator.get("/monitoring/health").get_json()["parts"].keys() == shown["parts"].keys()
    guarded = create_app(dataclasses.replace(settings, metrics_token="let me in please")).test_client()
    assert guarded.get("/health/detailed").get_json().keys() == {"status"}
    bearer = {"Authorization": "Bearer let me in please"}
    assert "parts" in guarded.get("/health/detailed", headers=bearer).get_json()


@pytest.mark.req("M5")
def test_liveness_asks_nobody(settings):
    nowhere = dataclasses.replace(
        settings, database_url="postgresql://nobody@127.0.0.1:1/none", redis_url="redis://127.0.0.1:1/0"
    )
    client = create_app(nowhere).test_client()
    for path in ("/alive", "/health"):
        assert client.get(path).get_json() == {"status": "ok"}
    answer = client.get("/ready")
    assert (answer.status_code, answer.get_json()["database"]["status"]) == (503, "down")
    detailed = client.get("/health/detailed")
    assert (detailed.status_code, detailed.get_json()) == (503, {"status": "down"})


@pytest.mark.req("M1")
def test_operators_are_told_the_timing_and_others_are_not(operator, admin):
    assert "db;dur=" in operator.get("/monitoring/breakers").headers["Server-Timing"]
    assert "Server-Timing" not in admin.get("/units").headers


@pytest.mark.req("M8")
def test_switched_off_nothing_is_measured_and_all_else_works(settings, caller_of):
    by, operator = caller_of(), caller_of("PLATFORM_ADMIN")
    off = create_app(dataclasses.replace(settings, enable_performance_monitoring=False))
    by.client = operator.client = off.test_client()
    assert by.get("/units").status_code == 200
    assert operator.get("/monitoring/slow-queries").status_code == 200
    assert off.test_client().get("/metrics").status_code == 404
