"""The pool of connections: what a burst opens stays for a while, so that the next burst does not open it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import Engine, create_engine, event

from extensions.database.pool import SurplusPool
from haven.db.migrate import sqlalchemy_url

KEPT, MOST = 2, 4


@pytest.fixture
def engine_of(database_url: str) -> Iterator[Callable[[float], Engine]]:
    with ExitStack() as stack:

        def make(surplus_s: float) -> Engine:
            engine = create_engine(
                sqlalchemy_url(database_url),
                poolclass=SurplusPool,
                kept=KEPT,
                pool_size=MOST,
                surplus_s=surplus_s,
                pool_timeout=0.1,
            )
            stack.callback(engine.dispose)
            return engine

        yield make


def _at_once(engine: Engine, count: int) -> None:
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(engine.connect())


def _pool(engine: Engine) -> SurplusPool:
    assert isinstance(engine.pool, SurplusPool)
    return engine.pool


def test_burst_after_burst_opens_connections_once(engine_of):
    engine = engine_of(60.0)
    opened = []
    event.listen(engine, "connect", lambda *_: opened.append(1))
    for _ in range(5):
        _at_once(engine, MOST)
    assert len(opened) == MOST == _pool(engine).opened()


def test_what_lay_unused_is_closed_down_to_what_is_kept(engine_of):
    engine = engine_of(0.0)
    _at_once(engine, MOST)
    for _ in range(MOST):
        _at_once(engine, 1)
    pool = _pool(engine)
    assert (pool.opened(), pool.checkedin(), pool.checkedout()) == (KEPT, KEPT, 0)


def test_after_closing_there_is_room_for_as_many_again(engine_of):
    engine = engine_of(0.0)
    _at_once(engine, MOST)
    for _ in range(MOST):
        _at_once(engine, 1)
    _at_once(engine, MOST)


def test_a_pool_made_anew_after_a_fork_has_the_same_bounds(engine_of):
    engine = engine_of(0.0)
    _at_once(engine, MOST)
    engine.dispose(close=False)
    pool = _pool(engine)
    assert (pool.opened(), pool.kept, pool.size()) == (0, KEPT, MOST)
    _at_once(engine, MOST)
    for _ in range(MOST):
        _at_once(engine, 1)
    assert pool.opened() == KEPT
