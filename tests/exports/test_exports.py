"""What is exported is what the list shows: in every form, of every resource, and of nobody else."""

from __future__ import annotations

import errno
import json
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from sqlalchemy import select, update

from haven.db.session import tenant_session
from haven.insight.exports.resources import RESOURCES
from haven.insight.exports.writing import FORMATS
from haven.leasing.models import Tenant
from haven.notifications.models import Notification
from haven.operations.models import ExportFile
from tests.api.conftest import an_invoice, let_a_flat
from tests.exports.conftest import AtJobs
from tests.exports.reading import plain, rows_of, sheets_of
from tests.exports.workbook_rules import broken
from tests.support.builders import a_tenant, an_agency

ODD = (
    '=HYPERLINK("http://evil.test","Click")',
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\tTab",
    "＝1+1",  # noqa: RUF001
    'Say "yes", please',
    "Two\nlines; and a semicolon",
    "Wairimũ 🏠 \\ back\\slash",
    "'already quoted",
    "\\.",
    "NULL",
    "  spaces  ",
)


@pytest.fixture
def at_app(app, at_jobs) -> AtJobs:
    """The folder that the application reads."""
    return at_jobs.with_settings(export_dir=app.extensions["haven"].settings.export_dir)


def exported(at: AtJobs, by, resource: str, form: str, **body) -> Path:
    """Ask for an export and make it; the file."""
    answer = by.post(f"/exports/{resource}", {"format": form, **body})
    assert answer.status_code == 202, answer.get_json()
    job = at.run(by.agency_id, uuid.UUID(answer.get_json()["id"]))
    assert job.status == "SUCCEEDED", job.error
    assert job.result is not None
    return next(
        path for path in at.files() if path.name == job.result["filename"] and str(by.agency_id) in str(path)
    )


def listed(by, resource: str, query: str = "") -> list[dict]:
    return by.get(f"/{resource}?limit=200{query}").get_json()["data"]


def same(shown: list[dict], made: list[dict]) -> None:
    """Every column of the list has its value in the export, in the list's order."""
    assert len(made) == len(shown)
    for row, own in zip(made, shown, strict=True):
        assert {name: plain(row[name]) for name in own} == {name: plain(value) for name, value in own.items()}


@pytest.fixture
def busy(admin):
    """An agency with two of everything."""
    for number in range(2):
        flat = let_a_flat(admin, rent=f"2500{number}.50")
        an_invoice(admin, flat.lease["id"])
        admin.made(
            "/payments", lease_id=flat.lease["id"], amount="1000.10", method="CASH", reference=f"S {number}"
        )
    return admin


@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize("form", FORMATS)
def test_an_export_is_the_list(at_app, busy, resource, form):
    made = exported(at_app, busy, resource, form)
    same(listed(busy, resource), rows_of(made))
    assert form != "xlsx" or broken(made) == []


@pytest.mark.parametrize("form", FORMATS)
def test_a_payment_names_its_lease_tenant_unit_and_property(at_app, busy, form):
    for row in rows_of(exported(at_app, busy, "payments", form)):
        assert row["tenant_name"] == "Brian Mutua"
        assert (row["unit_label"], row["property_name"]) == ("A1", "Umoja Heights")
        assert plain(row["lease_start_date"]) == plain("2026-11-01")


@pytest.mark.parametrize("form", FORMATS)
def test_odd_text_comes_back_and_calculates_nothing(at_app, engine, admin, form):
    for text in ODD:
        a_tenant(engine, admin.agency_id, full_name=text, notes="", phone="+254712345678")

    made = rows_of(exported(at_app, admin, "tenants", form, filters={"sort": "created_at"}))

    names = [row["full_name"] for row in made]
    if form == "csv":
        guarded = [f"'{one}" if one[0] in "=+-@\t＝" else one for one in ODD]  # noqa: RUF001
        assert names == guarded
    else:
        assert names == list(ODD)
    assert {row["phone"] for row in made} == {"+254712345678"}


@pytest.mark.parametrize("form", ["ndjson", "parquet"])
def test_empty_text_is_not_nothing(at_app, engine, admin, form):
    a_tenant(engine, admin.agency_id, notes="", email=None)
    (row,) = rows_of(exported(at_app, admin, "tenants", form))
    assert (row["notes"], row["email"]) == ("", None)


def test_money_in_ndjson_is_text_and_in_parquet_decimal(at_app, busy):
    (row, _) = rows_of(exported(at_app, busy, "payments", "ndjson"))
    assert row["amount"] == "1000.10"
    import pyarrow.parquet as pq

    schema = pq.read_schema(exported(at_app, busy, "payments", "parquet"))
    types = {name: str(schema.field(name).type) for name in ("amount", "paid_at", "lease_start_date")}
    assert types == {
        "amount": "decimal128(14, 2)",
        "paid_at": "timestamp[us, tz=UTC]",
        "lease_start_date": "date32[day]",
    }


