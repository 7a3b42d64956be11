"""Whether this process lives, may have traffic, and how each part does.

The checks are in the registry of ``extensions.health``: each has a time-out, they run side by side, and what they say is
good for a second, so that any number of probes costs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import redis
from flask import Blueprint, Flask, Response, current_app
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from extensions.contract import Health
from extensions.health import EXTENSION, HealthRegistry
from extensions.monitoring import NAME as MONITORING
from haven import __version__
from haven.api.encoding import json_response
from haven.api.guard import current_principal, runtime
from haven.db.migrate import head
from haven.errors import HavenError

blueprint = Blueprint("health", __name__)

DATABASE: Final = "postgresql"
REDIS: Final = "redis"
_READS: Final = "monitoring:read"


def add_checks(app: Flask) -> None:
    """Have PostgreSQL and Redis checked besides the extensions."""
    checks: HealthRegistry = app.extensions.setdefault(EXTENSION, HealthRegistry())
    timeout_s = app.config["DB_CONNECT_TIMEOUT"] + 1
    checks.add(DATABASE, _in(app, _database), timeout_s)
    checks.add(REDIS, _in(app, _redis))


@blueprint.get("/alive")
@blueprint.get("/health")
def alive() -> Response:
    """The process answers: nothing else is looked at, so a dead database restarts no web process."""
    return json_response({"status": "ok"})


@blueprint.get("/ready")
def ready() -> Response:
    """Traffic may come: the database answers and has the schema of this code. Redis only makes things faster."""
    if current_app.extensions["haven_drain"].is_on:
        return json_response({"status": "draining", "reason": "This server is about to stop."}, 503)
    database = _checks().run((DATABASE,))[DATABASE]
    is_ready = database.status == "ok"
    return json_response(
        {"status": "ok" if is_ready else "down", "database": _shown(database)}, 200 if is_ready else 503
    )


@blueprint.get("/health/detailed")
def detailed() -> Response:
    """Every part, with its numbers, for operators and bearers of METRICS_TOKEN; for others how it is on the whole."""
    report = detailed_report()
    status = 503 if report["status"] == "down" else 200
    if not _may_see_details():
        return json_response({"status": report["status"]}, status)
    return json_response(report, status)


def detailed_report() -> dict[str, Any]:
    """The status on the whole, the version, and each part. Without PostgreSQL Haven is down, without others degraded."""
    found = _checks().run()
    all_well = all(part.status == "ok" for part in found.values())
    status = "ok" if all_well else "degraded" if found[DATABASE].status == "ok" else "down"
    parts = {name: _shown(part) for name, part in found.items()}
    return {"status": status, "version": __version__, "parts": parts}


def _may_see_details() -> bool:
    monitoring = current_app.extensions.get(MONITORING)
    if monitoring is not None and monitoring.exporter.is_bearer():
        return True
    try:
        return _READS in current_principal().permissions
    except (HavenError, SQLAlchemyError):
        # Nobody who can be known now; with a dead database only those who were known lately can.
        return False


def _checks() -> HealthRegistry:
    checks: HealthRegistry = current_app.extensions[EXTENSION]
    return checks


def _in(app: Flask, check: Callable[[], Health]) -> Callable[[], Health]:
    def checked() -> Health:
        with app.app_context():
            return check()

    return checked


def _shown(part: Health) -> dict[str, Any]:
    return {"status": part.status, **part.numbers}


def _database() -> Health:
    started = time.perf_counter()
    try:
        with runtime().engine.connect() as connection:
            revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    except SQLAlchemyError as error:
        return Health("down", {"reason": f"PostgreSQL does not answer ({type(error).__name__})"})
    if revision != head():
        reason = f"schema is at {revision}, this code needs {head()}: `haven db upgrade`"
        return Health("down", {"reason": reason})
    return Health("ok", {"revision": revision, "ms": _since(started)})


def _redis() -> Health:
    started = time.perf_counter()
    try:
        runtime().redis.ping()
    except redis.RedisError as error:
        return Health("degraded", {"reason": f"Redis does not answer ({type(error).__name__})"})
    return Health("ok", {"ms": _since(started)})


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 2)
