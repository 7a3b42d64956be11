"""The database itself keeps the rules: read from PostgreSQL's catalogue, so a table that forgets one is found."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import psycopg2
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from haven.db import migrate
from haven.db.base import new_id
from haven.db.prepare import APP_ROLE, OWNER_ROLE
from haven.db.session import tenant_session
from tests.support.builders import a_lease, a_payment, an_agency, an_invoice

NOT_OF_AN_AGENCY = {
    "agency": "it is the agency; its policy is on id",
    "alembic_version": "the schema's own revision",
    "benchmark_run": "measurements of the platform",
    "cache_debt": "read for all agencies at once; it names them and holds nothing of theirs",
    "job_queue": "a queue is paused for all agencies",
    "maintenance_task": "the clock's own tasks",
    "metric_rollup": "measurements of the platform",
    "sign_in_throttle": "counted before anybody is known to belong to an agency",
}
OTHER_KEY = {
    "sign_in_address": "an address is unique over all agencies, so that sign-in needs no agency",
    "sms_handover": "a delivery report names the gateway's id of a message, and no agency",
}

TABLES = "SELECT c.oid, c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'"
KEYS = """
    SELECT c.relname, con.conname, con.contype::text, f.relname,
           (SELECT array_agg(a.attname ORDER BY k.n) FROM unnest(con.conkey) WITH ORDINALITY k(attnum, n)
              JOIN pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = k.attnum)::text[]
      FROM pg_constraint con JOIN pg_class c ON c.oid = con.conrelid LEFT JOIN pg_class f ON f.oid = con.confrelid
     WHERE con.connamespace = 'public'::regnamespace AND con.contype IN ('p', 'f')
"""
INDEXES = """
    SELECT c.relname,
           (SELECT array_agg(a.attname ORDER BY k.n) FROM unnest(i.indkey::int[]) WITH ORDINALITY k(attnum, n)
              JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum)::text[]
      FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
     WHERE c.relnamespace = 'public'::regnamespace AND i.indisvalid AND i.indpred IS NULL
