"""The wall holds inside COPY by itself: no export names its agency, and PostgreSQL shows it no other's rows."""

from __future__ import annotations

import io
from typing import Any

import psycopg2
import pytest

from haven.db.session import tenant_session
from haven.insight.exports.query import Plan, copy_csv, copy_json, sql_of
from haven.insight.exports.resources import RESOURCES
from tests.support.builders import a_lease, a_payment, an_agency, an_invoice

TABLES = ("property", "unit", "tenant", "lease", "invoice", "payment")


@pytest.fixture(scope="module")
def two(engine):
    """Two agencies with one of everything each."""
    made = []
    for _ in range(2):
        agency_id = an_agency(engine)
        lease_id = a_lease(engine, agency_id)
        an_invoice(engine, agency_id, lease_id)
        a_payment(engine, agency_id, lease_id)
        made.append(agency_id)
    return made


def copied(session, statement: str) -> list[str]:
    raw: Any = session.connection().connection.driver_connection
    out = io.BytesIO()
    with raw.cursor() as cursor:
        cursor.copy_expert(statement, out)
    return out.getvalue().decode().splitlines()


@pytest.mark.parametrize("table", TABLES)
def test_copy_without_any_condition_gives_the_agencys_own_rows(engine, owner_url, two, table):
    for agency_id in two:
        with tenant_session(engine, agency_id) as session:
            found = copied(session, f"COPY (SELECT agency_id FROM {table}) TO STDOUT")
            assert set(found) == {str(agency_id)}
            assert set(copied(session, f"COPY (TABLE {table}) TO STDOUT (FORMAT csv)")) != set()


@pytest.mark.parametrize("table", TABLES)
def test_copy_without_an_agency_gives_nothing(engine, two, table):
    with engine.connect() as connection:
        raw: Any = connection.connection.driver_connection
        out = io.BytesIO()
        with raw.cursor() as cursor:
            cursor.execute("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
            assert cursor.fetchone() == (False,)
            cursor.copy_expert(f"COPY (SELECT agency_id FROM {table}) TO STDOUT", out)
        assert out.getvalue() == b""


def test_a_whole_table_is_not_copied_past_the_wall(engine, two):
    """``COPY table TO`` is refused or narrowed by PostgreSQL itself, never the whole table."""
    with tenant_session(engine, two[0]) as session:
        found = copied(session, "COPY tenant (agency_id) TO STDOUT")
    assert set(found) == {str(two[0])}


@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_no_export_names_its_agency_and_none_shows_anothers_rows(engine, two, resource, form):
    plan = Plan.of(resource, {})
    ids = []
    for agency_id in two:
        with tenant_session(engine, agency_id) as session:
            raw: Any = session.connection().connection.driver_connection
            with raw.cursor() as cursor:
                sql = sql_of(plan.csv() if form == "csv" else plan.json(), cursor)
            assert str(agency_id) not in sql
            lines = copied(session, copy_csv(sql, header=False) if form == "csv" else copy_json(sql))
            ids.append(set(lines))
    assert ids[0]
    assert ids[1]
    assert not ids[0] & ids[1]


def test_who_reads_as_the_tables_owner_sees_both(owner_url, two):
    """The control: without the application's role, and the wall let down, the same COPY shows both agencies."""
    connection = psycopg2.connect(owner_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE tenant NO FORCE ROW LEVEL SECURITY")
            out = io.BytesIO()
            cursor.copy_expert("COPY (SELECT agency_id FROM tenant) TO STDOUT", out)
            assert {str(one) for one in two} <= set(out.getvalue().decode().split())
    finally:
        connection.rollback()
        connection.close()
