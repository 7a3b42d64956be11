"""Logs: one JSON line for each event, one for each request, with a request id that callers may bring."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from typing import Any, Final, NamedTuple

import orjson
import structlog
from flask import Flask, Response, g, request

from extensions.contract import Base, Setting
from extensions.logs import lines
from extensions.logs.redaction import redact, redact_event

__all__ = [
    "Answered",
    "Begun",
    "Logs",
    "begun_of",
    "configure_logging",
    "name_lines",
    "offered_request_id",
    "own_request_id",
    "redact",
    "trace_id_of",
    "write_answered",
    "write_request",
]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,128}")
_TRACE_PARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_OWN_ID_BYTES: Final = 16
_BEGUN: Final = "haven.begun"
_WORDS_MOST: Final = 10
_QUIET: Final = ("/alive", "/ready", "/health")


def configure_logging(level: str = "INFO", form: str = "json") -> None:
    """Write every log event of this process to standard output.

    Args:
        level: DEBUG, INFO, WARNING or ERROR.
        form: ``json``, or ``console`` for a person's eyes.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact_event,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        cache_logger_on_first_use=False,
    )
    render = (
        structlog.dev.ConsoleRenderer()
        if form == "console"
        else structlog.processors.JSONRenderer(
            serializer=lambda event, **_: orjson.dumps(event, default=str).decode()
        )
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers = [one for one in root.handlers if not getattr(one, "is_haven", False)]
    handler.is_haven = True  # type: ignore[attr-defined]
    handler.writes_json = form != "console"  # type: ignore[attr-defined]
    root.addHandler(handler)
    root.setLevel(level)
    # One line for each call to a provider says too much, and has its URL in it.
    for name in ("httpx", "httpcore", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)


class Logs(Base):
    """Request ids and the request log."""

    name = "logs"
    settings = (
        Setting("LOG_LEVEL", "INFO", "DEBUG, INFO, WARNING or ERROR"),
        Setting("LOG_FORMAT", "json", "json or console"),
        Setting("SLOW_REQUEST_THRESHOLD", 1000, "A request over this is logged as slow", "ms"),
    )

    def init_app(self, app: Flask) -> None:
        configure_logging(self.setting(app, "LOG_LEVEL").upper(), self.setting(app, "LOG_FORMAT"))
        slow_ms = self.setting(app, "SLOW_REQUEST_THRESHOLD")
        app.extensions[self.name] = self
        app.before_request(_begin)
        words = _Words(app)
        app.after_request(lambda response: _end(response, slow_ms, words))


def _begin() -> None:
    begun = begun_of(request.environ)
    g.started, g.request_id, g.is_own_id, g.trace_id = begun
    name_lines(begun.request_id, begun.trace_id)


class Begun(NamedTuple):
    """A request as it came: when (``time.perf_counter``), and what lines call it.

    ``is_own_id``: the id was made here, and hides nothing.
    """

    at: float
    request_id: str
    is_own_id: bool
    trace_id: str | None


def begun_of(environ: dict[str, Any]) -> Begun:
    """The beginning of the request with this WSGI environment: that of whoever asks first, so that its id stays the same."""
    begun: Begun | None = environ.get(_BEGUN)
    if begun is None:
        offered_id = offered_request_id(environ.get("HTTP_X_REQUEST_ID"))
        request_id = offered_id or own_request_id()
        trace_id = trace_id_of(environ.get("HTTP_TRACEPARENT"))
        begun = environ[_BEGUN] = Begun(time.perf_counter(), request_id, offered_id is None, trace_id)
    return begun


def name_lines(request_id: str, trace_id: str | None = None) -> None:
    """Give every line that is written in this context from here on the request's id, and its trace's."""
    structlog.contextvars.clear_contextvars()
    told = {"request_id": request_id, "trace_id": trace_id}
    structlog.contextvars.bind_contextvars(**{name: value for name, value in told.items() if value})


def offered_request_id(offered: str | None) -> str | None:
    """The id that the caller brought, if it is one."""
    return offered if offered and _REQUEST_ID.fullmatch(offered) else None


def own_request_id() -> str:
    """A new one."""
    return os.urandom(_OWN_ID_BYTES).hex()


def trace_id_of(parent: str | None) -> str | None:
    """The trace that W3C's ``traceparent`` names."""
    trace = _TRACE_PARENT.fullmatch(parent) if parent else None
    return trace[1] if trace else None


class Answered(NamedTuple):
    """A request and its answer, as the log tells of them. ``route`` is the rule, or what of a path is no caller's word.

    ``is_own_id``: the id was made here, and hides nothing.
    """

    method: str
    route: str
    status: int
    ms: float
    size: int | None
    caller: str | None
    request_id: str
    trace_id: str | None = None
    statements: int | None = None
    statements_ms: float = 0.0
    is_own_id: bool = False


def write_request(answered: Answered, slow_ms: float) -> None:
    """The one line of a request; a warning where it took ``slow_ms`` or longer, an error where it failed."""
    is_slow = answered.ms >= slow_ms
    level = logging.ERROR if answered.status >= 500 else logging.WARNING if is_slow else logging.INFO
    fields = {
        "method": answered.method,
        "route": answered.route,
        "status": answered.status,
        "ms": round(answered.ms, 2),
        "statements": answered.statements,
        "statements_ms": round(answered.statements_ms, 2),
        "bytes": answered.size,
        "caller": answered.caller,
        # Brought by the caller, it may be anything: a telephone number, a token.
        "request_id": answered.request_id if answered.is_own_id else redact(answered.request_id),
    }
    if answered.trace_id:
        fields["trace_id"] = answered.trace_id
    lines.write(level, "slow_request" if is_slow else "request", fields)


def write_answered(
    begun: Begun,
    slow_ms: float,
    *,
    method: str,
    route: str,
    status: int,
    size: int,
    caller: str | None = None,
    statements: int | None = None,
    statements_ms: float = 0.0,
) -> Answered:
    """Write the line of a request that is answered now, before Flask; what it says."""
    answered = Answered(
        method=method,
        route=route,
        status=status,
        ms=(time.perf_counter() - begun.at) * 1000,
        size=size,
        caller=caller,
        request_id=begun.request_id,
        trace_id=begun.trace_id,
        statements=statements,
        statements_ms=statements_ms,
        is_own_id=begun.is_own_id,
    )
    write_request(answered, slow_ms)
    return answered


class _Words:
    """The words of which the app's rules are made. In a path that no rule knows, any other may be a name or a number."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._words: frozenset[str] | None = None

    def of(self, path: str) -> str:
        """``path`` with ``…`` for what is none of them."""
        if self._words is None:
            rules = [rule.rule for rule in self._app.url_map.iter_rules()]
            self._words = frozenset(word for rule in rules for word in rule.split("/"))
        return "/".join(word if word in self._words else "…" for word in path.split("/")[:_WORDS_MOST])


def _end(response: Response, slow_ms: float, words: _Words) -> Response:
    # A request that was refused before it began (a bad path, a dead limit) has no start.
    ms = (time.perf_counter() - g.get("started", time.perf_counter())) * 1000
    response.headers["X-Request-ID"] = g.get("request_id", "")
    if request.path in _QUIET and response.status_code < 400 and ms < slow_ms:
        return response
    answered = Answered(
        method=request.method,
        route=str(request.url_rule) if request.url_rule else words.of(request.path),
        status=response.status_code,
        ms=ms,
        size=response.content_length,
        caller=getattr(g.get("principal"), "actor", None),
        request_id=g.get("request_id", ""),
        trace_id=g.get("trace_id"),
        statements=g.get("statements"),
        statements_ms=g.get("statements_ms", 0.0),
        is_own_id=g.get("is_own_id", False),
    )
    write_request(answered, slow_ms)
    return response
