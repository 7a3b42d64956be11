"""Whether this process lives, may have traffic, and how each part does."""

from __future__ import annotations

import time
from typing import Any

import redis
from flask import Blueprint, Response, current_app
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from haven import __version__
from haven.api.encoding import json_response
from haven.api.guard import runtime
from haven.db.migrate import head

blueprint = Blueprint("health", __name__)


@blueprint.get("/alive")
def alive() -> Response:
    """The process answers: nothing else is looked at, so a dead database restarts no web process."""
    return json_response({"status": "ok"})


@blueprint.get("/health")
@blueprint.get("/ready")
def ready() -> Response:
    """Traffic may come: the database answers and has the schema of this code. Redis only makes things faster."""
    if current_app.extensions["haven_drain"].is_on:
        return json_response({"status": "draining", "reason": "This server is about to stop."}, 503)
    database = _database()
    is_ready = database["status"] == "ok"
    return json_response(
        {"status": "ok" if is_ready else "down", "database": database}, 200 if is_ready else 503
    )


@blueprint.get("/health/detailed")
def detailed() -> Response:
    """Every part, with its numbers."""
    parts: dict[str, Any] = {"database": _database(), "redis": _redis()}
    for extension in current_app.extensions.get("haven_extensions", ()):
        report = getattr(extension, "health", None)
        if report is not None:
            health = report()
            parts[extension.name] = {"status": health.status, **health.numbers}
    database_is_up = parts["database"]["status"] == "ok"
    all_well = all(part["status"] == "ok" for part in parts.values())
    status = "ok" if all_well else "degraded" if database_is_up else "down"
    document = {"status": status, "version": __version__, "parts": parts}
    return json_response(document, 200 if database_is_up else 503)


def _database() -> dict[str, Any]:
    started = time.perf_counter()
    try:
        with runtime().engine.connect() as connection:
            revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    except SQLAlchemyError as error:
        return {"status": "down", "reason": f"PostgreSQL does not answer ({type(error).__name__})"}
    if revision != head():
        return {
            "status": "down",
            "reason": f"schema is at {revision}, this code needs {head()}: `haven db upgrade`",
        }
    return {"status": "ok", "revision": revision, "ms": _since(started)}


def _redis() -> dict[str, Any]:
    started = time.perf_counter()
    try:
        runtime().redis.ping()
    except redis.RedisError as error:
        return {"status": "degraded", "reason": f"Redis does not answer ({type(error).__name__})"}
    return {"status": "ok", "ms": _since(started)}


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 2)