@pytest.mark.parametrize("resource", ["tenants", "payments"])
@pytest.mark.parametrize("form", FORMATS)
def test_an_export_of_nothing_is_a_good_file(at_app, admin, resource, form):
    assert rows_of(exported(at_app, admin, resource, form)) == []


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_compressed_it_holds_the_same(at_app, busy, form, compression):
    path = exported(at_app, busy, "units", form, compression=compression)
    assert path.name.endswith({"gzip": f".{form}.gz", "zstd": f".{form}.zst"}[compression])
    same(listed(busy, "units"), rows_of(path))


@pytest.mark.parametrize(
    "resource, filters",
    [
        ("payments", {"amount__gte": "1000.10", "method": "CASH"}),
        ("payments", {"amount__gte": "1000.11"}),
        ("payments", {"q": "rct-000001"}),
        ("payments", {"status__in": "COMPLETED,PENDING", "sort": "amount"}),
        ("payments", {"paid_at__lte": "2020-01-01T00:00:00Z"}),
        ("payments", {"created_at__gte": "2020-01-01T00:00:00Z"}),
        ("units", {"bedrooms__gte": 1}),
        ("units", {"sort": "-rent_amount", "status": "OCCUPIED"}),
        ("tenants", {"q": "100%' --"}),
        ("leases", {"start_date__lte": "2026-11-01", "sort": "-end_date"}),
        ("invoices", {"due_at": "2026-12-01"}),
        ("properties", {"name": "Umoja Heights"}),
    ],
)
def test_filters_are_the_lists(at_app, busy, resource, filters):
    from urllib.parse import urlencode

    shown = listed(busy, resource, "&" + urlencode(filters))
    same(shown, rows_of(exported(at_app, busy, resource, "ndjson", filters=filters)))


def test_a_filter_by_id_is_the_lists(at_app, busy):
    tenant = listed(busy, "tenants")[0]["id"]
    shown = listed(busy, "payments", f"&tenant_id={tenant}")
    assert len(shown) == 1
    same(shown, rows_of(exported(at_app, busy, "payments", "ndjson", filters={"tenant_id": tenant})))


@pytest.mark.parametrize(
    "body, pointer",
    [
        ({"format": "pdf"}, "/format"),
        ({}, "/format"),
        ({"format": "csv", "compression": "rar"}, "/compression"),
        ({"format": "xlsx", "compression": "gzip"}, "/compression"),
        ({"format": "csv", "filters": {"colour": "red"}}, "/filters/colour"),
        ({"format": "csv", "filters": {"limit": "5"}}, "/filters/limit"),
        ({"format": "csv", "filters": {"amount__gte": "much"}}, "/filters/amount__gte"),
        ({"format": "csv", "filters": {"status": "COMPLETE"}}, "/filters/status"),
        ({"format": "csv", "filters": {"status": ["COMPLETED"]}}, "/filters/status"),
        ({"format": "csv", "filters": {"status": None}}, "/filters/status"),
        ({"format": "csv", "filters": {"sort": "colour"}}, "/filters/sort"),
        ({"format": "csv", "filters": {"a/b~c": "1"}}, "/filters/a~1b~0c"),
        ({"format": "csv", "filters": {"reference": "a\x00b"}}, "/filters/reference"),
        ({"format": "csv", "filters": []}, "/filters"),
        ({"format": "csv", "columns": ["id"]}, "/columns"),
    ],
)
def test_what_is_wrong_is_named(admin, body, pointer):
    answer = admin.post("/exports/payments", body)
    assert answer.status_code == 422
    assert pointer in [fault["pointer"] for fault in answer.get_json()["errors"]]


def test_nobody_elses_rows_are_in_it_even_without_a_condition(at_app, busy, engine, caller_of):
    other = caller_of()
    let_a_flat(other)
    a_tenant(engine, an_agency(engine), full_name="Siri Kubwa")
    for form in FORMATS:
        for resource in RESOURCES:
            made = rows_of(exported(at_app, other, resource, form))
            ids = {row["id"] for row in listed(other, resource)}
            assert {row["id"] for row in made} == ids, (form, resource)
            assert not ids & {row["id"] for row in listed(busy, resource)}


def test_one_exports_what_one_may_read(admin, caller_of):
    viewer = caller_of("VIEWER", admin.agency_id)
    assert viewer.post("/exports/tenants", {"format": "csv"}).status_code == 403
    narrow = caller_of("AGENCY_ADMIN", admin.agency_id, ("exports:write", "units:read", "jobs:read"))
    assert narrow.post("/exports/tenants", {"format": "csv"}).status_code == 403
    assert narrow.post("/exports/units", {"format": "csv"}).status_code == 202
    assert (
        caller_of("ACCOUNTANT", admin.agency_id).post("/exports/payments", {"format": "csv"}).status_code
        == 202
    )


