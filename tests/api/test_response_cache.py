"""Lists from the cache: the same answer, sooner; never an old one, never another's."""

from __future__ import annotations

import dataclasses
import datetime as dt
import threading
import uuid

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, text

from extensions.caching.requests import answer_key
from extensions.database import count_statements
from haven.api.cached import CacheRule, place_of
from haven.api.resource import CACHED
from haven.app import create_app
from haven.db.session import tenant_session
from haven.identity.models import Agency
from haven.identity.permissions import PERMISSIONS, ROLES
from haven.identity.principals import Principal
from haven.operations.cache import TARGETS, keep_warm
from haven.operations.cache_commands import cache
from haven.operations.cached_tables import CLEARS, TAGS
from haven.operations.jobs import job_session
from haven.operations.models import Job
from haven.runtime import Runtime
from tests.api.conftest import an_invoice, let_a_flat
from workers.runner import run_job

pytestmark = pytest.mark.usefixtures("settled_cache")

LISTS = ("properties", "units", "owners", "tenants", "leases", "invoices", "payments")


def asked(by, path, **headers):
    answer = by.get(path, **headers)
    assert answer.status_code in (200, 304), answer.get_json()
    return answer.headers["X-Cache"]


@pytest.mark.req("C5")
@pytest.mark.parametrize("name", LISTS)
def test_the_second_answer_is_the_first_one_stored(admin, name):
    first, second = admin.get(f"/{name}"), admin.get(f"/{name}")
    assert (first.headers["X-Cache"], second.headers["X-Cache"]) == ("MISS", "HIT")
    assert second.get_data() == first.get_data()
    for header in (
        "Content-Type",
        "ETag",
        "Vary",
        "Cache-Control",
        "RateLimit-Policy",
        "X-Content-Type-Options",
    ):
        assert second.headers[header] == first.headers[header]
    assert second.headers["Cache-Control"] == "private, max-age=0, must-revalidate"
    assert second.headers["Vary"] == "Authorization, Accept, Accept-Encoding"
    assert int(second.headers["Age"]) >= 0
    assert second.headers["X-Request-ID"] != first.headers["X-Request-ID"]


@pytest.mark.req("C4")
def test_each_page_is_stored_with_its_link(admin):
    for number in range(3):
        admin.made("/owners", full_name=f"Owner {number}")
    pages = [admin.get("/owners?limit=2&sort=full_name") for _ in range(2)]
    assert [page.headers["X-Cache"] for page in pages] == ["MISS", "HIT"]
    assert pages[0].headers["Link"] == pages[1].headers["Link"]
    following = pages[1].get_json()["pagination"]["next_cursor"]
    rest = [admin.get(f"/owners?limit=2&sort=full_name&cursor={following}") for _ in range(2)]
    assert [page.headers["X-Cache"] for page in rest] == ["MISS", "HIT"]
    assert [row["full_name"] for row in rest[1].get_json()["data"]] == ["Owner 2"]


def test_a_stored_answer_costs_no_statement_but_the_look_for_debts(app, admin):
    with app.app_context():
        engine = app.extensions["sqlalchemy"].engine
    admin.get("/units")
    with count_statements(engine) as counted:
        assert asked(admin, "/units") == "HIT"
    assert [one for one in counted.statements if "cache_debt" not in one] == []


@pytest.mark.req("C5")
def test_who_has_the_answer_gets_304_stored_or_not(admin):
    tag = admin.get("/units").headers["ETag"]
    for etag in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = admin.get("/units", If_None_Match=etag)
        assert (again.status_code, again.get_data()) == (304, b"")
        assert again.headers["ETag"] == tag
        assert again.headers["Vary"]
    fresh = admin.get("/units", If_None_Match=tag, Cache_Control="no-cache")
    assert (fresh.status_code, fresh.headers["X-Cache"]) == (304, "BYPASS")
    admin.made("/owners", full_name="Nobody of the units")
    assert admin.get("/units", If_None_Match='"another"').status_code == 200


def test_no_cache_asks_the_database(admin):
    assert [asked(admin, "/units", Cache_Control="no-cache") for _ in range(2)] == ["BYPASS", "BYPASS"]
    assert asked(admin, "/units") == "MISS"


def test_what_is_refused_is_not_stored(admin):
    assert [admin.get("/units?limit=0").status_code for _ in range(2)] == [422, 422]


