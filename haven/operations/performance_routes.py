"""``/monitoring``: requests, statements, history and health, for operators."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from flask import Response, current_app, request

from extensions.contract import Health
from extensions.memory import NAME as MEMORY
from extensions.memory import State as MemoryState
from extensions.monitoring import NAME, STATEMENT, State, performance_metrics, stats
from extensions.monitoring.sketch import merged
from haven.api.encoding import json_response
from haven.api.guard import current_session, requires
from haven.api.health import detailed_report
from haven.api.resource import problems
from haven.errors import Fault, Invalid, NotFound, Unavailable
from haven.operations import database_report as database
from haven.operations import memory_schemas
from haven.operations import performance_parameters as parameters
from haven.operations import performance_schemas as schemas
from haven.operations.monitoring_routes import monitoring

_HISTORY_POINTS_MOST: Final = 20_000


@monitoring.route("/monitoring/performance", methods=["GET"])
@requires("monitoring:read")
@monitoring.response(200, schemas.Performance)
@monitoring.doc(
    summary="Requests of all processes: volume, errors, percentiles, by route",
    parameters=parameters.WINDOW,
    responses=problems(422, 503),
)
def read_performance() -> Response:
    window_s = parameters.read_window(request.args)
    state = monitoring_state()
    answer = state.cached.get(
        ("performance", window_s), lambda: performance_metrics.get_api_stats(window_s * 1000)
    )
    return json_response(answer)


@monitoring.route("/monitoring/slow-requests", methods=["GET"])
@requires("monitoring:read")
@monitoring.response(200, schemas.SlowRequests)
@monitoring.doc(
    summary="The newest slow requests, each with what it spent its time on",
    parameters=parameters.SLOW_REQUESTS,
    responses=problems(422, 503),
)
def read_slow_requests() -> Response:
    limit = parameters.read_slow_requests(request.args)
    rules = monitoring_state().recorder.rules
    found = [one | {"at": _time(one["at"])} for one in performance_metrics.get_slow_requests(limit)]
    return json_response({"threshold_ms": rules.slow_ms, "requests": found})


@monitoring.route("/monitoring/slow-queries", methods=["GET"])
@requires("monitoring:read")
@monitoring.response(200, schemas.SlowQueries)
@monitoring.doc(
    summary="Statements by fingerprint, the longest in total first; of one its plan",
    parameters=parameters.SLOW_QUERIES,
    responses=problems(404, 409, 422, 503),
)
def read_slow_queries() -> Response:
    asked = parameters.read_slow_queries(request.args)
    rules = monitoring_state().recorder.rules
    found = performance_metrics.get_statements(
        asked.window_s * 1000,
        asked.limit,
        asked.order,
        only_slow=asked.only_slow,
        fingerprint=asked.fingerprint,
    )
    answer = {
        "window_s": asked.window_s,
        "threshold_ms": rules.slow_statement_ms,
        "statements": found,
        "plan": None if asked.fingerprint is None else plan_of(asked.fingerprint),
        "pg_stat_statements": database.server_statements(current_session(), asked.limit),
    }
    return json_response(answer)


def plan_of(fingerprint: str) -> Any:
    """How PostgreSQL would run a statement that was seen lately; it is not run.

    Raises:
        NotFound: it was not seen.
        Conflict: it cannot be planned without its values.
    """
    told = monitoring_state().recorder.statements_told([fingerprint]).get(fingerprint)
    if told is None or not told["sample"]:
        raise NotFound(f"No statement with the fingerprint {fingerprint} was seen lately.")
    return database.plan_of(current_session(), told["sample"])


@monitoring.route("/monitoring/history", methods=["GET"])
@requires("monitoring:read")
@monitoring.response(200, schemas.MetricHistory)
@monitoring.doc(
    summary="A metric over time, from the last minutes to 30 days",
    parameters=parameters.HISTORY,
    responses=problems(422, 503),
)
def read_history() -> Response:
    asked = parameters.read_history(request.args, dt.datetime.now(dt.UTC))
    state = monitoring_state()
    state.recorder.flush()
    points, missing = state.reader.points(asked.metric, asked.since, asked.until, asked.step_s, asked.labels)
    if len(points) > _HISTORY_POINTS_MOST:
        rule = f"must name one series: these are {len(points)} points"
        raise Invalid(f"labels: {rule}", faults=(Fault("labels", rule),))
    shown = [stats.point_numbers(point, with_classes=asked.with_classes) for point in points]
    answer = {
        "metric": asked.metric,
        "step_s": asked.step_s,
        "from": _time(asked.since),
        "to": _time(asked.until),
        "class_edges": stats.EDGES_MS,
        "points": [point | {"at": _time(point["at"])} for point in shown],
        "missing": missing,
    }
    return json_response(answer)


@monitoring.route("/monitoring/database", methods=["GET"])
@requires("monitoring:read")
@monitoring.response(200, schemas.DatabaseNumbers)
@monitoring.doc(
    summary="The database: pool, statements, tables, unused indexes",
    parameters=parameters.WINDOW,
    responses=problems(422, 503),
)
def read_database() -> Response:
    window_s = parameters.read_window(request.args)
    state = monitoring_state()
    window = state.reader.window(window_s, (STATEMENT,))
    statements = merged(window.of(STATEMENT).values())
    answer = {
        "pool": _pool(),
        "window_s": window_s,
        "statements": stats.rates(statements, window_s),
        **database.database_report(current_session()),
    }
    return json_response(answer)


@monitoring.route("/monitoring/memory", methods=["GET"])
@requires("monitoring:read")
@monitoring.response(200, memory_schemas.MemoryReport)
@monitoring.doc(
    summary="Memory, CPU and collections of every process, and what to change", responses=problems(503)
)
def read_memory() -> Response:
    state: MemoryState | None = current_app.extensions.get(MEMORY)
    if state is None:
        raise Unavailable("Memory is not among this server's EXTENSIONS.")
    stats = state.stats()
    answer = {
        **stats,
        "processes": [one | {"at": _time(one["at"])} for one in stats["processes"]],
        "recommendations": state.recommendations(stats, current_app.config),
    }
    return json_response(answer)


@monitoring.route("/monitoring/health", methods=["GET"])
@requires("monitoring:read")
@monitoring.response(200, schemas.HealthReport)
@monitoring.doc(summary="Every part, with its numbers")
def read_health() -> Response:
    return json_response(detailed_report())


def monitoring_state() -> State:
    """What monitoring keeps in this process.

    Raises:
        Unavailable: it is not among the extensions.
    """
    state: State | None = current_app.extensions.get(NAME)
    if state is None:
        raise Unavailable("Monitoring is not among this server's EXTENSIONS.")
    return state


def _pool() -> dict[str, Any]:
    for extension in current_app.extensions.get("haven_extensions", ()):
        if extension.name == "database":
            health: Health = extension.health()
            return {"status": health.status, **health.numbers}
    return {}


def _time(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
