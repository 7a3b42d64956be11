"""What is answered before Flask is what Flask would answer, to those and only those whom it would answer."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import logging
import random
import re
from collections.abc import Iterator

import pytest
import structlog
from sqlalchemy import text

from haven.app import create_app
from haven.db.session import tenant_session
from haven.identity.permissions import ROLES
from tests.api.conftest import PASSWORD, Caller, let_a_flat

pytestmark = pytest.mark.usefixtures("settled_cache")
PATHS = ("/units", "/owners", "/tenants", "/units?limit=2", "/dashboard/stats", "/dashboard/activity?limit=3")
OF_ONE_ANSWER = {"X-Request-ID", "RateLimit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Age", "Date"}


@pytest.fixture
def fast(app):
    return app.extensions["fast_path"]


@contextlib.contextmanager
def answering(fast, times: int) -> Iterator[None]:
    """So many answers of the block come from the fast path."""
    before = fast.answered
    yield
    assert fast.answered - before == times


def warm(by: Caller, path: str) -> None:
    """Computed, stored, and known to this process, as is who asks."""
    for _ in range(2):
        assert by.get(path).status_code == 200


def through_flask(app, by: Caller, path: str, **headers: str):
    """The same request without the fast path."""
    before, app.wsgi_app = app.wsgi_app, app.extensions["fast_path"]._behind
    try:
        return by.get(path, **headers)
    finally:
        app.wsgi_app = before


@pytest.mark.req("C5")
@pytest.mark.parametrize("path", PATHS)
def test_the_answer_and_its_headers_are_those_of_flask(app, admin, fast, path):
    let_a_flat(admin)
    warm(admin, path)
    for headers in ({}, {"If_None_Match": admin.get(path).headers["ETag"]}):
        with answering(fast, 1):
            quick = admin.get(path, **headers)
        slow = through_flask(app, admin, path, **headers)
        assert slow.headers["X-Cache"] == quick.headers["X-Cache"] == "HIT"
        assert (quick.status, quick.get_data()) == (slow.status, slow.get_data())
        told = [{n: v for n, v in one.headers.items() if n not in OF_ONE_ANSWER} for one in (quick, slow)]
        assert told[0] == told[1]
        assert set(quick.headers.keys()) == set(slow.headers.keys())


LISTS = (
    "/units",
    "/properties",
    "/tenants?limit=2",
    "/leases?sort=start_date",
    "/units?include_total=true&q=a1",
)


@contextlib.contextmanager
def computing(fast, times: int) -> Iterator[None]:
    """So many pages of the block are computed before Flask."""
    before = fast.computed
    yield
    assert fast.computed - before == times


@pytest.mark.req("C5", "D4")
@pytest.mark.parametrize("path", LISTS)
def test_a_page_that_is_computed_is_flasks_too(app, admin, fast, path):
    let_a_flat(admin)
    assert admin.get(path).status_code == 200
    for headers in ({}, {"If_None_Match": admin.get(path).headers["ETag"]}):
        with computing(fast, 1), answering(fast, 0):
            quick = admin.get(path, Cache_Control="no-cache", **headers)
        slow = through_flask(app, admin, path, Cache_Control="no-cache", **headers)
        assert slow.headers["X-Cache"] == quick.headers["X-Cache"] == "BYPASS"
        assert (quick.status, quick.get_data()) == (slow.status, slow.get_data())
        told = [{n: v for n, v in one.headers.items() if n not in OF_ONE_ANSWER} for one in (quick, slow)]
        assert told[0] == told[1]
        assert set(quick.headers.keys()) == set(slow.headers.keys())


@pytest.mark.parametrize(
    "path", ["/properties", "/units", "/owners", "/tenants", "/leases", "/webhooks", "/api-keys"]
)
def test_a_list_without_filters_has_the_bytes_of_one_whose_filter_leaves_all(admin, path):
    """The one is the driver's own rows, the other SQLAlchemy's."""
    let_a_flat(admin)
    admin.made("/webhooks", url="https://example.com/haven", events=["payment.completed"])
    bare, filtered = admin.get(path), admin.get(f"{path}?created_at__gte=2000-01-01T00:00:00Z")
    assert bare.status_code == filtered.status_code == 200
    assert bare.json["data"] != []
    assert bare.get_data() == filtered.get_data()


def test_a_page_that_was_cleared_is_computed_and_stored(app, admin, fast):
    warm(admin, "/owners")
    admin.made("/owners", full_name="Njeri")
    with computing(fast, 1):
        found = admin.get("/owners")
    assert (found.headers["X-Cache"], [one["full_name"] for one in found.get_json()["data"]]) == (
        "MISS",
        ["Njeri"],
    )
    with answering(fast, 1), computing(fast, 0):
        assert admin.get("/owners").get_data() == found.get_data()


@pytest.mark.parametrize("query", ["limit=0", "colour=red", "cursor=x", "limit=2&limit=3", "q=%00"])
def test_what_is_wrong_with_a_query_flask_says_without_asking_anew(app, admin, fast, query):
    warm(admin, "/units")
    with computing(fast, 0):
        quick = admin.get(f"/units?{query}")
    slow = through_flask(app, admin, f"/units?{query}")
    told = [{n: v for n, v in one.get_json().items() if n != "request_id"} for one in (quick, slow)]
    assert quick.status_code == slow.status_code == 422
    assert told[0] == told[1]


@pytest.mark.req("D1")
def test_a_full_pool_is_waited_for_once(settings, caller_of):
    app = create_app(dataclasses.replace(settings, db_pool_min=1, db_pool_max=1, db_pool_timeout=0.3))
    by = dataclasses.replace(caller_of(), client=app.test_client())
    warm(by, "/units")
    pool = app.extensions["haven"].engine.pool
    asked = []
    take = pool.connect

    def asking():
        asked.append("a connection")
        return take()

    pool.connect = asking
    held = take()
    try:
        busy = by.get("/units", Cache_Control="no-cache")
    finally:
        held.close()
    assert (busy.status_code, busy.headers["Retry-After"], len(asked)) == (503, "2", 1)
    assert by.get("/units", Cache_Control="no-cache").status_code == 200


@pytest.mark.req("M1")
def test_the_statements_of_a_page_are_counted(admin, fast, log):
    warm(admin, "/units")
    with computing(fast, 1):
        admin.get("/units", Cache_Control="no-cache")
    line = json.loads(log.getvalue().splitlines()[-1])
    assert (line["event"], line["statements"]) == ("request", 1)
    assert line["statements_ms"] > 0


@pytest.mark.req("D6")
def test_a_slow_statement_says_of_which_page_and_request_it_is(settings, caller_of):
    app = create_app(dataclasses.replace(settings, slow_query_threshold=0))
    by = dataclasses.replace(caller_of(), client=app.test_client())
    warm(by, "/units")
    with computing(app.extensions["fast_path"], 1):
        by.get("/units", Cache_Control="no-cache", X_Request_ID="of-this-page")
    slow = app.extensions["database"]["watch"].slow[-1]
    assert (slow.context, slow.text[:11]) == ("GET /api/v1/units", "SELECT CAST")
    assert structlog.contextvars.get_contextvars()["request_id"] == "of-this-page"


def test_what_is_unusual_goes_to_flask(admin, fast):
    warm(admin, "/units")
    with answering(fast, 0), computing(fast, 0):
        assert admin("HEAD", "/units").status_code == 200
        assert admin.get("/units/").status_code == 200
        assert admin.get("/units?limit=0").status_code == 422
        assert admin.client.get("/api/v1/units").status_code == 401
        assert admin.client.get("/api/v1/units", headers={"Authorization": "Bearer hvn_x"}).status_code == 401


@pytest.mark.req("R1")
def test_each_request_counts_once_whichever_way_it_goes(settings, caller_of):
    app = create_app(dataclasses.replace(settings, rate_limit_max_requests=20))
    by = dataclasses.replace(caller_of(), client=app.test_client())
    fast = app.extensions["fast_path"]
    left = []
    for number in range(19):
        # Each third finds its answer cleared, when it has been counted already.
        if number % 3 == 2:
            app.extensions["caching"].cache.clear_tags(str(by.agency_id), ["unit"])
        left.append(int(by.get("/units").headers["X-RateLimit-Remaining"]))
    assert left == list(range(19, 0, -1))
    assert fast.answered >= 5
    assert by.get("/units").status_code == 200
    refused = by.get("/units")
    assert (refused.status_code, refused.headers["X-RateLimit-Remaining"]) == (429, "0")
    assert refused.headers["Retry-After"]
    assert app.extensions["rate_limiting"].control.refusals.totals["default"] == 1


@pytest.mark.req("R4", "C9")
def test_limits_that_redis_has_lost_are_restored_here_too(app, admin, fast):
    warm(admin, "/units")
    control = app.extensions["rate_limiting"].control
    control._client.delete(control._overrides_name)
    control._sync_at = 0
    with answering(fast, 1):
        assert admin.get("/units").status_code == 200
    assert control._client.exists(control._overrides_name)


def test_an_administrator_who_has_signed_in_is_not_counted(app, admin, fast):
    signed_in = admin.client.post("/api/v1/auth/login", json={"email": admin.email, "password": PASSWORD})
    himself = dataclasses.replace(admin, token=signed_in.get_json()["access_token"])
    warm(himself, "/units")
    with answering(fast, 1):
        assert "RateLimit" not in himself.get("/units").headers


@pytest.mark.req("C5")
def test_who_has_signed_out_gets_nothing_that_is_stored(admin, fast):
    signed_in = admin.client.post("/api/v1/auth/login", json={"email": admin.email, "password": PASSWORD})
    himself = dataclasses.replace(admin, token=signed_in.get_json()["access_token"])
    warm(himself, "/units")
    with answering(fast, 1):
        himself.get("/units")
    assert himself.post("/auth/logout").status_code in (200, 204)
    with answering(fast, 0):
        assert himself.get("/units").status_code == 401


def test_without_asking_redis_again_he_would_get_it(admin, fast, monkeypatch):
    """The control: the answer is there; only the question who asks keeps it from him."""
    signed_in = admin.client.post("/api/v1/auth/login", json={"email": admin.email, "password": PASSWORD})
    himself = dataclasses.replace(admin, token=signed_in.get_json()["access_token"])
    warm(himself, "/units")
    believed, ask = fast._principals.seen(himself.token).stored, fast._exchange
    monkeypatch.setattr(fast, "_exchange", lambda *asked: [believed, *ask(*asked)[1:]])
    assert himself.post("/auth/logout").status_code in (200, 204)
    assert himself.get("/units").status_code == 200


def test_who_is_signed_out_in_another_process_gets_nothing_either(settings, admin, fast):
    signed_in = admin.client.post("/api/v1/auth/login", json={"email": admin.email, "password": PASSWORD})
    himself = dataclasses.replace(admin, token=signed_in.get_json()["access_token"])
    warm(himself, "/units")
    elsewhere = dataclasses.replace(himself, client=create_app(settings).test_client())
    assert elsewhere.post("/auth/logout").status_code in (200, 204)
    with answering(fast, 0):
        assert himself.get("/units").status_code == 401


@pytest.mark.req("C6")
def test_a_write_in_another_process_shows_at_once(settings, admin, fast):
    elsewhere = dataclasses.replace(admin, client=create_app(settings).test_client())
    for number in range(30):
        warm(admin, "/owners")
        elsewhere.made("/owners", full_name=f"Owner {number}")
        assert len(admin.get("/owners?limit=100").get_json()["data"]) == number + 1
        assert f"Owner {number}" in str(admin.get("/owners?limit=100&sort=full_name").get_json())
    assert fast.answered


def test_what_is_held_by_a_write_that_is_being_committed_is_not_served(app, admin, fast):
    warm(admin, "/units")
    generations = app.extensions["caching"].cache.generations
    generations.announce(str(admin.agency_id), ["unit"], "token")
    with answering(fast, 0):
        assert admin.get("/units").headers["X-Cache"] == "BYPASS"
    generations.settle(str(admin.agency_id), ["unit"], "token")
    with computing(fast, 1), answering(fast, 2):
        warm(admin, "/units")
        admin.get("/units")


@pytest.mark.req("C6")
def test_a_write_that_redis_was_not_told_of_is_looked_for_first(app, admin, fast, engine):
    warm(admin, "/owners")
    with tenant_session(engine, admin.agency_id) as session:
        session.execute(text("UPDATE owner SET full_name = full_name"))
        session.execute(
            text("INSERT INTO cache_debt (owner, tags, token) VALUES (:owner, '', '')"),
            {"owner": str(admin.agency_id)},
        )
    app.extensions["haven"].cache.debts.reset()
    with answering(fast, 0):
        admin.get("/owners")


@pytest.fixture
def log(monkeypatch):
    """What Haven's own handler writes, with nobody else listening, as in production."""
    written = io.StringIO()
    root = logging.getLogger()
    (own,) = [one for one in root.handlers if getattr(one, "is_haven", False)]
    monkeypatch.setattr(root, "handlers", [own])
    monkeypatch.setattr(own, "stream", written)
    return written


