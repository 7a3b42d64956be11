"""What each extension does."""

from __future__ import annotations

import json

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as PoolTimeout

from extensions.database import Database
from extensions.loader import load_extensions
from extensions.logs import redact


def app_with(*paths, **config):
    app = Flask("bare")
    app.config.from_mapping(config)
    load_extensions(app, paths)
    return app


@pytest.fixture
def database_app(database_url):
    app = app_with(
        "extensions.database:Database",
        DATABASE_URL=database_url,
        DB_POOL_MIN=1,
        DB_POOL_MAX=2,
        DB_POOL_TIMEOUT=0.2,
        SLOW_QUERY_THRESHOLD=50,
        DATABASE_SERVER_TIMING=True,
    )

    @app.get("/three")
    def three():
        session = app.extensions["sqlalchemy"].session
        for _ in range(3):
            session.execute(text("SELECT 1"))
        return "three"

    @app.get("/slow")
    def slow():
        app.extensions["sqlalchemy"].session.execute(
            text("SELECT pg_sleep(0.08), :secret"), {"secret": "hunter2"}
        )
        return "slow"

    return app


@pytest.mark.req("D1")
def test_the_pool_has_a_limit_and_says_so(database_app):
    with database_app.app_context():
        engine = database_app.extensions["sqlalchemy"].engine
        held = [engine.connect(), engine.connect()]
        with pytest.raises(PoolTimeout):
            engine.connect()
        assert Database().health().numbers["in_use"] == 2
        assert Database().health().status == "degraded"
        for connection in held:
            connection.close()
        assert Database().health().status == "ok"
        engine.dispose()


@pytest.mark.req("D2")
def test_the_statements_of_a_request_are_counted(database_app):
    answer = database_app.test_client().get("/three")
    assert '"3 statements"' in answer.headers["Server-Timing"]


@pytest.mark.req("D6")
def test_a_slow_statement_is_kept_without_its_values(database_app):
    database_app.test_client().get("/slow")
    database_app.test_client().get("/three")
    with database_app.app_context():
        (slow,) = Database().slow_statements()
    assert slow.ms >= 50
    assert "pg_sleep" in slow.text
    assert "hunter2" not in slow.text
    assert slow.context == "GET /slow"


def test_a_request_has_an_id_that_the_caller_may_bring(capsys):
    app = app_with("extensions.logs:Logs")
    app.add_url_rule("/hello", view_func=lambda: "hello")
    client = app.test_client()
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"

    brought = client.get(
        "/hello",
        headers={"X-Request-ID": "from-the-proxy-1", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"},
    )
    made = client.get("/hello", headers={"X-Request-ID": "bad id\t!"})

    assert brought.headers["X-Request-ID"] == "from-the-proxy-1"
    assert len(made.headers["X-Request-ID"]) == 32
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["request_id"] for line in lines] == ["from-the-proxy-1", made.headers["X-Request-ID"]]
    assert lines[0]["trace_id"] == trace
    assert lines[0]["route"] == "/hello"


def test_of_a_path_that_no_rule_knows_only_the_words_of_rules_are_logged(capsys):
    app = app_with("extensions.logs:Logs")
    app.add_url_rule("/tenants/<uuid:row_id>", view_func=lambda **_: "a tenant")
    for path in ("/tenants/743907389", "/tenants/Wanjiku%20Kamau", "/amina@example.com/tenants"):
        assert app.test_client().get(path).status_code == 404
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["route"] for line in lines] == ["/tenants/…", "/tenants/…", "/…/tenants"]


@pytest.mark.parametrize(
    "said, hidden",
    [
        (f"key hvn_{'0a' * 16}{'x' * 43} used", "x" * 43),
        ("Authorization: Bearer abc.def-123", "abc.def-123"),
        (f"POST /api/v1/hooks/stk/{'0123456789abcdef' * 6}", "0123456789abcdef"),
        ("paid by +254712345678", "712345678"),
        ("paid by 0712345678", "0712345678"),
        ("ws_CO_24112026101500000712345678", "712345678"),
        ("postgresql://haven:hunter2@db:5432/haven", "hunter2"),
        ("smtp://haven:hunter2@mail.test:587", "hunter2"),
    ],
)
def test_secrets_and_phones_are_not_logged(said, hidden):
    assert hidden not in redact(said)


def test_what_is_no_secret_is_logged_as_it_is():
    for said in ("invoice INV-000042 paid 25000.00", "01a20da8-21ec-74a6-b847-1c62ae8c4600", "took 12.3 ms"):
        assert redact(said) == said
