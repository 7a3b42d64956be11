"""Database: a bounded connection pool, statements counted for each request, slow ones kept, reads sent to a replica."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Any, Final

import orjson
from flask import Flask, Response, current_app, g, has_request_context, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine, create_engine, event, exc

from extensions.contract import Base, Health, Metric, Setting
from extensions.database.counting import Counted, SlowStatement, Watch, begin, count_statements, current
from extensions.database.pool import IDLE_SINCE, SurplusPool
from extensions.database.replica import Reading, make_reading
from extensions.hold_off import guarded_redis

__all__ = [
    "Counted",
    "Database",
    "Reading",
    "SlowStatement",
    "count_statements",
    "reading_of",
]

log = logging.getLogger(__name__)
_IDLE_CHECKED_S: Final = 10.0
"""A connection that lay idle longer is tested before it is handed out: it may have been cut meanwhile."""


class Database(Base):
    """Sets up Flask-SQLAlchemy with limits, and measures it."""

    name = "database"
    settings = (
        Setting("DATABASE_URL", "", "PostgreSQL", "URL"),
        Setting("DB_POOL_MIN", 5, "Connections kept open"),
        Setting("DB_POOL_MAX", 20, "Connections at the most"),
        Setting("DB_POOL_TIMEOUT", 5.0, "Wait for a free connection", "s"),
        Setting("DB_POOL_RECYCLE", 1800, "Age at which a connection is replaced", "s"),
        Setting("DB_CONNECT_TIMEOUT", 5, "Time to connect", "s"),
        Setting("DB_STATEMENT_TIMEOUT", 30_000, "Longest statement", "ms"),
        Setting("SLOW_QUERY_THRESHOLD", 1000, "A statement over this is logged and kept", "ms"),
        Setting("SLOW_QUERIES_KEPT", 100, "Slow statements kept"),
        Setting("DATABASE_REPLICA_URL", "", "A streaming replica for reads that bear it; empty: none", "URL"),
        Setting("DATABASE_REPLICA_MAX_LAG", 5.0, "A replica further behind is not read", "s"),
        Setting("REDIS_URL", "", "Where it is kept who wrote what, for a replica", "URL"),
        Setting("REDIS_TIMEOUT", 250, "Longest wait for Redis", "ms"),
        Setting("DATABASE_SERVER_TIMING", False, "Tell clients statements and time in Server-Timing"),
    )

    def init_app(self, app: Flask) -> None:
        """Configure the pool, make Flask-SQLAlchemy unless ``app`` has it, and measure its engine. Connects to nothing."""
        app.config.setdefault("SQLALCHEMY_DATABASE_URI", _driver_url(self.setting(app, "DATABASE_URL")))
        app.config.setdefault("SQLALCHEMY_ENGINE_OPTIONS", self._engine_options(app))
        if "sqlalchemy" not in app.extensions:
            SQLAlchemy(session_options={"expire_on_commit": False}).init_app(app)
        with app.app_context():
            engine: Engine = app.extensions["sqlalchemy"].engine
        watch = Watch(
            self.setting(app, "SLOW_QUERY_THRESHOLD"),
            self.setting(app, "SLOW_QUERIES_KEPT"),
            _log_slow,
            _where,
        )
        watch.attach(engine)
        _test_idle_connections(engine)
        reading = self._reading(app, engine)
        if reading.replica is not None:
            watch.attach(reading.replica.engine)
            _test_idle_connections(reading.replica.engine)
        app.extensions[self.name] = {"engine": engine, "watch": watch, "reading": reading}
        app.before_request(_begin_request)
        app.after_request(self._end_request)

    def health(self) -> Health:
        """How full the pool is, and whether the replica is read. A full pool is ``degraded``: the next request waits."""
        engine: Engine = current_app.extensions[self.name]["engine"]
        numbers = _pool_numbers(engine)
        is_well = numbers["in_use"] < self.setting(current_app, "DB_POOL_MAX")
        replica = reading_of(current_app).replica
        if replica is None:
            return Health("ok" if is_well else "degraded", numbers)
        is_fresh = replica.is_fresh
        told = {"replica": "ok" if is_fresh else replica.look.reason}
        return Health("ok" if is_well and is_fresh else "degraded", {**numbers, **told})

    def collect(self) -> Iterable[Metric]:
        state = current_app.extensions[self.name]
        watch: Watch = state["watch"]
        yield Metric("database_statements_total", watch.count)
        yield Metric("database_statement_ms_total", watch.total_ms)
        yield Metric("database_statements_slow_total", watch.slow_count)
        yield Metric("database_slow_statements", len(watch.slow))
        for name, value in _pool_numbers(state["engine"]).items():
            yield Metric(f"database_pool_{name}", value)
        replica = reading_of(current_app).replica
        if replica is not None:
            yield Metric("database_replica_is_read", float(replica.is_fresh), merge="max")
            yield Metric("database_replica_lag_seconds", replica.look.lag_s, merge="max")

    def slow_statements(self) -> list[SlowStatement]:
        """The slow statements that are kept, the newest last."""
        watch: Watch = current_app.extensions[self.name]["watch"]
        return list(watch.slow)

    def after_fork(self, app: Flask) -> None:
        """Forget the parent's connections without closing them: they are the parent's."""
        app.extensions[self.name]["engine"].dispose(close=False)
        replica = reading_of(app).replica
        if replica is not None:
            replica.engine.dispose(close=False)

    def _reading(self, app: Flask, primary: Engine) -> Reading:
        url = self.setting(app, "DATABASE_REPLICA_URL")
        replica = create_engine(_driver_url(url), **self._engine_options(app)) if url else None
        max_lag_s = self.setting(app, "DATABASE_REPLICA_MAX_LAG")
        redis_url = self.setting(app, "REDIS_URL") if url else ""
        client = guarded_redis(redis_url, self.setting(app, "REDIS_TIMEOUT") / 1000) if redis_url else None
        return make_reading(primary, replica, client, max_lag_s)

    def _engine_options(self, app: Flask) -> dict[str, Any]:
        low, high = self.setting(app, "DB_POOL_MIN"), self.setting(app, "DB_POOL_MAX")
        timeout_ms = self.setting(app, "DB_STATEMENT_TIMEOUT")
        return {
            "poolclass": SurplusPool,
            "kept": low,
            "pool_size": high,
            "pool_timeout": self.setting(app, "DB_POOL_TIMEOUT"),
            "pool_recycle": self.setting(app, "DB_POOL_RECYCLE"),
            "json_serializer": lambda value: orjson.dumps(value).decode(),
            "json_deserializer": orjson.loads,
            "connect_args": {
                "connect_timeout": self.setting(app, "DB_CONNECT_TIMEOUT"),
                "application_name": app.name,
                "options": f"-c statement_timeout={timeout_ms} -c timezone=UTC"
                f" -c idle_in_transaction_session_timeout={timeout_ms * 2}",
                "keepalives_idle": 30,
            },
        }

    def _end_request(self, response: Response) -> Response:
        counted = current()
        if counted is not None:
            g.statements, g.statements_ms = counted.count, counted.total_ms
            if self.setting(current_app, "DATABASE_SERVER_TIMING"):
                told = f'db;dur={counted.total_ms:.2f};desc="{counted.count} statements"'
                response.headers.setdefault("Server-Timing", told)
        return response


def reading_of(app: Flask) -> Reading:
    """Where reads of ``app`` may go."""
    reading: Reading = app.extensions[Database.name]["reading"]
    return reading


def _begin_request() -> None:
    begin()


def _driver_url(url: str) -> str:
    """``url`` with psycopg2 named; platforms give ``postgres://``."""
    for scheme in ("postgres://", "postgresql://"):
        if url.startswith(scheme):
            return "postgresql+psycopg2://" + url.removeprefix(scheme)
    return url


def _test_idle_connections(engine: Engine) -> None:
    """Test only what lay idle: a ping at each checkout would cost every request a round trip."""

    def taken(connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.get(IDLE_SINCE, time.monotonic()) < _IDLE_CHECKED_S:
            return
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            connection.rollback()
        except Exception as error:
            # The pool then throws the connection away and makes another.
            raise exc.DisconnectionError from error

    event.listen(engine, "checkout", taken)


def _pool_numbers(engine: Engine) -> dict[str, int]:
    pool = engine.pool
    if not isinstance(pool, SurplusPool):
        return {"in_use": 0}
    return {
        "size": pool.kept,
        "idle": pool.checkedin(),
        "in_use": pool.checkedout(),
        "overflow": max(pool.opened() - pool.kept, 0),
    }


def _where() -> str:
    if has_request_context():
        return f"{request.method} {request.url_rule or request.path}"
    counted = current()
    return counted.where if counted is not None else ""


def _log_slow(statement: SlowStatement) -> None:
    log.warning(
        "slow statement: %.0f ms in %s: %s", statement.ms, statement.context or "no request", statement.text
    )