def test_the_order_of_parameters_does_not_count_but_each_value_does(admin):
    assert asked(admin, "/units?limit=5&sort=label") == "MISS"
    assert asked(admin, "/units?sort=label&limit=5") == "HIT"
    assert asked(admin, "/units?sort=label&limit=6") == "MISS"


@pytest.mark.req("C6")
def test_every_write_shows_at_once_in_every_list_it_changes(admin):
    def everything():
        return {name: admin.get(f"/{name}") for name in LISTS}

    def changed_by(act):
        before = everything()
        assert {name: answer.headers["X-Cache"] for name, answer in everything().items()} == dict.fromkeys(
            LISTS, "HIT"
        )
        result = act()
        after = everything()
        direct = {name: admin.get(f"/{name}", Cache_Control="no-cache") for name in LISTS}
        for name in LISTS:
            assert after[name].get_data() == direct[name].get_data(), name
        return result, {name for name in LISTS if after[name].get_data() != before[name].get_data()}

    flat, lists = changed_by(lambda: let_a_flat(admin))
    assert lists == {"owners", "properties", "units", "tenants", "leases"}
    _, lists = changed_by(lambda: an_invoice(admin, flat.lease["id"]))
    assert lists == {"invoices", "tenants"}
    paid = {"lease_id": flat.lease["id"], "amount": "1000.00", "method": "CASH"}
    _, lists = changed_by(lambda: admin.made("/payments", **paid))
    assert lists == {"payments", "invoices", "tenants"}
    _, lists = changed_by(lambda: admin.patch(f"/units/{flat.unit['id']}", {"label": "Z9"}))
    assert lists == {"units"}
    _, lists = changed_by(lambda: admin.patch(f"/agencies/{admin.agency_id}", {"name": "Makao Homes"}))
    assert lists == set()


@pytest.mark.req("C6")
def test_sql_by_hand_on_a_watched_engine_shows_at_once(admin, engine):
    owner = admin.made("/owners", full_name="Achieng Otieno")
    admin.get("/owners")
    with tenant_session(engine, admin.agency_id) as session:
        session.execute(text("UPDATE owner SET full_name = 'By hand' WHERE id = :id"), {"id": owner["id"]})
    assert admin.get("/owners").get_json()["data"][0]["full_name"] == "By hand"


@pytest.mark.req("C6")
def test_an_operators_change_to_an_agency_shows_in_its_lists(admin, caller_of):
    let_a_flat(admin)
    assert admin.get("/units").get_json()["data"][0]["currency"] == "KES"
    operator = caller_of("PLATFORM_ADMIN")
    assert operator.patch(f"/agencies/{admin.agency_id}", {"currency": "UGX"}).status_code == 200
    assert admin.get("/units").get_json()["data"][0]["currency"] == "UGX"


def test_a_write_that_changes_nothing_cached_clears_nothing(admin):
    admin.get("/units")
    admin.made("/webhooks", url="https://makao.test/events", events=["invoice.issued"])
    assert asked(admin, "/units") == "HIT"


@pytest.mark.req("C5")
def test_another_agency_role_or_scope_never_gets_it(admin, caller_of):
    admin.get("/units")
    colleague = caller_of("AGENCY_ADMIN", admin.agency_id)
    assert asked(colleague, "/units") == "HIT"
    for other in (
        caller_of("VIEWER", admin.agency_id),
        caller_of("AGENCY_ADMIN", admin.agency_id, ("units:read",)),
        caller_of("AGENCY_ADMIN"),
    ):
        assert asked(other, "/units") == "MISS"
    assert caller_of("AGENCY_ADMIN", admin.agency_id, ("owners:read",)).get("/units").status_code == 403


_principals = st.builds(
    Principal,
    agency_id=st.sampled_from([uuid.UUID(int=1), uuid.UUID(int=2)]),
    user_id=st.sampled_from([uuid.UUID(int=3), uuid.UUID(int=4)]),
    role=st.sampled_from(sorted(ROLES)),
    permissions=st.frozensets(st.sampled_from(sorted(PERMISSIONS)), max_size=3),
    session_id=st.none(),
    api_key_id=st.sampled_from([None, uuid.UUID(int=5)]),
)
_queries = st.lists(
    st.tuples(
        st.sampled_from(["q", "limit", "sort", "a"]),
        st.sampled_from(["1", "1&limit=1", "", "é", "%26", "a/b"]),
    ),
    max_size=3,
)
_rules = st.builds(
    CacheRule,
    namespace=st.sampled_from(["units", "owners"]),
    tags=st.just(("unit",)),
    shape=st.sampled_from(["", "x", "x/y"]),
    is_personal=st.booleans(),
)
_asked = st.tuples(
    _rules, _principals, st.sampled_from(["/units", "/units/x"]), _queries, st.sampled_from(["", "text/csv"])
)


