"""Reads go to a real streaming replica, and never show a caller less than he has written."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import pytest
import redis
from sqlalchemy import create_engine, text

from extensions.database import Database
from extensions.database.replica import position_of
from haven.api.encoding import json_response
from haven.api.from_replica import from_replica
from haven.api.guard import SIGNED_IN, current_session, requires
from haven.app import create_app
from haven.db.base import new_id
from haven.db.migrate import sqlalchemy_url
from haven.db.reading import reading_from_replica
from haven.db.session import Tenant, tenant_session
from haven.identity.models import ApiKey
from haven.identity.tokens import new_api_key
from tests.api.conftest import Caller, make_agency, make_user
from tests.support.own_valkey import OwnValkey, own_valkey
from tests.support.replication import Pair, replicated

MAX_LAG_S = 1.0


@pytest.fixture(scope="module")
def pair():
    with replicated() as pair:
        yield pair


@pytest.fixture(scope="module")
def valkey(tmp_path_factory):
    with own_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="module")
def app(settings, pair, valkey):
    return an_app(settings, pair, valkey)


def an_app(settings, pair, valkey):
    app = create_app(
        dataclasses.replace(
            settings,
            database_url=pair.database_url,
            database_replica_url=pair.replica_url,
            database_replica_max_lag=MAX_LAG_S,
            redis_url=valkey.url,
            enable_job_queue=False,
        )
    )

    @app.get("/api/v1/where")
    @requires(SIGNED_IN)
    @from_replica
    def where() -> Any:
        is_replica = current_session().execute(text("SELECT pg_is_in_recovery()")).scalar_one()
        names = current_session().execute(text("SELECT full_name FROM owner")).scalars().all()
        return json_response({"is_replica": is_replica, "owners": names})

    return app


@pytest.fixture(scope="module")
def engine(pair):
    engine = create_engine(sqlalchemy_url(pair.database_url))
    yield engine
    engine.dispose()


def a_caller(app, engine) -> Caller:
    agency_id = make_agency(engine)
    user_id, email = make_user(app, engine, agency_id, "AGENCY_ADMIN")
    key = new_api_key(agency_id)
    with tenant_session(engine, agency_id) as session:
        columns = {"name": "tests", "prefix": key.prefix, "secret_hash": key.hash, "scopes": ["*"]}
        session.add(ApiKey(agency_id=agency_id, id=new_id(), created_by=user_id, **columns))
    return Caller(app.test_client(), key.text, agency_id, user_id, email)


@pytest.fixture
def by(app, engine, pair: Pair) -> Caller:
    caller = a_caller(app, engine)
    reads_from(caller, replica=True)
    return caller


def where(by: Caller) -> dict[str, Any]:
    answer = by.get("/where")
    assert answer.status_code == 200, answer.get_json()
    found: dict[str, Any] = answer.get_json()
    return found


def reads_from(by: Caller, *, replica: bool, for_s: float = 60) -> None:
    """Wait until the caller's reads come from there; every answer until then is good as well."""
    deadline = time.monotonic() + for_s
    while where(by)["is_replica"] is not replica:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.req("D8")
def test_reads_go_to_the_replica_and_writes_to_the_primary(by):
    assert where(by)["is_replica"]
    by.made("/owners", full_name="Achieng Otieno")
    reads_from(by, replica=True)
    assert where(by)["owners"] == ["Achieng Otieno"]


@pytest.mark.req("D8")
def test_what_a_caller_writes_he_reads_at_once(by):
    for number in range(40):
        by.made("/owners", full_name=f"Owner {number}")
        assert f"Owner {number}" in where(by)["owners"]


@pytest.mark.req("D8")
def test_what_a_caller_writes_in_one_process_he_reads_at_once_in_another(by, settings, pair, valkey):
    other = dataclasses.replace(by, client=an_app(settings, pair, valkey).test_client())
    reads_from(other, replica=True)
    for number in range(100):
        by.made("/owners", full_name=f"Owner {number}")
        assert f"Owner {number}" in where(other)["owners"]


