"""`haven verify`: finds what is wrong, says nothing of what is right."""

import datetime as dt
from decimal import Decimal

import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine, make_url, select, text

from haven.billing import service as billing
from haven.billing.commands import verify_command
from haven.billing.verify import RULES
from haven.db.migrate import sqlalchemy_url
from haven.db.session import tenant_session
from haven.identity.models import Agency
from haven.operations.models import Job
from haven.runtime import Runtime
from tests.billing.books_of import line
from tests.support.builders import a_payment, an_agency, an_invoice, an_owner, an_owners_lease
from workers.runner import run_job

NOW = dt.datetime.now(dt.UTC)

# Each breaks one rule at least, as a hand in the database might; triggers that would refuse it are switched off.
BREAKING = {
    "UPDATE ledger_entry SET debit = debit + 1 WHERE debit > 0": "debits of a ledger transaction",
    "DELETE FROM ledger_entry": "has entries",
    "UPDATE payment SET status = 'FAILED'": "posted once",
    "INSERT INTO ledger_transaction (agency_id, id, at, kind, description, payment_id)"
    " SELECT agency_id, uuidv7(), now(), 'PAYMENT', '', id FROM payment": "posted once",
    "UPDATE payment SET allocated = allocated - 1": "of a payment is allocated",
    "UPDATE invoice SET paid = paid - 1": "of an invoice is paid",
    "UPDATE allocation SET amount = amount + 1": "of an invoice is paid",
    "UPDATE invoice SET status = 'VOID'": "an allocation is of money",
    "UPDATE invoice_line SET amount = amount + 1": "sum of its lines",
    "UPDATE invoice SET credited = 0": "sum of its credit notes",
    "UPDATE invoice SET status = 'PAID'": "status is what its sums",
    "UPDATE invoice SET due_at = '2020-01-01'": "status is what its sums",
    "UPDATE ledger_account SET code = 'CASH' WHERE code = 'TENANT_RECEIVABLE'": "what a lease owes by the ledger",
    "UPDATE ledger_account SET code = 'SUSPENSE' WHERE code = 'DEPOSITS_HELD'": "suspense is what nobody",
    "UPDATE disbursement SET amount = amount + 1": "clearing accounts",
    "DELETE FROM owner_share": "what is an owner's by the ledger",
    "UPDATE owner_share SET fee = fee + 1": "what is an owner's by the ledger",
    "UPDATE owner_share SET rent = rent - 1, other = other + 1": "rent first",
    "UPDATE credit_note_line SET kind = 'DEPOSIT'": "deposits held",
    "UPDATE invoice SET number = number + 1": "have no gap",
}


@pytest.fixture
def books(engine):
    """An agency with one of everything."""
    agency = an_agency(engine)
    owner = an_owner(engine, agency)
    lease = an_owners_lease(engine, agency, owner)
    lines = [line("RENT", "1000.00"), line("DEPOSIT", "500.00"), line("UTILITY", "10.00")]
    invoice = an_invoice(engine, agency, lease, lines=lines)
    a_payment(engine, agency, lease, "1200.00")
    with tenant_session(engine, agency) as session:
        billing.credit(session, invoice, Decimal("100.00"), "no water")
        billing.pay_out(session, owner, {"amount": Decimal(50), "method": "CASH"})
    return agency


def findings(session):
    return {one.rule: one for one in billing.verify(session, NOW)}


def test_right_books_have_no_finding(engine, books):
    with tenant_session(engine, books) as session:
        assert findings(session) == {}


@pytest.mark.parametrize("change", BREAKING)
def test_what_is_wrong_is_found(superuser_url, database_name, books, change):
    root = create_engine(make_url(sqlalchemy_url(superuser_url)).set(database=database_name))
    with root.connect() as connection, connection.begin() as doomed:
        connection.execute(text("SET session_replication_role = replica"))
        # The superuser is bound by no wall: his change is, by hand.
        where = " AND" if "WHERE" in change else " WHERE"
        connection.execute(text(f"{change}{where} agency_id = '{books}'"))
        from sqlalchemy.orm import Session

        from haven.db.session import Tenant, set_tenant

        with Session(connection, join_transaction_mode="create_savepoint") as session:
            set_tenant(session, Tenant(books))
            found = findings(session)
        doomed.rollback()
    root.dispose()
    assert any(BREAKING[change] in rule for rule in found), list(found)


def test_a_finding_counts_all_and_names_a_few(engine, books, superuser_url, database_name):
    with tenant_session(engine, books) as session:
        entries = session.execute(text("SELECT count(*) FROM ledger_transaction")).scalar_one()
    root = create_engine(make_url(sqlalchemy_url(superuser_url)).set(database=database_name))
    with root.connect() as connection, connection.begin():
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text(f"DELETE FROM ledger_entry WHERE agency_id = '{books}'"))
    root.dispose()
    with tenant_session(engine, books) as session:
        found = findings(session)["a ledger transaction has entries"]
    assert (found.count, len(found.examples)) == (entries, 5)
    assert entries > 5


def test_the_command_checks_an_agency_and_says_so_by_its_exit_code(engine, database_url, books):
    with tenant_session(engine, books, is_platform=True) as session:
        slug = session.get_one(Agency, books).slug
    right = CliRunner().invoke(verify_command, ["--url", database_url, "--agency", slug])
    assert (right.exit_code, right.output) == (
        0,
        f"{slug}: right\n1 agencies, {len(RULES)} rules, 0 broken\n",
    )
    with tenant_session(engine, books) as session:
        session.execute(text("UPDATE payment SET allocated = allocated - 1"))
    wrong = CliRunner().invoke(verify_command, ["--url", database_url, "--agency", slug])
    assert wrong.exit_code == 1
    assert "not so: no more of a payment is allocated than it is" in wrong.output
    unknown = CliRunner().invoke(verify_command, ["--url", database_url, "--agency", "nobody"])
    assert unknown.exit_code == 2


def test_the_clock_asks_for_it_once_a_night(engine, settings):
    agency = an_agency(engine)  # Nairobi is three hours ahead of UTC
    nights = [dt.datetime(2026, 11, 24, 22, 59, tzinfo=dt.UTC), dt.datetime(2026, 11, 24, 23, tzinfo=dt.UTC)]
    with tenant_session(engine, agency) as session:
        assert [billing.request_nightly(session, night) for night in (*nights, nights[1])] == [0, 1, 0]
        job = session.scalars(select(Job)).one()
    assert run_job(Runtime.start(settings, engine), agency, job.id) == "SUCCEEDED"
    with tenant_session(engine, agency) as session:
        done = session.get_one(Job, (agency, job.id))
        assert done.result == {"rules": len(RULES), "broken": {}}
        assert billing.request_nightly(session, nights[1] + dt.timedelta(hours=20)) == 0
        assert billing.request_nightly(session, nights[1] + dt.timedelta(days=1)) == 1