def _place(asked):
    from urllib.parse import urlencode

    rule, principal, path, query, accept = asked
    return place_of(rule, principal, path, urlencode(query).encode(), accept)


def _told_apart(asked):
    """All that may make two answers differ, as plain values."""
    rule, by, path, query, accept = asked
    person = by.actor if rule.is_personal else ""
    ordered = tuple(sorted(query, key=lambda pair: pair[0]))
    return rule.namespace, rule.shape, person, by.agency_id, by.role, by.permissions, path, ordered, accept


@pytest.mark.req("C5")
@given(_asked, _asked)
def test_two_requests_share_a_place_exactly_when_nothing_tells_their_answers_apart(one, other):
    assert (_place(one) == _place(other)) == (_told_apart(one) == _told_apart(other))


@given(_asked, st.sampled_from(sorted(PERMISSIONS)))
def test_a_changed_permission_is_another_place(asked, permission):
    rule, principal, *rest = asked
    changed = dataclasses.replace(principal, permissions=principal.permissions ^ {permission})
    assert _place((rule, changed, *rest)) != _place(asked)


def test_a_key_says_nothing_of_what_was_asked():
    assert answer_key("a", "/tenants", b"q=Wanjiku", "") == answer_key("a", "/tenants", b"q=Wanjiku", "")
    assert len(answer_key("a", "/tenants", b"q=Wanjiku", "")) == 32


def test_every_table_that_a_stored_list_reads_clears_it(app, admin):
    """A list that reads a table which is not in the map would go stale."""
    assert set(CACHED) == set(TARGETS) - {"dashboard"} == set(LISTS)
    with app.app_context():
        engine = app.extensions["sqlalchemy"].engine
    for name, resource in CACHED.items():
        tables = set(resource.listing.tables)
        assert tables <= set(TAGS), name
        assert all(table in CLEARS[table] for table in tables)
        with count_statements(engine) as counted:
            admin.get(f"/{name}?include_total=true")
        known = {table.name for table in resource.listing.key.class_.metadata.tables.values()}
        after_from = {
            text.split()[at + 1].strip('(),"')
            for text in counted.statements
            if "api_key" not in text  # signing in
            for at, word in enumerate(text.split()[:-1])
            if word in ("FROM", "JOIN")
        }
        assert after_from & known <= tables | {"cache_debt"}, name


def test_what_the_database_removes_with_a_row_is_cleared_with_it(app):
    from haven.models import Base

    for table in Base.metadata.tables.values():
        for key in table.foreign_keys:
            if key.ondelete == "CASCADE" and table.name in TAGS:
                assert table.name in CLEARS[key.column.table.name]


# /cache


@pytest.mark.req("C7")
def test_an_administrator_clears_by_pattern_and_by_tag_for_his_own_agency(admin, caller_of):
    other = caller_of()
    for body in ({"pattern": "units:*"}, {"tags": ["unit"]}, {"pattern": "*"}, {}):
        asked(admin, "/units"), asked(other, "/units"), asked(admin, "/owners")
        assert admin.post("/cache/invalidate", body).get_json() == {"status": "DONE"}
        assert (asked(admin, "/units"), asked(other, "/units")) == ("MISS", "HIT")
    asked(admin, "/owners")
    admin.post("/cache/invalidate", {"pattern": "units:*"})
    assert asked(admin, "/owners") == "HIT"
    assert admin.post("/cache/invalidate", {"tags": ["nothing"]}).status_code == 422


def test_an_operator_clears_for_all(admin, caller_of):
    asked(admin, "/units")
    assert caller_of("PLATFORM_ADMIN").post("/cache/invalidate", {"pattern": "units:*"}).status_code == 200
    assert asked(admin, "/units") == "MISS"


@pytest.mark.req("C7")
def test_the_numbers_are_those_of_ones_own_agency(app, admin, caller_of):
    for _ in range(4):
        admin.get("/units")
    mine = admin.get("/cache/stats").get_json()
    (units,) = mine["namespaces"]
    assert (units["namespace"], units["hits"], units["misses"], units["hit_rate"]) == ("units", 3, 1, 0.75)
    assert mine["total"]["hits"] == 3
    assert mine["server"] is None
    assert caller_of().get("/cache/stats").get_json()["namespaces"] == []
    everybodys = caller_of("PLATFORM_ADMIN").get("/cache/stats").get_json()
    assert everybodys["total"]["hits"] >= 3
    assert everybodys["server"]["keys"] > 0
    assert everybodys["server"]["memory_bytes"] > 0


