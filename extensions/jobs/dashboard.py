"""rq-dashboard as a WSGI application, to be mounted behind a sign-in: by itself it lets everybody do everything."""

from __future__ import annotations

from typing import Final

import redis
import rq_dashboard.web  # type: ignore[import-untyped]
from flask import Flask, Response
from rq.exceptions import NoSuchJobError
from rq.serializers import JSONSerializer

CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)
"""Its scripts are inline and compile templates; nothing from outside is let in."""


def make_dashboard(url: str, timeout_s: float) -> Flask:
    """The dashboard of the queues in the Redis at ``url``. Connects to nothing before its first page."""
    app = Flask("rq_dashboard")
    app.config["RQ_DASHBOARD_REDIS_URL"] = (url,)
    app.config["RQ_DASHBOARD_POLL_INTERVAL"] = 5000
    rq_dashboard.web.config.serializer = JSONSerializer
    rq_dashboard.web.setup_rq_connection(app)
    pool = app.redis_conn.connection_pool  # type: ignore[attr-defined]  # rq-dashboard keeps it there
    pool.connection_kwargs.update(socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
    app.register_blueprint(rq_dashboard.web.blueprint)
    app.register_error_handler(redis.RedisError, _away)
    app.register_error_handler(NoSuchJobError, _gone)
    return app


def _away(error: Exception) -> Response:
    return Response(
        f"Redis does not answer ({type(error).__name__}): no job is lost.\n", 503, mimetype="text/plain"
    )


def _gone(_error: Exception) -> Response:
    return Response("Redis has no such job (any more); see GET /jobs/history.\n", 404, mimetype="text/plain")
