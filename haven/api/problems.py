"""Errors as ``application/problem+json`` (RFC 9457), made in this one place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import structlog
from flask import Flask, Response, g, request
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from haven.db.conflicts import explain
from haven.errors import Fault, HavenError, Malformed, Unavailable

log = structlog.get_logger(__name__)

_TITLES = {400: "Malformed request", 404: "Not found", 405: "Method not allowed", 413: "Body too large",
           415: "Unsupported media type", 422: "Invalid", 429: "Too many requests"}  # fmt: skip
_RETRY_S = 2


def problem(
    status: int,
    title: str,
    detail: str,
    faults: tuple[Fault, ...] = (),
    headers: dict[str, str] | None = None,
) -> Response:
    """A problem document for the request at hand."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": request.path,
        "request_id": g.get("request_id", ""),
    }
    if faults:
        document["errors"] = [fault.document() for fault in faults]
    return Response(orjson.dumps(document), status, headers, content_type="application/problem+json")


def register_problem_handlers(app: Flask) -> None:
    """Make every error of ``app`` a problem document: never HTML, never a stack trace."""
    app.register_error_handler(HavenError, _haven_error)
    app.register_error_handler(IntegrityError, lambda error: _haven_error(explain(error)))
    app.register_error_handler(PoolTimeout, _busy)
    app.register_error_handler(DBAPIError, _database_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unforeseen)


def _haven_error(error: HavenError) -> Response:
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="haven"'
    return problem(error.status, error.title, error.detail, error.faults, headers)


def _busy(_: Exception) -> Response:
    log.warning("database_pool_exhausted")
    return _haven_error(Unavailable("All database connections are in use.", retry_after_s=_RETRY_S))


def _database_error(error: DBAPIError) -> Response:
    code = getattr(error.orig, "pgcode", None) or ""
    if code.startswith("22"):
        # Text that PostgreSQL cannot store, a number out of its range: the caller's value, found late.
        return _haven_error(
            Malformed("A value cannot be stored: it is out of range or holds a character that text may not.")
        )
    if (
        error.connection_invalidated
        or code[:2] in ("08", "53", "57")
        or code in ("40001", "40P01", "55P03")
        or not code
    ):
        log.warning("database_unavailable", error=type(error.orig).__name__, code=code)
        return _haven_error(Unavailable("The database did not answer in time.", retry_after_s=_RETRY_S))
    return _unforeseen(error)


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    headers = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
    if status == 404:
        detail = f"There is nothing at {request.path}."
    elif status == 405:
        detail = f"{request.method} is not allowed here; allowed: {headers.get('Allow', '')}."
    else:
        detail = error.description or error.name
    return problem(status, _TITLES.get(status, error.name), detail, (), headers)


def faults_of(messages: Any, pointer: str = "") -> Iterator[Fault]:
    """Marshmallow's nested messages, flat, each with its JSON pointer (``_schema`` speaks of the whole object)."""
    if isinstance(messages, dict):
        for key, value in messages.items():
            yield from faults_of(value, pointer if key == "_schema" else f"{pointer}/{key}")
    elif isinstance(messages, list):
        for message in messages:
            yield from faults_of(message, pointer)
    else:
        yield Fault(pointer, str(messages))


def _unforeseen(error: Exception) -> Response:
    log.error("unforeseen_error", exc_info=error)
    return problem(
        500, "Internal error", "Something went wrong here, not in your request. Tell us the request_id."
    )
