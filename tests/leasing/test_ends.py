"""How leases end: by their date, by notice, and what becomes of the unit."""

from __future__ import annotations

import datetime as dt
import threading

from haven.db.session import tenant_session
from haven.leasing import service as leasing
from haven.leasing.models import Lease, Tenant
from haven.portfolio.models import Unit
from tests.api.conftest import let_a_flat
from tests.support.builders import a_lease, a_tenant, a_unit, an_agency

LAST_DAY = dt.date(2026, 10, 31)
# 31 October is over in Nairobi three hours before it is in UTC.
JUST_BEFORE = dt.datetime(2026, 10, 31, 20, 59, tzinfo=dt.UTC)
JUST_AFTER = dt.datetime(2026, 10, 31, 21, 1, tzinfo=dt.UTC)


def _end(engine, agency, now):
    with tenant_session(engine, agency, "test") as session:
        return leasing.end_past_leases(session, now)


def _statuses(engine, agency, lease_id):
    with tenant_session(engine, agency) as session:
        lease = session.get_one(Lease, (agency, lease_id))
        unit = session.get_one(Unit, (agency, lease.unit_id))
        tenant = session.get_one(Tenant, (agency, lease.tenant_id))
        return lease.status, unit.status, tenant.status


def test_a_lease_ends_when_its_last_day_is_over_where_the_agency_is(engine):
    agency = an_agency(engine)
    unit = a_unit(engine, agency, status="OCCUPIED")
    lease = a_lease(engine, agency, unit_id=unit, end=LAST_DAY)
    endless = a_lease(engine, agency)
    assert _end(engine, agency, JUST_BEFORE) == 0
    assert _statuses(engine, agency, lease) == ("ACTIVE", "OCCUPIED", "ACTIVE")
    assert _end(engine, agency, JUST_AFTER) == 1
    assert _statuses(engine, agency, lease) == ("ENDED", "VACANT", "FORMER")
    assert _statuses(engine, agency, endless)[0] == "ACTIVE"
    assert _end(engine, agency, JUST_AFTER) == 0


def test_a_unit_that_is_let_again_stays_occupied_and_a_tenant_who_stays_is_no_former_one(engine):
    agency = an_agency(engine)
    unit, tenant = a_unit(engine, agency, status="OCCUPIED"), a_tenant(engine, agency)
    ended = a_lease(engine, agency, unit_id=unit, tenant_id=tenant, end=LAST_DAY)
    a_lease(engine, agency, unit_id=unit, tenant_id=tenant, start=dt.date(2026, 11, 1))
    assert _end(engine, agency, JUST_AFTER) == 1
    assert _statuses(engine, agency, ended) == ("ENDED", "OCCUPIED", "ACTIVE")


def test_a_unit_kept_out_of_service_is_not_made_vacant(engine):
    agency = an_agency(engine)
    lease = a_lease(engine, agency, unit_id=a_unit(engine, agency, status="OUT_OF_SERVICE"), end=LAST_DAY)
    _end(engine, agency, JUST_AFTER)
    assert _statuses(engine, agency, lease)[1] == "OUT_OF_SERVICE"


def test_two_clocks_end_a_lease_once(engine):
    agency = an_agency(engine)
    for _ in range(20):
        a_lease(engine, agency, end=LAST_DAY)
    ended: list[int] = []
    clocks = [
        threading.Thread(target=lambda: ended.append(_end(engine, agency, JUST_AFTER))) for _ in range(4)
    ]
    for clock in clocks:
        clock.start()
    for clock in clocks:
        clock.join()
    assert sum(ended) + _end(engine, agency, JUST_AFTER) == 20


def test_a_unit_under_notice_is_let_again_only_after_the_last_day(admin):
    flat = let_a_flat(admin)
    last_day = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=40)
    notice = {"date": last_day.isoformat(), "reason": "Moved to Kisumu"}
    assert admin.post(f"/leases/{flat.lease['id']}/terminate", notice).status_code == 200
    people = {"unit_id": flat.unit["id"], "tenant_id": flat.tenant["id"]}
    too_early = admin.made("/leases", **people, start_date=last_day.isoformat())
    in_time = admin.made("/leases", **people, start_date=(last_day + dt.timedelta(days=1)).isoformat())

    refused = admin.post(f"/leases/{too_early['id']}/activate")

    assert refused.status_code == 409
    assert f"let until {last_day}" in refused.get_json()["detail"]
    assert admin.post(f"/leases/{in_time['id']}/activate").status_code == 200


def test_an_amount_is_shown_in_the_agencys_own_currency(admin):
    assert admin.patch(f"/agencies/{admin.agency_id}", {"currency": "UGX"}).status_code == 200
    flat = let_a_flat(admin)
    shown = (flat.unit, flat.lease, admin.get(f"/tenants/{flat.tenant['id']}").get_json())
    assert [row["currency"] for row in shown] == ["UGX"] * 3
