"""``/ops``: what the operations page is made of, and what an operator does from it. For the cookie of ``ops_pages``.

What it shows is computed every few seconds for all viewers and kept as bytes (``ops_answers``), which are sent before Flask
where nothing has to be computed (``ops_ahead``).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import time
import uuid
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import redis
from flask import Flask, Response, current_app, g, redirect, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import NotFound as NoSuchFile
from werkzeug.wrappers import Response as Answer

from extensions.alerting import Alerting
from extensions.contract import Metric
from extensions.memory import NAME as MEMORY
from extensions.memory import memory_optimizer
from extensions.monitoring import NAME as MONITORING
from extensions.monitoring import State
from extensions.rate_limiting import RateLimiting
from haven.api.encoding import encode, json_response
from haven.api.guard import current_session, in_transaction, runtime
from haven.db.session import set_tenant
from haven.errors import HavenError, Invalid, NotSignedIn
from haven.identity.principals import Principal
from haven.operations import alert_service, breakers, job_queues, ops_ahead, ops_numbers
from haven.operations.kinds import QUEUES
from haven.operations.ops_answers import HISTORY, LIVE, SEEN, STATE, Answers, answer_of, stored_names
from haven.operations.ops_pages import blueprint, only_from_here, operator
from haven.operations.performance_routes import monitoring_state, plan_of

__all__ = ["blueprint", "is_poll", "mount", "put_before"]
log = logging.getLogger(__name__)

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
_LIVE_S: Final = 5.0
_STATE_S: Final = 10.0
"""As long as the history of what is looked at most: both are then computed in one request."""
_HISTORY_LIVES: Final = ((900, 10.0), (21_600, 30.0), (_WINDOW_MOST_S, 60.0))
"""Up to which width of a window (s) its tables and charts stand for how long (s): a longer one changes more slowly."""
_ANSWERS: Final = "haven_ops"


class Asked(NamedTuple):
    """A stretch of time for charts, and how far back tables reach (s)."""

    span: ops_numbers.Span
    window_s: int

    @property
    def life_s(self) -> float:
        return next(life_s for most_s, life_s in _HISTORY_LIVES if self.window_s <= most_s)


def mount(app: Flask) -> None:
    """Give ``app`` the answers that are kept for all viewers."""
    app.extensions[_ANSWERS] = Answers(app.extensions["haven"].redis)


def put_before(app: Flask, headers: Iterable[tuple[str, str]]) -> None:
    """Let ``app``, with all its views, answer the page's polls before Flask."""
    answers: Answers = app.extensions[_ANSWERS]
    state: State | None = app.extensions.get(MONITORING)
    if state is not None:
        compute = _part(lambda: ops_numbers.live(state))
        ops_ahead.put_before(app, answers, lambda: answers.get(LIVE, _LIVE_S, compute), headers)


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


@blueprint.route("/now", methods=["GET"])
def now() -> Response:
    """All that the page shows, but for the parts that it has (``X-Ops-Seen``)."""
    principal = _let_in()
    asked = _asked()
    names = stored_names(request.query_string.decode("latin-1"))
    parts = {
        LIVE: _answers().get(names[LIVE], _LIVE_S, _part(lambda: ops_numbers.live(monitoring_state()))),
        STATE: _answers().get(names[STATE], _STATE_S, _part(lambda: _state(principal))),
        HISTORY: _answers().get(names[HISTORY], asked.life_s, _part(lambda: _history(asked))),
    }
    return _json(answer_of(parts, request.headers.get(SEEN, "")))


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
    _answers().acted()
    return _json(encode({"requeued": count}))


def is_poll() -> bool:
    """Whether an operator's page asks for its numbers: such a request is counted in no rate limit."""
    if request.endpoint != f"{blueprint.name}.{now.__name__}":
        return False
    try:
        _let_in()
    except HavenError:
        return False
    return True


