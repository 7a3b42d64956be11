"""rq-dashboard as a WSGI application, to be mounted behind a sign-in: by itself it lets everybody do everything."""

from __future__ import annotations

from typing import Final

import redis
import rq_dashboard.web  # type: ignore[import-untyped]
from flask import Flask, Response, abort, request
from rq.exceptions import NoSuchJobError
from rq.serializers import JSONSerializer

CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)
"""Its scripts are inline and compile templates; nothing from outside is let in."""


def make_dashboard(connection: redis.Redis, url: str) -> Flask:
    """The dashboard of the queues in ``connection``. Connects to nothing before its first page.

    Args:
        url: what is shown of where they are; its password is not.
    """
    app = Flask("rq_dashboard")
    app.config["RQ_DASHBOARD_REDIS_URL"] = (url,)
    app.config["RQ_DASHBOARD_POLL_INTERVAL"] = 5000
    rq_dashboard.web.config.serializer = JSONSerializer
    app.redis_conn = connection  # type: ignore[attr-defined]  # rq-dashboard looks for it there
    app.register_blueprint(rq_dashboard.web.blueprint)
    # Its own makes a new client of a URL for each request, which knows no time-out and no Sentinel of ours.
    app.before_request_funcs[rq_dashboard.web.blueprint.name] = [_has_one_redis]
    app.register_error_handler(redis.RedisError, _away)
    app.register_error_handler(NoSuchJobError, _gone)
    return app


def _has_one_redis() -> None:
    if (request.view_args or {}).get("instance_number", 0) != 0:
        abort(404)


def _away(error: Exception) -> Response:
    return Response(
        f"Redis does not answer ({type(error).__name__}): no job is lost.\n", 503, mimetype="text/plain"
    )


def _gone(_error: Exception) -> Response:
    return Response("Redis has no such job (any more); see GET /jobs/history.\n", 404, mimetype="text/plain")
