"""A session may tell PostgreSQL its tenant together with its first statement; the wall stands as it does else."""

from typing import Any

import pytest
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INTRANS
from sqlalchemy import Connection, create_engine, insert, select, text
from sqlalchemy.exc import DataError
from sqlalchemy.orm import Session

from extensions.database.counting import count_statements
from haven.db.base import new_id
from haven.db.session import Tenant, reading, set_tenant, tell_along
from haven.portfolio.models import Owner
from tests.support.builders import an_agency, an_owner

TOLD = text("SELECT current_setting('haven.agency_id', true), current_setting('haven.actor', true)")


@pytest.fixture
def along(engine):
    """A function that gives a session of an agency that tells along."""
    sessions = []

    def session_of(agency_id):
        session = Session(engine)
        sessions.append(session)
        tell_along(session)
        set_tenant(session, Tenant(agency_id, "somebody"))
        return session

    yield session_of
    for session in sessions:
        session.close()


def test_each_transaction_is_told_with_its_first_statement(engine, along):
    agency_id = an_agency(engine)
    session = along(agency_id)
    for end in (session.commit, session.rollback, session.commit):
        with count_statements(engine) as counted:
            assert session.execute(TOLD).one() == (str(agency_id), "somebody")
        assert counted.count == 1
        end()


def test_it_sees_and_writes_the_rows_of_its_agency_alone(engine, along):
    ours, others = an_agency(engine), an_agency(engine)
    mine, _ = an_owner(engine, ours), an_owner(engine, others)
    session = along(ours)
    assert session.scalars(select(Owner.id)).all() == [mine]


def test_many_rows_at_once_may_come_first(engine, along):
    agency_id = an_agency(engine)
    session = along(agency_id)
    rows = [{"agency_id": agency_id, "id": new_id(), "full_name": f"Owner {n}"} for n in range(3)]
    session.execute(insert(Owner), rows)
    session.commit()
    assert len(session.scalars(select(Owner.id)).all()) == 3


def test_what_was_never_told_is_told_to_nobody_else(engine, along):
    session = along(an_agency(engine))
    session.connection()
    session.close()
    with engine.connect() as another:
        assert another.execute(TOLD).one()[0] in (None, "")


def test_a_session_that_does_not_tell_along_on_the_same_connection_has_its_own_tenant(engine, along):
    first, second = an_agency(engine), an_agency(engine)
    session = along(first)
    session.connection()
    session.close()
    with Session(engine) as plain:
        set_tenant(plain, Tenant(second, "another"))
        assert plain.execute(TOLD).one() == (str(second), "another")


def test_reading_tells_each_statement_and_holds_no_transaction(engine):
    agency_id = an_agency(engine)
    with reading(engine, Tenant(agency_id, "somebody")) as connection:
        for _ in range(3):
            with count_statements(engine) as counted:
                assert connection.execute(TOLD).one() == (str(agency_id), "somebody")
            assert counted.count == 1
            assert _status(connection) == TRANSACTION_STATUS_IDLE


def test_reading_sees_the_rows_of_its_agency_alone(engine):
    ours, others = an_agency(engine), an_agency(engine)
    mine, _ = an_owner(engine, ours), an_owner(engine, others)
    with reading(engine, Tenant(ours, "somebody")) as connection:
        assert connection.execute(select(Owner.id)).scalars().all() == [mine]
        # Past SQLAlchemy nobody is told who asks: no row is seen, rather than all.
        cursor = connection.connection.cursor()
        cursor.execute("SELECT id FROM owner")
        assert cursor.fetchall() == []


def test_after_reading_nobody_is_told_and_transactions_are_as_before(engine):
    agency_id = an_agency(engine)
    alone = create_engine(engine.url, pool_size=1, max_overflow=0)
    with reading(alone, Tenant(agency_id, "somebody")) as connection:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with alone.connect() as another:
        assert another.execute(text("SELECT pg_backend_pid()")).scalar_one() == pid
        assert another.execute(TOLD).one()[0] in (None, "")
        assert _status(another) == TRANSACTION_STATUS_INTRANS
    alone.dispose()


def test_after_an_error_reading_goes_on(engine):
    agency_id = an_agency(engine)
    with reading(engine, Tenant(agency_id, "somebody")) as connection:
        with pytest.raises(DataError):
            connection.execute(text("SELECT 1 / 0"))
        assert connection.execute(TOLD).one() == (str(agency_id), "somebody")


def _status(connection: Connection) -> int:
    driver: Any = connection.connection.driver_connection
    return int(driver.info.transaction_status)