def test_its_line_in_the_log_is_like_any_other(app, admin, fast, log):
    warm(admin, "/units")
    with answering(fast, 1):
        admin.get("/units", X_Request_ID="0712345678", traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
    through_flask(app, admin, "/units", X_Request_ID="0712345678", traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
    lines = [json.loads(line) for line in log.getvalue().splitlines() if '"request"' in line]
    quick, slow = lines[-2:]
    assert set(quick) == set(slow)
    differing = {name for name in quick if quick[name] != slow[name]}
    assert differing <= {"ms", "timestamp", "statements", "statements_ms"}
    assert (quick["route"], quick["status"], quick["trace_id"]) == ("/api/v1/units", 200, "a" * 32)
    assert quick["request_id"] == "071*****78"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", quick["timestamp"])


@pytest.mark.req("C5")
def test_no_answer_ever_crosses_an_agency_a_role_or_a_changed_permission(app, caller_of, engine, fast):
    """A walk of many callers who ask, write, and have their permissions changed: each answer is what he would get computed."""
    chance = random.Random(4)
    callers = _many_callers(caller_of)
    writer = caller_of("AGENCY_ADMIN", callers[0].agency_id)
    before, checked = fast.answered, 0
    for step in range(500):
        by, path = chance.choice(callers), chance.choice(PATHS)
        if step % 25 == 24:
            _change_scopes(app, engine, by, chance)
        if step % 40 == 39:
            writer.made("/owners", full_name=f"Owner {step}")
        stored = by.get(path)
        computed = by.get(path, Cache_Control="no-cache")
        assert (stored.status_code, stored.headers.get("ETag")) == (
            computed.status_code,
            computed.headers.get("ETag"),
        )
        if stored.status_code == 200:
            assert stored.get_data() == computed.get_data()
            checked += 1
    assert checked > 200
    assert fast.answered - before > 100


def _many_callers(caller_of) -> list[Caller]:
    first, second = caller_of(), caller_of()
    for by in (first, second):
        let_a_flat(by)
    callers = [first, second]
    for by in (first, second):
        roles = sorted(role for role in ROLES if role != "PLATFORM_ADMIN")
        callers += [caller_of(role, by.agency_id) for role in roles]
        callers += [
            caller_of("AGENCY_ADMIN", by.agency_id, (scope,)) for scope in ("units:read", "owners:read")
        ]
    return callers


def _change_scopes(app, engine, by: Caller, chance: random.Random) -> None:
    """What an administrator does to a key; it holds at once."""
    scopes = chance.choice((["*"], ["units:read"], ["owners:read", "tenants:read"], ["dashboard:read"]))
    with tenant_session(engine, by.agency_id) as session:
        hashes = session.execute(
            text("UPDATE api_key SET scopes = :scopes WHERE created_by = :user_id RETURNING secret_hash"),
            {"scopes": scopes, "user_id": by.user_id},
        ).scalars()
        changed = [bytes(one) for one in hashes]
    app.extensions["haven_principals"].refresh(changed)
