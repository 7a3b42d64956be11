"""Every way of writing a table in SQL is seen; reading and locking are not writing."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from extensions.caching.build import build_cache, watch_writes
from extensions.caching.keys import Place
from extensions.caching.written_tables import written_tables
from haven.db.migrate import sqlalchemy_url


@pytest.mark.parametrize(
    "statement, tables",
    [
        ("INSERT INTO invoice (id) VALUES (1)", {"invoice"}),
        ("insert\n  into public.invoice as i VALUES (1)", {"invoice"}),
        ('UPDATE "invoice" SET total = 1', {"invoice"}),
        ("UPDATE ONLY invoice SET total = 1", {"invoice"}),
        ("DELETE FROM invoice_line USING invoice", {"invoice_line"}),
        ("MERGE INTO payment AS p USING x ON true WHEN MATCHED THEN DO NOTHING", {"payment"}),
        ("TRUNCATE TABLE payment", {"payment"}),
        ("COPY payment (id) FROM STDIN WITH (FORMAT binary)", {"payment"}),
        (
            "WITH gone AS (DELETE FROM allocation RETURNING *) UPDATE payment SET x = 1",
            {"allocation", "payment"},
        ),
        ("INSERT INTO counter VALUES (1) ON CONFLICT (id) DO UPDATE SET n = 1", {"counter"}),
        ("UPDATE /* the paid ones */ invoice SET total = 1", {"invoice"}),
        ("UPDATE -- the paid ones\n invoice SET total = 1", {"invoice"}),
        ("SELECT * FROM invoice FOR UPDATE", set()),
        ("SELECT * FROM invoice FOR NO KEY UPDATE OF invoice", set()),
        ("SELECT updated_at FROM invoice WHERE inserted", set()),
        ("COPY (SELECT * FROM payment) TO STDOUT", set()),
    ],
)
def test_the_tables_that_a_statement_writes(statement, tables):
    assert written_tables(statement) == tables


@pytest.fixture
def watched(database_url, redis_url):
    cache = build_cache(redis_url, prefix=f"test-{uuid.uuid4().hex[:8]}")
    engine = create_engine(sqlalchemy_url(database_url))
    watch_writes(cache, engine, {"sign_in_throttle": ("throttle",)})
    yield cache, engine, Place("-", "counts", "all", ("throttle",))
    engine.dispose()


WRITE = text("INSERT INTO sign_in_throttle (key, failures, last_failure_at) VALUES (:key, 1, now())")


def test_a_commit_clears_whether_the_connection_goes_back_or_goes_on(watched):
    cache, engine, where = watched
    with engine.connect() as connection:
        cache.set(where, "old")
        connection.execute(WRITE, {"key": uuid.uuid4().hex})
        assert cache.get(where) == "old"  # nobody else sees the row yet either
        connection.commit()
        connection.execute(text("SELECT 1"))
        assert cache.set(where, "newer")
        assert cache.get(where) == "newer"
        connection.execute(WRITE, {"key": uuid.uuid4().hex})
        connection.commit()
    assert cache.get(where) is None


def test_a_connection_that_commits_by_itself_clears_too(watched):
    cache, engine, where = watched
    cache.set(where, "old")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(WRITE, {"key": uuid.uuid4().hex})
    assert cache.get(where) is None


def test_a_rollback_clears_nothing(watched):
    cache, engine, where = watched
    cache.set(where, "stands")
    with engine.connect() as connection:
        connection.execute(WRITE, {"key": uuid.uuid4().hex})
        connection.rollback()
        connection.execute(text("SELECT 1"))
        connection.commit()
    assert cache.get(where) == "stands"


def _writes_and_is_cut_off(engine):
    with Session(engine) as session:
        session.execute(WRITE, {"key": uuid.uuid4().hex})
        session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


def _writes_and_gives_up(engine):
    with Session(engine) as session:
        session.execute(WRITE, {"key": uuid.uuid4().hex})
        session.connection().invalidate()
        raise ValueError("of our own")


@pytest.mark.parametrize(
    "act, error, words",
    [
        (_writes_and_is_cut_off, OperationalError, "closed the connection"),
        (_writes_and_gives_up, ValueError, "of our own"),
    ],
)
def test_a_connection_that_breaks_says_what_broke_it(watched, act, error, words):
    cache, engine, where = watched
    cache.set(where, "stands")
    with pytest.raises(error, match=words):
        act(engine)
    assert cache.get(where) == "stands"


def test_a_commit_that_the_database_refuses_leaves_no_hold(watched):
    cache, engine, where = watched
    cache.set(where, "stands")
    with engine.connect() as connection:
        connection.execute(WRITE, {"key": uuid.uuid4().hex})
        connection.connection.cursor().connection.close()
        with pytest.raises(Exception, match="closed"):
            connection.commit()
    assert cache.set(where, "on again") or cache.get(where) is None