@pytest.mark.req("C4")
def test_a_warmed_list_is_a_hit_for_every_role_and_the_same_answer(app, admin, caller_of):
    let_a_flat(admin)
    asked_for = admin.post("/cache/warm", {"targets": ["units", "tenants"]})
    assert asked_for.status_code == 202
    runtime: Runtime = app.extensions["haven"]
    assert run_job(runtime, admin.agency_id, uuid.UUID(asked_for.get_json()["id"])) == "SUCCEEDED"
    for by in (admin, *(caller_of(role, admin.agency_id) for role in ("MANAGER", "ACCOUNTANT", "VIEWER"))):
        for name in ("units", "tenants"):
            stored = by.get(f"/{name}")
            assert stored.headers["X-Cache"] == "HIT"
            computed = by.get(f"/{name}", Cache_Control="no-cache")
            assert stored.get_data() == computed.get_data()
            assert stored.headers["ETag"] == computed.headers["ETag"]
    assert asked(admin, "/owners") == "MISS"


@pytest.mark.req("C8")
def test_a_hundred_that_ask_two_processes_for_a_cold_list_compute_it_once(settings, caller_of):
    apps = [create_app(settings) for _ in range(2)]
    for app in apps:
        cache = app.extensions["caching"].cache
        cache.rules = dataclasses.replace(cache.rules, wait_s=60)
    # A pause of a busy machine may cost one computation more; twice in a row it would be no pause.
    tries = [_outcomes_of_a_hundred(apps, caller_of()) for _ in range(2)]
    assert ["HIT"] * 99 + ["MISS"] in tries
    assert all(outcomes.count("MISS") <= 2 for outcomes in tries)


def _outcomes_of_a_hundred(apps, by):
    ready, outcomes = threading.Barrier(100), list[str]()

    def ask(number):
        client = apps[number % 2].test_client()
        ready.wait()
        outcomes.append(asked(dataclasses.replace(by, client=client), "/units"))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(outcomes)


@pytest.mark.req("C4")
def test_the_clock_keeps_an_agency_warm_that_uses_the_cache_and_no_other(app, admin, caller_of):
    runtime: Runtime = app.extensions["haven"]
    admin.get("/units")
    runtime.cache.statistics.flush()
    now = dt.datetime.now(dt.UTC)
    for agency_id, asks in ((admin.agency_id, 1), (caller_of().agency_id, 0)):
        with job_session(runtime, agency_id, "cron:cache_warm") as session:
            assert keep_warm(session, now) == asks
            assert session.execute(select(func.count()).where(Job.kind == "cache_warm")).scalar_one() == asks


def test_the_command_warms_clears_and_counts(environ, admin, engine):
    with tenant_session(engine, admin.agency_id) as session:
        slug = session.execute(select(Agency.slug).where(Agency.id == admin.agency_id)).scalar_one()

    def haven(*arguments):
        result = CliRunner(env=environ).invoke(cache, arguments)
        assert result.exit_code == 0, result.output
        return result.output

    assert haven("warm", "--agency", slug, "units") == "Computed 4 pages of 1 agencies.\n"
    assert asked(admin, "/units") == "HIT"
    assert haven("warm", "--agency", slug, "units") == "Computed 0 pages of 1 agencies.\n"
    assert haven("clear", "--agency", slug, "units:*") == "Cleared units:* of 1 agencies.\n"
    assert asked(admin, "/units") == "MISS"
    assert "units" in haven("stats")
    assert (
        "no agency 'nobody'" in CliRunner(env=environ).invoke(cache, ["clear", "--agency", "nobody"]).output
    )


def test_without_the_cache_lists_are_computed(settings, admin):
    admin.client = create_app(dataclasses.replace(settings, enable_cache=False)).test_client()
    assert [asked(admin, "/units") for _ in range(2)] == ["BYPASS", "BYPASS"]


def test_what_is_written_while_the_cache_is_switched_off_shows_when_it_is_on_again(settings, admin):
    admin.get("/owners")
    on = admin.client
    admin.client = create_app(dataclasses.replace(settings, enable_cache=False)).test_client()
    admin.made("/owners", full_name="Written meanwhile")
    admin.client = on
    assert [row["full_name"] for row in admin.get("/owners").get_json()["data"]] == ["Written meanwhile"]