def test_the_answer_is_the_job_and_a_key_makes_it_once(admin):
    first = admin.post("/exports/payments", {"format": "csv"}, Idempotency_Key="november")
    again = admin.post("/exports/payments", {"format": "csv"}, Idempotency_Key="november")
    job = first.get_json()
    assert first.status_code == 202
    assert first.headers["Location"] == f"/api/v1/jobs/exports/{job['id']}"
    assert (job["kind"], job["queue"]) == ("export", "exports")
    assert again.get_json()["id"] == job["id"]


def test_the_result_has_a_link_that_works_and_a_name_people_know(at_app, busy, client):
    path = exported(at_app, busy, "payments", "csv")
    job = busy.get("/jobs/history?queue=exports").get_json()["data"][0]
    result = job["result"]

    assert job["progress"] == {"done": 2, "total": 2, "percent": 100, "message": result["filename"]}
    assert re.fullmatch(
        rf"makao-{busy.agency_id.hex}-payments-\d{{4}}-\d\d-\d\d-\d{{4}}\.csv", result["filename"]
    )
    assert result["rows"] == 2
    answer = client.get(result["url"])
    assert answer.data == path.read_bytes()
    assert answer.headers["ETag"] == f'"{result["sha256"]}"'
    assert [one["filename"] for one in busy.get("/exports").get_json()["data"]] == [result["filename"]]


def test_whoever_asked_is_told_once(at_app, engine, app, admin):
    token = admin.client.post(
        "/api/v1/auth/login", json={"email": admin.email, "password": "mvua inanyesha leo"}
    ).get_json()["access_token"]
    admin.token = token
    exported(at_app, admin, "tenants", "csv")
    with tenant_session(engine, admin.agency_id) as session:
        mails = session.execute(select(Notification)).scalars().all()
    assert [(mail.recipient, mail.kind) for mail in mails] == [(admin.email, "EXPORT_READY")]
    assert "/api/v1/exports/download/" in mails[0].body


def test_a_job_that_runs_again_after_its_worker_died_leaves_one_file(at_app, engine, busy):
    path = exported(at_app, busy, "payments", "csv")
    with tenant_session(engine, busy.agency_id) as session:
        (row,) = session.execute(select(ExportFile)).scalars()
        from haven.operations.models import Job

        session.execute(
            update(Job).where(Job.id == row.job_id).values(status="QUEUED", finished_at=None, attempts=0)
        )
        job_id = row.job_id

    job = at_app.run(busy.agency_id, job_id)

    assert job.status == "SUCCEEDED", job.error
    assert [one for one in at_app.files() if str(busy.agency_id) in str(one)] == [path]
    with tenant_session(engine, busy.agency_id) as session:
        assert len(session.execute(select(ExportFile)).scalars().all()) == 1
        assert session.execute(select(Tenant.id)).first() is not None


def test_each_line_of_ndjson_is_json(at_app, engine, admin):
    for text in ODD:
        a_tenant(engine, admin.agency_id, full_name=text)
    lines = exported(at_app, admin, "tenants", "ndjson").read_bytes().split(b"\n")
    assert lines[-1] == b""
    assert sorted(json.loads(line)["full_name"] for line in lines[:-1]) == sorted(ODD)


def test_a_sheet_ends_before_it_is_more_than_a_plain_zip_holds(at_app, busy, monkeypatch):
    monkeypatch.setattr("haven.insight.exports.xlsx._MAX_BYTES", 1_000)
    monkeypatch.setattr("haven.insight.exports.sink._BUFFER", 100)
    path = exported(at_app, busy, "payments", "xlsx")
    assert [len(sheet) for sheet in sheets_of(path)] == [1, 1]
    same(listed(busy, "payments"), rows_of(path))


def test_the_process_that_writes_parquet_ends_by_what_it_did(tmp_path):
    from haven.insight.exports import arrow_writer

    def ended(out: str, row: bytes) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-I", arrow_writer.__file__, out, '[["n", "int64"]]'],
            input=row,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stderr.decode().strip().rpartition("\n")[2]

    assert [ended(str(tmp_path / "a.parquet"), b"1\n") for _ in range(3)] == [(0, "")] * 3
    assert ended("/dev/full", b"1\n") == (2, str(errno.ENOSPC))
    code, words = ended(str(tmp_path / "b.parquet"), b"x\n")
    assert code == 1
    assert "ArrowInvalid" in words