@pytest.mark.req("D8")
def test_a_replica_that_stands_still_shows_a_writer_what_he_wrote_by_the_primary(by, app, engine, pair):
    other = a_caller(app, engine)
    reads_from(other, replica=True)
    pair.on_replica("SELECT pg_wal_replay_pause()")
    try:
        by.made("/owners", full_name="Written while it stood")
        assert where(by) == {"is_replica": False, "owners": ["Written while it stood"]}
        # Soon it is too far behind for anybody.
        reads_from(other, replica=False)
        with app.app_context():
            health = Database().health()
        assert health.status == "degraded"
        assert "behind" in health.numbers["replica"]
    finally:
        pair.on_replica("SELECT pg_wal_replay_resume()")
    reads_from(by, replica=True)


def test_without_the_guard_a_writer_would_not_see_it(by, app, pair):
    """The negative control of the test above: the replica itself has not what was just written."""
    pair.on_replica("SELECT pg_wal_replay_pause()")
    try:
        by.made("/owners", full_name="Not there yet")
        with tenant_session(app.extensions["haven"].reading.replica.engine, by.agency_id) as session:
            assert session.execute(text("SELECT full_name FROM owner")).scalars().all() == []
    finally:
        pair.on_replica("SELECT pg_wal_replay_resume()")


@pytest.mark.req("D8")
def test_a_killed_replica_is_no_error_and_is_read_again_once_it_is_back(by, app, pair):
    pair.kill_replica()
    try:
        for _ in range(30):
            assert not where(by)["is_replica"]
    finally:
        pair.start_replica()
    reads_from(by, replica=True)


@pytest.mark.req("D8")
def test_a_connection_cut_in_the_middle_of_a_read_is_no_error(by, pair, app):
    calls: list[bool] = []

    def cut_once() -> Any:
        calls.append(True)
        if len(calls) == 1:
            pid = current_session().execute(text("SELECT pg_backend_pid()")).scalar_one()
            pair.on_replica(f"SELECT pg_terminate_backend({pid})")
        return current_session().execute(text("SELECT pg_is_in_recovery()")).scalar_one()

    with app.test_request_context(headers={"Authorization": f"Bearer {by.token}"}):
        assert requires(SIGNED_IN)(from_replica(cut_once))() is False
    assert len(calls) == 2
    reads_from(by, replica=True)


@pytest.mark.req("D8")
def test_without_redis_nobody_knows_who_wrote_what_so_all_read_from_the_primary(by, valkey: OwnValkey):
    valkey.kill()
    try:
        for _ in range(5):
            assert not where(by)["is_replica"]
    finally:
        valkey.start()
    reads_from(by, replica=True)


@pytest.mark.req("D8")
def test_a_flushed_redis_may_have_forgotten_a_write_so_the_primary_is_read_for_a_while(by, valkey, pair):
    pair.on_replica("SELECT pg_wal_replay_pause()")
    try:
        by.made("/owners", full_name="Forgotten")
        redis.Redis.from_url(valkey.url).flushall()
        assert where(by)["owners"] == ["Forgotten"]
    finally:
        pair.on_replica("SELECT pg_wal_replay_resume()")
    reads_from(by, replica=True)


@pytest.mark.req("D8")
def test_the_tenant_wall_stands_on_the_replica_too(by, app, engine):
    other = a_caller(app, engine)
    other.made("/owners", full_name="Siri Kubwa")
    reads_from(other, replica=True)
    assert where(other)["owners"] == ["Siri Kubwa"]
    assert where(by) == {"is_replica": True, "owners": []}


def test_a_job_reads_from_the_replica_too(by, app):
    runtime = app.extensions["haven"]
    tenant = Tenant(by.agency_id, f"job:{by.user_id}")
    with reading_from_replica(runtime, tenant) as session:
        assert session.execute(text("SELECT pg_is_in_recovery()")).scalar_one()


def test_the_numbers_tell_of_the_replica(by, app):
    with app.app_context():
        numbers = {one.name: one.value for one in Database().collect()}
        assert Database().health().numbers["replica"] == "ok"
    assert numbers["database_replica_is_read"] == 1
    assert 0 <= numbers["database_replica_lag_seconds"] <= MAX_LAG_S


def test_positions_in_the_log_are_numbers_that_grow():
    assert position_of("0/0") == 0
    assert position_of("1/0") == 2**32 > position_of("0/FFFFFFFF")
    assert position_of("16/B374D848") == 0x16B374D848