def _asked() -> Asked:
    """The stretch of time that the page shows: ``window`` seconds until now, or ``from`` … ``to``."""
    at = int(time.time())
    if "from" not in request.args:
        window_s = _number("window", 300, _WINDOW_LEAST_S, _WINDOW_MOST_S)
        return Asked(ops_numbers.Span(at - window_s, at), window_s)
    until = _number("to", at, 0, at + 60)
    since = _number("from", until - 300, until - _WINDOW_MOST_S, until - 10)
    # Tables are of a time that ends now.
    window_s = min(max(at - since, _WINDOW_LEAST_S), _WINDOW_MOST_S)
    return Asked(ops_numbers.Span(since, min(until, at + 1)), window_s)


def _part(tell: Callable[[], dict[str, Any]]) -> Callable[[], bytes]:
    """A part as JSON; where it cannot be told, why: the others are shown all the same."""

    def compute() -> bytes:
        try:
            return encode(tell())
        except HavenError as error:
            return encode({"fault": error.detail})
        except (SQLAlchemyError, redis.RedisError) as error:
            log.warning("a part of the operations page could not be told (%s)", type(error).__name__)
            return encode({"fault": "a server behind Haven does not answer"})

    return compute


def _history(asked: Asked) -> dict[str, Any]:
    state = monitoring_state()
    return {
        "board": ops_numbers.board(state, asked.window_s),
        "charts": ops_numbers.charts(state, asked.span),
    }


def _state(principal: Principal) -> dict[str, Any]:
    """What stands now: queues, connections, circuits, limits, memory, alerts."""
    here, loaded = runtime(), current_app.extensions
    jobs = _collected("jobs")
    alerts = _alerts(principal) if Alerting.name in loaded else {"alerts": [], "silences": []}
    return {
        "queues": ops_numbers.queues_of(jobs, QUEUES),
        "workers": next((one.value for one in jobs if one.name == "jobs_workers"), None),
        "pool": {
            one.name.removeprefix("database_pool_"): one.value
            for one in _collected("database")
            if "pool" in one.name
        },
        "breakers": breakers.standing(here.breakers, here.cache),
        "limits": RateLimiting().report() if RateLimiting.name in loaded else None,
        "memory": memory_optimizer.get_memory_stats() if MEMORY in loaded else None,
        "advice": memory_optimizer.get_optimization_recommendations() if MEMORY in loaded else [],
        **alerts,
    }


def _alerts(principal: Principal) -> dict[str, Any]:
    """Alerts and silences; nothing of them, and that it is so, while PostgreSQL does not answer."""

    def read() -> dict[str, Any]:
        session = current_session()
        rows = alert_service.recent(session, state="OPEN", limit=50)
        rows += alert_service.recent(session, state="RESOLVED", limit=10)
        return {"alerts": rows, "silences": alert_service.silences(session)}

    try:
        found: dict[str, Any] = _as_operator(principal, read)
    except SQLAlchemyError as error:
        log.warning("alerts could not be read for the operations page (%s)", type(error).__name__)
        return {"alerts": None, "silences": []}
    return found


def _collected(name: str) -> list[Metric]:
    """What an extension tells of itself; nothing where it is not loaded."""
    loaded = current_app.extensions.get("haven_extensions", ())
    return [metric for one in loaded if one.name == name for metric in one.collect()]


def _answers() -> Answers:
    found: Answers = current_app.extensions[_ANSWERS]
    return found


def _let_in() -> Principal:
    """The operator, looked up once for a request."""
    if (found := g.get("ops_operator")) is None:
        try:
            found = g.ops_operator = operator()
        finally:
            current_session().rollback()
    return found  # type: ignore[no-any-return]


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
    _answers().acted()
    return Response(status=204)


@lru_cache(maxsize=16)
def _file(name: str) -> tuple[bytes, str]:
    body = (_HERE / name).read_bytes()
    return body, hashlib.blake2b(body, digest_size=12).hexdigest()
