"""Schedules: made and changed over the API, due by the agency's own clock, run once, mailed."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select, text

from haven.db.session import tenant_session
from haven.files import service as files
from haven.insight.reports import service
from haven.insight.reports.days import PERIODS, next_run
from haven.operations.jobs import job_session
from haven.operations.models import ReportSchedule
from tests.api.conftest import let_a_flat

NAIROBI, NEW_YORK = ZoneInfo("Africa/Nairobi"), ZoneInfo("America/New_York")
LATER = dt.timedelta(days=95)


def at(text_):
    return dt.datetime.fromisoformat(text_).replace(tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "cron, after, zone, wanted",
    [
        ("0 6 * * *", "2026-11-25T02:59:59", NAIROBI, "2026-11-25T03:00:00"),
        ("0 6 * * *", "2026-11-25T03:00:00", NAIROBI, "2026-11-26T03:00:00"),
        # On 8 March 2026 half past two does not come in New York; on 1 November half past one comes twice.
        ("30 2 * * *", "2026-03-08T05:00:00", NEW_YORK, "2026-03-08T07:30:00"),
        ("30 2 * * *", "2026-03-08T07:30:00", NEW_YORK, "2026-03-09T06:30:00"),
        ("30 1 * * *", "2026-11-01T04:00:00", NEW_YORK, "2026-11-01T05:30:00"),
        ("30 1 * * *", "2026-11-01T05:30:00", NEW_YORK, "2026-11-02T06:30:00"),
        ("0 6 31 * *", "2026-11-25T00:00:00", NAIROBI, "2026-12-31T03:00:00"),
    ],
)
def test_a_run_is_at_the_agencys_wall_clock(cron, after, zone, wanted):
    assert next_run(cron, at(after), zone) == at(wanted)


def test_the_days_of_a_report_are_seen_from_its_run():
    monday = dt.date(2026, 11, 30)
    assert PERIODS["YESTERDAY"](monday) == (dt.date(2026, 11, 29),) * 2
    assert PERIODS["LAST_WEEK"](monday) == (dt.date(2026, 11, 23), dt.date(2026, 11, 29))
    assert PERIODS["LAST_MONTH"](dt.date(2026, 3, 1)) == (dt.date(2026, 2, 1), dt.date(2026, 2, 28))
    assert PERIODS["THIS_MONTH"](monday) == (dt.date(2026, 11, 1), monday)


@pytest.fixture
def monthly(admin):
    return admin.made(
        "/reports/schedules",
        kind="collections",
        cron="monthly",
        format="xlsx",
        recipients=["Wanjiku@makao.test"],
    )


@pytest.mark.req("J5")
def test_a_schedule_is_made_read_changed_paused_and_removed(admin, monthly):
    assert (monthly["cron"], monthly["period"], monthly["status"]) == ("0 6 1 * *", "LAST_MONTH", "ACTIVE")
    local = dt.datetime.fromisoformat(monthly["next_run_at"]).astimezone(NAIROBI)
    assert (local.day, local.hour, local.minute) == (1, 6, 0)
    path = f"/reports/schedules/{monthly['id']}"
    assert admin.get(path).get_json()["recipients"] == ["wanjiku@makao.test"]
    changed = admin.patch(path, {"cron": "15 7 * * 1", "status": "PAUSED"}).get_json()
    assert (changed["cron"], changed["status"], changed["last_status"]) == ("15 7 * * 1", "PAUSED", None)
    assert changed["next_run_at"] != monthly["next_run_at"]
    assert [one["id"] for one in admin.get("/reports/schedules").get_json()["data"]] == [monthly["id"]]
    assert admin.delete(path).status_code == 204
    assert admin.get(path).status_code == 404


@pytest.mark.parametrize(
    "body, pointer",
    [
        ({}, "/cron"),
        ({"cron": "hourly"}, "/cron"),
        ({"cron": "* * * * *"}, "/cron"),
        ({"cron": "0 0 31 2 *"}, "/cron"),
        ({"cron": "0 99 * * *"}, "/cron"),
        ({"cron": "soon"}, "/cron"),
        ({"cron": "daily", "kind": "owner-statement"}, "/filters/owner_id"),
        ({"cron": "daily", "filters": {"colour": "red"}}, "/filters/colour"),
        ({"cron": "daily", "recipients": ["nobody"]}, "/recipients/0"),
    ],
)
def test_a_wrong_schedule_is_refused_by_field(admin, body, pointer):
    answer = admin.post("/reports/schedules", {"kind": "collections"} | body)
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.get_json()["errors"]] == [pointer]


def due(engine, by, now):
    with tenant_session(engine, by.agency_id, "cron:reports") as session:
        return service.submit_due(session, now)


@pytest.mark.req("J5")
def test_what_was_missed_runs_once(admin, monthly, engine):
    now = dt.datetime.now(dt.UTC)
    assert due(engine, admin, now) == 0
    assert due(engine, admin, now + LATER) == 1
    assert due(engine, admin, now + LATER) == 0
    (report,) = admin.get("/reports").get_json()["data"]
    shown = admin.get(f"/reports/schedules/{monthly['id']}").get_json()
    assert (shown["last_report_id"], shown["last_status"]) == (report["id"], "QUEUED")
    ran = dt.datetime.fromisoformat(shown["last_run_at"]).astimezone(NAIROBI)
    before = now + LATER - dt.timedelta(hours=6)
    assert (ran.date(), ran.hour) == (before.astimezone(NAIROBI).date().replace(day=1), 6), (
        "the last of those missed"
    )
    first, last = PERIODS["LAST_MONTH"](ran.date())
    assert (report["from"], report["to"]) == (f"{first}", f"{last}")
    assert dt.datetime.fromisoformat(shown["next_run_at"]) > now + LATER


@pytest.mark.req("J5")
def test_two_clocks_submit_once(admin, monthly, engine):
    now = dt.datetime.now(dt.UTC) + LATER
    counts = []
    threads = [threading.Thread(target=lambda: counts.append(due(engine, admin, now))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 1
    assert len(admin.get("/reports").get_json()["data"]) == 1


def test_a_paused_schedule_does_not_run_and_makes_nothing_up_when_it_wakes(admin, monthly, engine):
    path = f"/reports/schedules/{monthly['id']}"
    admin.patch(path, {"status": "PAUSED"})
    with tenant_session(engine, admin.agency_id) as session:
        session.execute(text("UPDATE report_schedule SET next_run_at = now() - interval '60 days'"))
    assert due(engine, admin, dt.datetime.now(dt.UTC)) == 0
    admin.patch(path, {"status": "ACTIVE"})
    assert due(engine, admin, dt.datetime.now(dt.UTC)) == 0


@pytest.mark.req("J5")
def test_the_report_of_a_schedule_is_mailed_once_with_a_link_that_works(admin, engine, work, monthly):
    let_a_flat(admin)
    with tenant_session(engine, admin.agency_id) as session:
        session.execute(text("UPDATE report_schedule SET next_run_at = now() - interval '1 minute'"))
    assert due(engine, admin, dt.datetime.now(dt.UTC)) == 1
    (report,) = admin.get("/reports").get_json()["data"]
    assert work(admin, uuid.UUID(report["job_id"])) == "SUCCEEDED"
    with tenant_session(engine, admin.agency_id) as session:
        mails = session.execute(text("SELECT recipient, subject, body FROM notification")).all()
        schedule = session.execute(select(ReportSchedule)).scalar_one()
        assert str(schedule.last_report_id) == report["id"]
    (mail,) = mails
    assert mail.recipient == "wanjiku@makao.test"
    assert "Collections" in mail.subject
    path = next(word for word in mail.body.split() if "/exports/download/" in word)
    assert admin.client.get(path[path.index("/api/") :]).status_code == 200
    assert admin.get(f"/reports/schedules/{monthly['id']}").get_json()["last_status"] == "SUCCEEDED"


def test_reports_whose_time_is_over_are_removed_with_their_files(admin, runtime, work):
    job = admin.post("/reports/rent-roll", {"from": "2026-11-01", "to": "2026-11-02"}).get_json()
    work(admin, job["id"])
    url = admin.get(f"/reports/{job['report_id']}").get_json()["url"]
    assert admin.client.get(url).status_code == 200
    with job_session(runtime, admin.agency_id, "tests") as session:
        now = dt.datetime.now(dt.UTC)
        assert service.remove_expired(session, now) == 0
        assert service.remove_expired(session, now + dt.timedelta(days=8)) == 1
        assert files.remove_expired(session, now + dt.timedelta(days=8)) == 1
    assert admin.client.get(url).status_code == 404
