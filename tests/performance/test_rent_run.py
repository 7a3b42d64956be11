"""The month's rent of 10,000 leases, as the job that it is. `make bench` shows the figures."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import create_engine, event, select, text

from haven.billing import service as billing
from haven.db.migrate import sqlalchemy_url
from haven.db.session import tenant_session
from haven.operations.models import Job
from haven.runtime import Runtime
from tests.billing.test_runs import FUTURE, many_leases
from tests.support.books import check_books
from tests.support.builders import an_agency
from workers.runner import run_job

LEASES = 10_000


@pytest.mark.long
@pytest.mark.timeout(600)
def test_ten_thousand_leases_are_billed_by_a_job_that_tells_how_far_it_is(
    engine, owner_url, settings, record_property
):
    agency = an_agency(engine)
    many_leases(engine, agency, LEASES)
    # As autovacuum does within a minute: foreign keys are checked with plans made for tables as large as these.
    with create_engine(sqlalchemy_url(owner_url), isolation_level="AUTOCOMMIT").connect() as owner:
        owner.execute(text("ANALYZE"))
    with tenant_session(engine, agency) as session:
        job_id = billing.request_run(session, FUTURE)
    statements = []
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))

    began = time.perf_counter()
    assert run_job(Runtime.start(settings, engine), agency, job_id) == "SUCCEEDED"
    elapsed_s = time.perf_counter() - began

    with tenant_session(engine, agency) as session:
        job = session.scalars(select(Job)).one()
    assert job.result == {"period": FUTURE, "invoices": LEASES, "total": f"{LEASES * 25000}.00"}
    assert (job.progress_done, job.progress_total) == (LEASES, LEASES)
    reports = sum("progress_done" in one for one in statements)
    record_property("seconds", elapsed_s)
    print(  # noqa: T201
        f"\nthe rent of {LEASES:,} leases: {elapsed_s:.1f} s, {LEASES / elapsed_s:,.0f} invoices a second,"
        f" {len(statements)} statements, {reports} reports of progress"
    )
    check_books(engine, agency)
