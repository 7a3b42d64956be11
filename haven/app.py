"""The application factory: settings → extensions → blueprints → problem documents."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response
from flask_smorest import Api, Blueprint
from flask_sqlalchemy import SQLAlchemy
from werkzeug.middleware.proxy_fix import ProxyFix

from config import Settings, load_settings
from extensions.alerting import NAME as ALERTING
from extensions.database import Database, reading_of
from extensions.loader import load_extensions, run_after_fork
from extensions.memory import refuse_outermost
from extensions.monitoring import NAME as MONITORING
from extensions.monitoring import measure_outermost
from haven import __version__
from haven.api import guard, health
from haven.api.docs import describe, docs_blueprint
from haven.api.encoding import OrjsonProvider
from haven.api.event_stream import EXTENSION as STREAMS
from haven.api.event_stream import Streams
from haven.api.fast_path import put_before
from haven.api.from_replica import remember_write
from haven.api.problems import register_problem_handlers
from haven.api.resource import API
from haven.billing.routes import blueprints as billing
from haven.bulk.routes import blueprint as bulk
from haven.db.migrate import sqlalchemy_url
from haven.draining import Drain
from haven.files.routes import blueprint as files
from haven.identity.passwords import Passwords
from haven.identity.principals import Principals
from haven.identity.routes import blueprints as identity
from haven.identity.sign_in import SignIn, SignInRules
from haven.insight.exports.routes import blueprint as exports
from haven.insight.reports.routes import blueprint as reports
from haven.insight.routes import blueprint as insight
from haven.leasing.routes import blueprints as leasing
from haven.notifications.hooks import blueprint as sms_hooks
from haven.notifications.routes import blueprint as notifications
from haven.operations import ops_pages, ops_routes, rate_limits
from haven.operations.alert_turns import PostgresStore
from haven.operations.cache_routes import blueprint as cache
from haven.operations.kinds import QUEUES
from haven.operations.metric_history import RollupHistory
from haven.operations.route_classes import CLASSES
from haven.operations.routes import blueprints as operations
from haven.payments.callback_path import put_before_flask
from haven.payments.hooks import blueprint as hooks
from haven.payments.routes import blueprint as payments
from haven.portfolio.routes import blueprints as portfolio
from haven.runtime import Runtime

_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_SHED_LAST = (f"{API}/hooks/", f"{API}/auth/", "/ops/sign-in")
_SHED_FIRST = (
    f"{API}/exports",
    f"{API}/reports",
    *(f"{API}/{name}/bulk" for name in ("properties", "units", "tenants", "leases", "payments")),
)
_EXEMPT_FROM_LIMIT = ("/health", "/alive", "/ready", "/metrics", f"{API}/hooks/")


def create_app(settings: Settings | None = None) -> Flask:
    """A Haven web application.

    Args:
        settings: those of the environment when not given.

    Raises:
        SettingsError: a setting is wrong.
    """
    settings = settings or load_settings()
    app = Flask("haven", static_folder=None)
    app.config.from_mapping(settings.flask_config(), **_flask_settings(settings))
    # Called before there is a request, too.
    app.config["RATE_LIMIT_RESTORE"] = lambda: rate_limits.restore(app.extensions["haven"].engine)
    app.json = OrjsonProvider(app)
    app.url_map.strict_slashes = False
    put_before_flask(app, _SECURITY_HEADERS.items())
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    load_extensions(app, settings.extensions)
    _start_database(app)
    _start_runtime(app, settings)
    ops_pages.mount(app, settings)
    ops_routes.mount(app)
    places = min(settings.event_streams, settings.web_threads // 2)
    app.extensions[STREAMS] = Streams(places, settings.event_stream_life)
    _start_monitoring(app)
    _start_alerting(app)
    _register_blueprints(app)
    register_problem_handlers(app)
    app.after_request(_secure)
    app.after_request(remember_write)
    headers = [one for one in _SECURITY_HEADERS.items() if one[0] != "Cache-Control"]
    put_before(app, headers)
    app.extensions["haven_drain"] = Drain()
    app.extensions["after_fork"] = lambda: run_after_fork(app)
    # The last, so that they stand around all others.
    refuse_outermost(app)
    measure_outermost(app)
    # Further out still: that somebody looks at the numbers must not change them.
    ops_routes.put_before(app, headers)
    return app


def _flask_settings(settings: Settings) -> dict[str, Any]:
    return {
        "MAX_CONTENT_LENGTH": settings.max_body_bytes,
        "API_TITLE": "Haven",
        "API_VERSION": __version__,
        "OPENAPI_VERSION": "3.1.0",
        "OPENAPI_URL_PREFIX": API,
        "OPENAPI_JSON_PATH": "openapi.json",
        "SQLALCHEMY_DATABASE_URI": sqlalchemy_url(settings.database_url),
        "JOB_QUEUES": QUEUES,
        "CACHE_OWNER": guard.cache_owner,
        "RATE_LIMIT_IDENTIFY": guard.caller,
        "RATE_LIMIT_EXEMPT": lambda: guard.is_exempt() or ops_routes.is_poll(),
        "RATE_LIMIT_EXEMPT_PATHS": _EXEMPT_FROM_LIMIT,
        "RATE_LIMIT_CLASSES": CLASSES,
        "MEMORY_SHED_LAST": _SHED_LAST,
        "MEMORY_SHED_FIRST": _SHED_FIRST,
        "MONITORING_IS_OPERATOR": guard.is_known_operator,
        # The clock does (haven/operations/alert_turns.py).
        "ALERT_INTERVAL": 0,
    }


def _start_database(app: Flask) -> None:
    if "sqlalchemy" not in app.extensions:
        SQLAlchemy(session_options={"expire_on_commit": False}).init_app(app)


def _start_runtime(app: Flask, settings: Settings) -> None:
    with app.app_context():
        engine = app.extensions["sqlalchemy"].engine
    caching = app.extensions.get("caching")
    runtime = Runtime.start(
        settings,
        engine,
        reading=reading_of(app) if Database.name in app.extensions else None,
        cache=None if caching is None else caching.cache,
        breakers=app.extensions.get("circuit_breaker"),
    )
    app.extensions["haven"] = runtime
    principals = Principals(runtime.redis, settings.session_cache_ttl)
    rules = SignInRules(
        settings.access_token_ttl,
        settings.refresh_token_ttl,
        settings.sign_in_max_failures,
        settings.sign_in_lock_seconds,
    )
    passwords = Passwords(settings.argon2_memory_kib, settings.argon2_time_cost)
    app.extensions["haven_principals"] = principals
    app.extensions["haven_sign_in"] = SignIn(rules, passwords, principals)


def _start_monitoring(app: Flask) -> None:
    health.add_checks(app)
    state = app.extensions.get(MONITORING)
    if state is None:
        return
    runtime: Runtime = app.extensions["haven"]
    state.reader.history = RollupHistory(runtime.engine)


def _start_alerting(app: Flask) -> None:
    state = app.extensions.get(ALERTING)
    if state is not None:
        state.store = PostgresStore(app.extensions["haven"])


def _register_blueprints(app: Flask) -> None:
    api = Api(app)
    describe(api)
    resources: list[Blueprint] = [
        *identity,
        *portfolio,
        *leasing,
        *billing,
        payments,
        insight,
        reports,
        *operations,
        cache,
        notifications,
        bulk,
        files,
        exports,
    ]
    for blueprint in resources:
        api.register_blueprint(blueprint, url_prefix=API)
    app.register_blueprint(hooks, url_prefix=f"{API}/hooks")
    app.register_blueprint(sms_hooks, url_prefix=f"{API}/hooks/sms")
    app.register_blueprint(health.blueprint)
    app.register_blueprint(docs_blueprint)
    app.register_blueprint(ops_routes.blueprint)


def _secure(response: Response) -> Response:
    for name, value in _SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    return response