"""


def read(url, query, *values):
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(query, values or None)
            return cursor.fetchall()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def tables(owner_url):
    return {name for _, name in read(owner_url, TABLES)}


@pytest.fixture(scope="module")
def owned(tables):
    return tables - set(NOT_OF_AN_AGENCY)


@pytest.mark.req("D4")
def test_every_table_of_an_agency_is_behind_a_forced_policy(owner_url, owned):
    walled = read(
        owner_url,
        "SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity, pg_get_expr(p.polqual, p.polrelid),"
        " pg_get_expr(p.polwithcheck, p.polrelid), p.polcmd::text"
        " FROM pg_class c LEFT JOIN pg_policy p ON p.polrelid = c.oid WHERE c.relname = ANY (%s)",
        sorted(owned),
    )
    assert {name for name, *_ in walled} == owned
    for name, is_forced, visible, writable, command in walled:
        assert is_forced, name
        assert command == "*", name
        assert "agency_id = ( SELECT" in visible, name
        assert "haven.agency_id" in visible, name
        assert "haven.agency_id" in writable, name


def test_every_exception_is_still_a_table(tables):
    assert set(NOT_OF_AN_AGENCY) | set(OTHER_KEY) <= tables


def test_the_key_of_every_table_of_an_agency_begins_with_it(owner_url, owned):
    keys = {table: columns for table, _, kind, _, columns in read(owner_url, KEYS) if kind == "p"}
    for table in owned - set(OTHER_KEY):
        assert keys[table][0] == "agency_id", table


def test_every_foreign_key_to_a_table_of_an_agency_carries_it(owner_url, owned):
    checked = 0
    for table, name, kind, target, columns in read(owner_url, KEYS):
        if kind == "f" and target in owned:
            assert columns[0] == "agency_id", f"{table}.{name}"
            checked += 1
    assert checked >= 30


@pytest.mark.req("D3")
def test_every_foreign_key_has_its_index(owner_url):
    indexes: dict[str, list[list[str]]] = {}
    for table, columns in read(owner_url, INDEXES):
        indexes.setdefault(table, []).append(columns or [])
    for table, name, kind, target, columns in read(owner_url, KEYS):
        if kind == "f" and target != "agency":
            has_one = any(set(index[: len(columns)]) == set(columns) for index in indexes[table]) or any(
                index[:2] == columns[:2] for index in indexes[table]
            )
            assert has_one, f"{table}.{name} {columns} has no index"


def test_money_is_numeric_14_2(owner_url):
    columns = read(
        owner_url,
        "SELECT table_name, column_name, data_type, numeric_precision, numeric_scale FROM information_schema.columns"
        " WHERE table_schema = 'public' AND (column_name LIKE '%amount' OR column_name IN"
        " ('total', 'paid', 'balance', 'allocated', 'unallocated', 'debit', 'credit'))",
    )
    assert len(columns) > 12
    for table, column, *kind in columns:
        assert kind == ["numeric", 14, 2], f"{table}.{column}"


def test_the_application_is_bound_by_the_wall(owner_url, database_url):
    roles = read(
        database_url,
        "SELECT current_user, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user",
    )
    assert roles == [(APP_ROLE, False)]
    owners = read(owner_url, "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
    assert owners == [(OWNER_ROLE,)]


def test_who_says_no_agency_sees_no_row(engine, database_url, owned):
    agency_id = an_agency(engine)
    lease_id = a_lease(engine, agency_id)
    an_invoice(engine, agency_id, lease_id)
    a_payment(engine, agency_id, lease_id)
    for table in sorted(owned):
        assert read(database_url, f"SELECT count(*) FROM {table}") == [(0,)], table
    with tenant_session(engine, agency_id) as session:
        for table in ("lease", "invoice", "payment", "ledger_entry", "audit_entry", "counter"):
            assert session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() > 0, table


def test_two_active_leases_of_a_unit_never_overlap(engine):
    agency_id = an_agency(engine)
    lease_id = a_lease(engine, agency_id)
    copy = (
        "INSERT INTO lease (agency_id, id, unit_id, tenant_id, start_date, rent_amount, status)"
        " SELECT agency_id, :new, unit_id, tenant_id, start_date + 5, rent_amount, :status FROM lease WHERE id = :id"
    )
    with tenant_session(engine, agency_id) as session:
        session.execute(text(copy), {"new": new_id(), "id": lease_id, "status": "DRAFT"})
    with (
        pytest.raises(IntegrityError, match="lease_no_overlap"),
        tenant_session(engine, agency_id) as session,
    ):
        session.execute(text(copy), {"new": new_id(), "id": lease_id, "status": "ACTIVE"})


def test_a_ledger_transaction_that_does_not_balance_cannot_be_committed(engine):
    agency_id = an_agency(engine)
    an_invoice(engine, agency_id, a_lease(engine, agency_id))
    with (
        pytest.raises(IntegrityError, match="does not balance"),
        tenant_session(engine, agency_id) as session,
    ):
        session.execute(
            text(
                "INSERT INTO ledger_entry (agency_id, id, transaction_id, account_id, debit)"
                " SELECT agency_id, :id, transaction_id, account_id, 1 FROM ledger_entry LIMIT 1"
            ),
            {"id": new_id()},
        )


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ledger_entry SET debit = debit + 1 WHERE debit > 0",
        "DELETE FROM ledger_entry",
        "DELETE FROM ledger_transaction",
        "UPDATE audit_entry SET actor = 'nobody'",
        "UPDATE invoice SET number = number + 1",
        "DELETE FROM invoice",
        "UPDATE payment SET status = 'FAILED'",
    ],
)
def test_what_is_in_the_books_stays(engine, change):
    agency_id = an_agency(engine)
    lease_id = a_lease(engine, agency_id)
    an_invoice(engine, agency_id, lease_id)
    a_payment(engine, agency_id, lease_id)
    with pytest.raises(DBAPIError), tenant_session(engine, agency_id) as session:
        session.execute(text(change))


def test_one_receipt_is_one_payment(engine):
    agency_id = an_agency(engine)
    lease_id = a_lease(engine, agency_id)
    a_payment(engine, agency_id, lease_id, "100.00", method="MPESA", reference="UKO1ABCDEF")
    with pytest.raises(IntegrityError, match="payment_receipt_key"):
        a_payment(engine, agency_id, lease_id, "100.00", method="MPESA", reference="UKO1ABCDEF")


def test_what_changes_is_written_down_with_who_and_from_what_to_what(engine):
    agency_id = an_agency(engine)
    lease_id = a_lease(engine, agency_id)
    with tenant_session(engine, agency_id, "user:somebody", "request-1") as session:
        session.execute(text("UPDATE lease SET grace_days = 9"))
    with tenant_session(engine, agency_id) as session:
        row = session.execute(
            text(
                "SELECT actor, request_id, action, changes FROM audit_entry"
                " WHERE entity = 'lease' AND entity_id = :id ORDER BY id DESC LIMIT 1"
            ),
            {"id": lease_id},
        ).one()
    assert (row.actor, row.request_id, row.action) == ("user:somebody", "request-1", "UPDATE")
    assert row.changes["grace_days"][1] == 9


def test_the_schema_goes_down_to_nothing_and_up_again(addresses, worker_number):
    name = f"haven_migrations_{worker_number}"
    addresses.new_database(name)
    owner_url = addresses.database_url(OWNER_ROLE, name)
    assert migrate.current(owner_url) == migrate.head()
    before = read(
        owner_url,
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2",
    )

    migrate.downgrade(owner_url, "base")
    left = read(owner_url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert left == [("alembic_version",)]
    functions = read(owner_url, "SELECT proname FROM pg_proc WHERE proname LIKE 'haven%'")
    assert functions == []

    migrate.upgrade(owner_url)
    after = read(
        owner_url,
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2",
    )
    assert after == before


_OLD_REPORT = """
    INSERT INTO job (agency_id, id, queue, kind, status, arguments, requested_by, attempts, max_attempts, finished_at)
    VALUES (:agency_id, :job, 'reports', 'report', 'SUCCEEDED', '{}', 'tests', 1, 3, now());
    INSERT INTO report (agency_id, id, job_id, kind, format, first_day, last_day, filters, key, generation, finished_at,
                        expires_at, filename, content_type, size_bytes, sha256)
    VALUES (:agency_id, :report, :job, 'arrears', 'pdf', '2026-11-01', '2026-11-30', '{}', 'k', 'g', now(),
            now() + make_interval(days => :days), 'a.pdf', 'application/pdf', 3, 'abc');
    INSERT INTO report_file (agency_id, id, content) VALUES (:agency_id, :report, 'abc')
