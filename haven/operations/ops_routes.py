"""``/ops``: what the operations page is made of, and what an operator does from it. For the cookie of ``ops_pages``.

Answers are computed once a second (live) or every few seconds (all else) for all viewers of a process, and kept as bytes.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import time
import uuid
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from flask import Flask, Response, current_app, redirect, request
from werkzeug.exceptions import NotFound as NoSuchFile
from werkzeug.wrappers import Response as Answer

from extensions.alerting import Alerting
from extensions.contract import Metric
from extensions.memory import NAME as MEMORY
from extensions.memory import memory_optimizer
from extensions.monitoring.reader import Cached
from extensions.rate_limiting import RateLimiting
from haven.api.encoding import encode, json_response
from haven.api.guard import current_session, in_transaction, runtime
from haven.db.session import set_tenant
from haven.errors import Invalid, NotSignedIn
from haven.identity.principals import Principal
from haven.operations import alert_service, breakers, job_queues, ops_numbers
from haven.operations.kinds import QUEUES
from haven.operations.ops_pages import blueprint, only_from_here, operator
from haven.operations.performance_routes import monitoring_state, plan_of

__all__ = ["blueprint", "mount"]

_FILES: Final = {
    "app.js": "text/javascript",
    "charts.js": "text/javascript",
    "tables.js": "text/javascript",
    "uplot.js": "text/javascript",
    "style.css": "text/css",
    "uplot.css": "text/css",
}
_HERE: Final = Path(__file__).parent / "ops"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "same-origin"}
_WINDOW_LEAST_S: Final = 60
_WINDOW_MOST_S: Final = 30 * 86_400
_SILENCE_MOST_MIN: Final = 7 * 24 * 60
_LIVE_S: Final = 1.0
_REST_S: Final = 5.0
_CACHED: Final = "haven_ops"


def mount(app: Flask) -> None:
    """Give ``app`` the answers that are kept for all viewers."""
    app.extensions[_CACHED] = {"live": Cached(_LIVE_S), "rest": Cached(_REST_S)}


@blueprint.route("/", methods=["GET"])
def start() -> Answer:
    try:
        _let_in()
    except NotSignedIn:
        return redirect("/ops/sign-in", 303)
    return Response(
        (_HERE / "page.html").read_bytes(),
        headers={**_HEADERS, "Cache-Control": "no-store"},
        content_type="text/html; charset=utf-8",
    )


@blueprint.route("/assets/<name>", methods=["GET"])
def asset(name: str) -> Response:
    """A file of the page; they hold nothing that is secret."""
    if name not in _FILES:
        raise NoSuchFile
    body, tag = _file(name)
    answer = Response(
        body, headers={**_HEADERS, "Cache-Control": "no-cache"}, content_type=f"{_FILES[name]}; charset=utf-8"
    )
    answer.set_etag(tag)
    answer.make_conditional(request)
    return answer


@blueprint.route("/live", methods=["GET"])
def live() -> Response:
    _let_in()
    return _json(_kept("live").get("live", lambda: encode(ops_numbers.live(monitoring_state()))))


@blueprint.route("/board", methods=["GET"])
def board() -> Response:
    principal = _let_in()
    window_s = _number("window", 300, _WINDOW_LEAST_S, _WINDOW_MOST_S)
    return _json(_kept("rest").get(("board", window_s), lambda: encode(_board(principal, window_s))))


@blueprint.route("/charts", methods=["GET"])
def charts() -> Response:
    _let_in()
    now = int(time.time())
    until = _number("to", now, 0, now + 60)
    since = _number("from", until - 300, until - _WINDOW_MOST_S, until - 10)
    span = ops_numbers.Span(since, min(until, now + 1))
    return _json(
        _kept("rest").get(
            ("charts", since, until), lambda: encode(ops_numbers.charts(monitoring_state(), span))
        )
    )


@blueprint.route("/plan/<fingerprint>", methods=["GET"])
def plan(fingerprint: str) -> Response:
    principal = _let_in()
    return json_response({"plan": _as_operator(principal, lambda: plan_of(fingerprint))})


@blueprint.route("/alerts/<uuid:alert_id>/acknowledge", methods=["POST"])
def acknowledge(alert_id: uuid.UUID) -> Response:
    principal = _act()
    note = str(_body().get("note", ""))[:500]
    _as_operator(principal, lambda: alert_service.acknowledge(current_session(), alert_id, note))
    return _done()


@blueprint.route("/silences", methods=["POST"])
def silence() -> Response:
    principal, values = _act(), _body()
    minutes = values.get("minutes")
    if not isinstance(minutes, int) or not 1 <= minutes <= _SILENCE_MOST_MIN:
        raise Invalid.field("minutes", f"must be a whole number from 1 to {_SILENCE_MOST_MIN}")
    ends_at = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=minutes)
    fingerprint, reason = (
        str(values.get("fingerprint", "")),
        str(values.get("reason", "") or "from /ops")[:500],
    )
    _as_operator(
        principal,
        lambda: alert_service.silence(
            current_session(), ends_at=ends_at, reason=reason, fingerprint=fingerprint
        ),
    )
    return _done()


@blueprint.route("/requeue/<queue>", methods=["POST"])
def requeue(queue: str) -> Response:
    """Run the failed jobs of a queue again, of every agency."""
    principal, here = _act(), runtime()
    count = job_queues.of_every_agency(
        here.engine, principal.actor, here.wake, job_queues.requeue, job_queues.known(queue)
    )
    _kept("rest").forget()
    return _json(encode({"requeued": count}))


def _board(principal: Principal, window_s: int) -> dict[str, Any]:
    alerts, silences = _as_operator(
        principal,
        lambda: (
            alert_service.recent(current_session(), state="OPEN", limit=50) + _resolved(),
            alert_service.silences(current_session()),
        ),
    )
    here = runtime()
    return {
        **ops_numbers.board(monitoring_state(), window_s),
        "queues": ops_numbers.queues_of(_collected("jobs"), QUEUES),
        "workers": next((one.value for one in _collected("jobs") if one.name == "jobs_workers"), None),
        "pool": {
            one.name.removeprefix("database_pool_"): one.value
            for one in _collected("database")
            if "pool" in one.name
        },
        "breakers": breakers.standing(here.breakers, here.cache),
        "limits": RateLimiting().report() if RateLimiting.name in current_app.extensions else None,
        "memory": memory_optimizer.get_memory_stats() if MEMORY in current_app.extensions else None,
        "advice": memory_optimizer.get_optimization_recommendations()
        if MEMORY in current_app.extensions
        else [],
        "alerts": alerts if Alerting.name in current_app.extensions else [],
        "silences": silences,
    }


def _resolved() -> list[dict[str, Any]]:
    return alert_service.recent(current_session(), state="RESOLVED", limit=10)


def _collected(name: str) -> list[Metric]:
    """What an extension tells of itself; nothing where it is not loaded."""
    loaded = current_app.extensions.get("haven_extensions", ())
    return [metric for one in loaded if one.name == name for metric in one.collect()]


def _kept(name: str) -> Cached:
    found: Cached = current_app.extensions[_CACHED][name]
    return found


def _let_in() -> Principal:
    try:
        return operator()
    finally:
        current_session().rollback()


def _act() -> Principal:
    only_from_here()
    return _let_in()


def _as_operator(principal: Principal, act: Callable[[], Any]) -> Any:
    set_tenant(current_session(), principal.tenant())
    return in_transaction(current_session(), act)


def _body() -> dict[str, Any]:
    found = request.get_json(silent=True)
    return found if isinstance(found, dict) else {}


def _number(name: str, default: int, least: int, most: int) -> int:
    text = request.args.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most):
        raise Invalid.field(name, f"must be a whole number from {least} to {most}")
    return int(text)


def _json(body: Any) -> Response:
    return Response(body, headers={"Cache-Control": "no-store"}, content_type="application/json")


def _done() -> Response:
    _kept("rest").forget()
    return Response(status=204)


@lru_cache(maxsize=16)
def _file(name: str) -> tuple[bytes, str]:
    body = (_HERE / name).read_bytes()
    return body, hashlib.blake2b(body, digest_size=12).hexdigest()
