"""Reads go to a real streaming replica, and never show a caller less than he has written."""

from __future__ import annotations

import dataclasses
import time
import uuid
from typing import Any

import pytest
import redis
from sqlalchemy import create_engine, text

from extensions.database import Database, count_statements
from extensions.database.replica import position_of
from haven.api.cached import CacheRule
from haven.api.encoding import json_response
from haven.api.from_replica import from_replica, stored_from_replica
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

    def owners() -> Any:
        names = current_session().execute(text("SELECT full_name FROM owner")).scalars().all()
        return json_response({"owners": names})

    rule = CacheRule("owners-of-a-test", ("owner",))
    for name, route in (("stored-where", stored_from_replica), ("stored-anyhow", from_replica)):
        app.add_url_rule(f"/api/v1/{name}", name, requires(SIGNED_IN, cached=rule)(route(owners)))
    return app


@pytest.fixture(scope="module")
def engine(pair):
    engine = create_engine(sqlalchemy_url(pair.database_url))
    yield engine
    engine.dispose()


def a_caller(app, engine, agency_id: uuid.UUID | None = None) -> Caller:
    agency_id = agency_id or make_agency(engine)
    user_id, email = make_user(app, engine, agency_id, "AGENCY_ADMIN")
    key = new_api_key(agency_id)
    with tenant_session(engine, agency_id) as session:
        columns = {"name": "tests", "prefix": key.prefix, "secret_hash": key.hash, "scopes": ["*"]}
        session.add(ApiKey(agency_id=agency_id, id=new_id(), created_by=user_id, **columns))
    return Caller(app.test_client(), key.text, agency_id, user_id, email)


def a_colleague(app, engine, by: Caller) -> Caller:
    """Another administrator of the same agency, whose stored answers are the same."""
    return a_caller(app, engine, by.agency_id)


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


def stored_owners(by: Caller, path: str) -> tuple[str, list[str]]:
    answer = by.get(path)
    assert answer.status_code == 200, answer.get_json()
    return answer.headers["X-Cache"], answer.get_json()["owners"]


def on_replica(by: Caller, app, act) -> int:
    """How many statements went to the replica while ``act`` ran, but for those that ask how far it is."""
    with count_statements(app.extensions["haven"].reading.replica.engine) as counted:
        act()
    return len([one for one in counted.statements if "replay" not in one])


@pytest.mark.req("D8")
@pytest.mark.parametrize("path", ["/dashboard/stats", "/dashboard/activity"])
def test_a_dashboard_is_computed_on_the_replica(by, app, path):
    for _ in range(100):
        by.post("/cache/invalidate", {})
        if on_replica(by, app, lambda: by.get(path)) > 0:
            break
    else:
        pytest.fail("it was never read from the replica")
    assert by.get(path).headers["X-Cache"] == "HIT"
    assert by.get(path).get_json() == by.get(path, Cache_Control="no-cache").get_json()


@pytest.mark.req("D8", "C6")
def test_a_replica_that_stands_still_feeds_no_old_answer_to_the_cache(by, app, pair, engine):
    colleague = a_colleague(app, engine, by)
    before = by.get("/dashboard/stats").get_json()
    pair.on_replica("SELECT pg_wal_replay_pause()")
    try:
        owner = by.made("/owners", full_name="Achieng Otieno")
        house = by.made("/properties", owner_id=owner["id"], name="Makao", code="MKO", kind="HOUSE")
        assert stored_owners(colleague, "/stored-where") == ("MISS", ["Achieng Otieno"])
        after = colleague.get("/dashboard/stats").get_json()
        assert after == by.get("/dashboard/stats", Cache_Control="no-cache").get_json() != before, house
    finally:
        pair.on_replica("SELECT pg_wal_replay_resume()")
    assert stored_owners(by, "/stored-where") == ("HIT", ["Achieng Otieno"])


def test_without_that_a_colleagues_read_would_store_an_old_answer(by, app, pair, engine):
    """The control: a caller who has written nothing himself may read a replica that is a second old; nobody may store that."""
    colleague = a_colleague(app, engine, by)
    reads_from(colleague, replica=True)
    pair.on_replica("SELECT pg_wal_replay_pause()")
    try:
        by.made("/owners", full_name="Not there yet")
        assert stored_owners(colleague, "/stored-anyhow") == ("MISS", [])
    finally:
        pair.on_replica("SELECT pg_wal_replay_resume()")
    assert stored_owners(by, "/stored-anyhow") == ("HIT", [])


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


@pytest.mark.req("D8", "J4")
@pytest.mark.parametrize("form", ["csv", "ndjson", "xlsx", "parquet"])
def test_an_export_is_read_from_the_replica_and_has_all_that_its_caller_wrote(by, app, form):
    by.made("/tenants", full_name="Achieng Otieno")
    jobs: list[dict[str, Any]] = []

    def export() -> None:
        jobs.append(by.post("/exports/tenants", {"format": form}).get_json())

    for _ in range(100):
        if on_replica(by, app, export) > 0:
            break
        # Each of these writes, too: the replica needs a moment in which to have it all.
        time.sleep(0.2)
    else:
        pytest.fail("it was never read from the replica")
    for job in jobs:
        assert by.get(f"/jobs/exports/{job['id']}").get_json()["result"]["rows"] == 1


@pytest.mark.req("D8", "J5")
def test_a_report_is_read_from_the_replica_and_is_never_handed_out_again_then(by, app):
    body = {"from": "2026-11-01", "to": "2026-11-02"}
    made: list[dict[str, Any]] = []
    # The agency itself was written by nobody whose writes are waited for; what comes after it in the log is.
    by.made("/owners", full_name="Achieng Otieno")
    reads_from(by, replica=True)

    def report() -> None:
        made.append(by.post("/reports/rent-roll", body).get_json())

    for _ in range(100):
        if on_replica(by, app, report) > 0:
            break
        time.sleep(0.2)
    else:
        pytest.fail("it was never read from the replica")
    shown = by.get(f"/reports/{made[-1]['report_id']}").get_json()
    assert shown["status"] == "SUCCEEDED", shown["error"]
    assert by.client.get(shown["url"]).get_json()["tables"]["units"]["rows"] == []
    assert by.post("/reports/rent-roll", body).get_json()["report_id"] != shown["id"]