"""
_THEN = (
    "SELECT r.id, j.status, j.attempts, r.filename, r.finished_at FROM report r JOIN job j ON j.id = r.job_id"
)


def test_reports_whose_files_were_in_the_database_are_made_anew(addresses, worker_number):
    name = f"haven_reports_{worker_number}"
    addresses.new_database(name)
    owner_url = addresses.database_url(OWNER_ROLE, name)
    migrate.downgrade(owner_url, "0019")
    migrate.downgrade(owner_url, "-1")
    engine = create_engine(migrate.sqlalchemy_url(owner_url))
    agency_id, kept, over = an_agency(engine), new_id(), new_id()
    with tenant_session(engine, agency_id) as session:
        for report_id, days in ((kept, 3), (over, -1)):
            values = {"agency_id": agency_id, "job": new_id(), "report": report_id, "days": days}
            session.execute(text(_OLD_REPORT), values)

    migrate.upgrade(owner_url)

    with tenant_session(engine, agency_id) as session:
        found = {row.id: row[1:] for row in session.execute(text(_THEN))}
        assert found[kept] == ("QUEUED", 0, None, None)
        assert found[over][:3] == ("SUCCEEDED", 1, "a.pdf")
        assert session.execute(
            text("SELECT relforcerowsecurity FROM pg_class WHERE relname = 'job'")
        ).scalar()
    engine.dispose()


def test_the_models_and_the_migrations_say_the_same(owner_url):
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    import haven.models  # noqa: F401
    from haven.db.base import Base

    engine = create_engine(migrate.sqlalchemy_url(owner_url))
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    engine.dispose()
    assert differences == []


def test_amounts_are_exact(engine):
    agency_id = an_agency(engine)
    lease_id = a_lease(engine, agency_id)
    an_invoice(engine, agency_id, lease_id)
    for _ in range(3):
        a_payment(engine, agency_id, lease_id, "0.10", paid_at=dt.datetime.now(dt.UTC))
    with tenant_session(engine, agency_id) as session:
        assert session.execute(text("SELECT paid FROM invoice")).scalar_one() == Decimal("0.30")
