"""Large answers: whole lists as NDJSON, and what is over a limit refused with the export to use."""

from __future__ import annotations

import dataclasses

import orjson
import pytest
from sqlalchemy import text

from haven.api.encoding import instead
from haven.app import create_app
from haven.billing import service as billing
from haven.db.base import new_id
from haven.db.session import tenant_session
from haven.db.staging import insert_many
from haven.identity.models import AuditEntry
from haven.leasing.models import Tenant
from tests.api.conftest import Caller, caller_of, let_a_flat  # noqa: F401  a fixture
from tests.api.operations import signed_in

NDJSON = {"Accept": "application/x-ndjson"}
PROBLEM = "application/problem+json"


@pytest.fixture
def by(app, engine):
    return signed_in(app, engine)


@pytest.fixture
def tenants(engine, by):
    """Makes so many of them, each with so long a note."""

    def make(count, note=""):
        rows = [{"id": new_id(), "full_name": f"Tenant {n}", "notes": note} for n in range(count)]
        with tenant_session(engine, by.agency_id) as session:
            insert_many(session, Tenant, rows)

    return make


def limited(settings, by, **limits):
    """The same caller of a web process with these limits."""
    client = create_app(dataclasses.replace(settings, **limits)).test_client()
    return Caller(client, by.token, by.agency_id, by.user_id, by.email)


def refused(answer):
    problem = answer.get_json()
    assert (answer.status_code, answer.content_type, problem["status"]) == (422, PROBLEM, 422)
    assert problem["title"] == "Answer too large"
    return problem["detail"]


def rows_of(answer):
    assert answer.status_code == 200, answer.get_json()
    assert answer.content_type == "application/x-ndjson"
    body = answer.get_data()
    assert len(body) == answer.content_length
    return [orjson.loads(line) for line in body.splitlines()]


def test_all_rows_of_a_list_are_those_of_its_pages(by, tenants, caller_of):  # noqa: F811
    tenants(2300)
    caller_of().made("/tenants", full_name="Somebody else's")
    rows = rows_of(by.get("/tenants?sort=full_name", **NDJSON))
    assert len({row["id"] for row in rows}) == len(rows) == 2300
    assert [row["full_name"] for row in rows] == sorted(row["full_name"] for row in rows)
    page = by.get("/tenants?sort=full_name&limit=200").get_json()
    assert rows[:200] == page["data"]
    assert rows_of(by.get("/tenants?q=tenant 17", **NDJSON)) != []
    assert rows_of(by.get("/tenants?status=FORMER", **NDJSON)) == []


@pytest.mark.parametrize("query", ["limit=5", "cursor=x", "include_total=true", "colour=red"])
def test_what_is_for_pages_or_unknown_is_refused(by, query):
    answer = by.get(f"/tenants?{query}", **NDJSON)
    assert (answer.status_code, answer.content_type) == (422, PROBLEM)
    assert query.partition("=")[0] in answer.get_data(as_text=True)


def test_neither_way_answers_for_the_other(by, tenants, settled_cache):
    """Lists are stored; the rows of one never are."""
    for count in (1, 2, 3):
        tenants(1)
        for _ in range(2):
            assert len(by.get("/tenants").get_json()["data"]) == count
            assert len(rows_of(by.get("/tenants", **NDJSON))) == count


@pytest.mark.parametrize("name", ["properties", "units", "tenants", "leases", "invoices", "payments"])
def test_an_export_that_is_named_is_there(by, name):
    words = instead(f"/api/v1/{name}")
    path = words.partition("POST /api/v1")[2].split()[0]
    assert by.post(path, {"format": "csv"}).status_code == 202


def test_more_rows_than_max_result_rows_are_refused_with_the_export(by, settings, tenants):
    tenants(200)
    few = limited(settings, by, max_result_rows=200)
    assert len(rows_of(few.get("/tenants", **NDJSON))) == 200
    tenants(1)
    detail = refused(few.get("/tenants", **NDJSON))
    assert "200 rows (MAX_RESULT_ROWS)" in detail
    assert "POST /api/v1/exports/tenants with the same filters" in detail
    assert len(few.get("/tenants?limit=200").get_json()["data"]) == 200
    assert len(rows_of(by.get("/tenants", **NDJSON))) == 201


def test_more_bytes_than_max_response_bytes_are_refused_however_they_are_asked_for(by, settings, tenants):
    tenants(100, "x" * 1000)
    short = limited(settings, by, max_response_bytes=65_536)
    for headers in ({}, NDJSON):
        detail = refused(short.get("/tenants?limit=100" if not headers else "/tenants", **headers))
        assert "65,536 bytes (MAX_RESPONSE_BYTES)" in detail
        assert "POST /api/v1/exports/tenants" in detail
    # Not stored either: it is refused again, and a shorter page is not.
    refused(short.get("/tenants?limit=100"))
    assert short.get("/tenants?limit=20").status_code == 200
    assert by.get("/tenants?limit=100").status_code == 200


def test_other_long_answers_say_how_to_ask_for_less(by, settings, engine):
    with tenant_session(engine, by.agency_id) as session:
        session.add_all(
            AuditEntry(
                agency_id=by.agency_id,
                actor="tests",
                request_id="",
                action="UPDATE",
                entity="tenant",
                entity_id=new_id(),
                changes={"notes": ["", "x" * 1000]},
            )
            for _ in range(100)
        )
    short = limited(settings, by, max_response_bytes=65_536)
    assert "fewer rows by limit" in refused(short.get("/audit?limit=100"))
    assert short.get("/audit?limit=10").status_code == 200


def test_what_has_been_done_is_told_however_long_that_is(by, settings):
    """A write that was refused for the length of its answer would be done again."""
    short = limited(settings, by, max_response_bytes=65_536)
    answer = short.post("/tenants/bulk?mode=partial", [{"full_name": "x" * 60, "phone": "1"}] * 1000)
    assert answer.status_code == 200
    assert len(answer.get_data()) > 65_536


def test_a_statement_of_more_lines_is_refused_with_the_export(by, settings, engine):
    flat = let_a_flat(by)
    rows = [{"lease_id": flat.lease["id"], "amount": "1.00", "method": "CASH"}] * 201
    assert by.post("/payments/bulk", rows).status_code == 200
    path = f"/tenants/{flat.tenant['id']}/statement"
    assert len(by.get(path).get_json()["lines"]) == 201
    answer = limited(settings, by, max_result_rows=200).get(path)
    assert answer.status_code == 422
    detail = answer.get_json()["detail"]
    assert "more than 200 lines" in detail
    assert f"POST /api/v1/exports/payments with the filter tenant_id={flat.tenant['id']}" in detail
    made = by.post("/exports/payments", {"format": "csv", "filters": {"tenant_id": flat.tenant["id"]}})
    assert made.status_code == 202, made.get_json()
    assert billing.STATEMENT_LINES >= 2000


def test_a_report_whose_figures_are_too_long_is_a_file(by, settings, engine):
    made = by.made("/reports/rent-roll", **{"from": "2026-10-01", "to": "2026-10-31", "format": "json"})
    with tenant_session(engine, by.agency_id) as session:
        session.execute(
            text("UPDATE report SET figures = jsonb_build_object('x', repeat('x', 70000)) WHERE id = :id"),
            {"id": made["report_id"]},
        )
    short = limited(settings, by, max_response_bytes=65_536)
    assert "xlsx or pdf" in refused(short.get(f"/reports/{made['report_id']}"))
