"""``/reports`` as its callers see it: asked for, made by a worker, downloaded; never a stale one."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
from pathlib import Path

import pypdfium2
import pytest
from click.testing import CliRunner
from python_calamine import CalamineWorkbook
from sqlalchemy import text

from haven.cli import main
from haven.db.session import tenant_session
from haven.insight.reports.asking import KINDS
from haven.insight.reports.making import make
from tests.api.conftest import an_invoice, let_a_flat
from tests.exports.workbook_rules import broken

pytestmark = pytest.mark.usefixtures("settled_cache")

NOVEMBER = {"from": "2026-11-01", "to": "2026-11-30"}


@pytest.fixture
def flat(admin):
    made = let_a_flat(admin)
    an_invoice(admin, made.lease["id"])
    admin.made("/payments", lease_id=made.lease["id"], amount="10000.00", method="CASH")
    return made


def period():
    """From a month before today to today: the payment is of now."""
    today = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=1)
    return {"from": f"{today - dt.timedelta(days=60)}", "to": f"{today}"}


def filters_of(kind, flat):
    needed = {
        "owner-statement": ("owner_id", flat.property["owner_id"]),
        "tenant-statement": ("tenant_id", flat.tenant["id"]),
    }
    return dict([needed[kind]]) if kind in needed else {}


def ask(by, kind, **body):
    answer = by.post(f"/reports/{kind}", period() | body)
    assert answer.status_code == 202, answer.get_json()
    return answer.get_json()


def made(by, work, kind, **body):
    job = ask(by, kind, **body)
    assert work(by, job["id"]) == "SUCCEEDED"
    return by.get(f"/reports/{job['report_id']}").get_json()


def download(by, report):
    answer = by.client.get(report["url"])
    assert answer.status_code == 200
    return answer


@pytest.mark.req("J5")
@pytest.mark.parametrize("kind", KINDS)
def test_each_report_is_made_in_each_format(admin, flat, work, kind):
    filters = filters_of(kind, flat)
    shown = made(admin, work, kind, filters=filters)
    assert (shown["kind"], shown["status"], shown["format"]) == (kind, "SUCCEEDED", "json")
    figures = shown["figures"]
    assert figures["period"] == period()
    assert (figures["timezone"], figures["currency"]) == ("Africa/Nairobi", "KES")
    assert json.loads(download(admin, shown).data) == figures
    page = download(admin, made(admin, work, kind, format="pdf", filters=filters))
    assert page.content_type == "application/pdf"
    assert "Makao Letting" in pypdfium2.PdfDocument(page.data)[0].get_textpage().get_text_range()
    book = download(admin, made(admin, work, kind, format="xlsx", filters=filters))
    assert broken(io.BytesIO(book.data)) == []
    assert "Summary" in CalamineWorkbook.from_filelike(io.BytesIO(book.data)).sheet_names
    assert f"{kind}_" in book.headers["Content-Disposition"]


@pytest.mark.req("J5")
def test_the_answer_says_where_the_report_will_be(admin, flat, work):
    answer = admin.post("/reports/collections", period(), Idempotency_Key="november")
    job = answer.get_json()
    assert answer.headers["Location"] == f"/api/v1/reports/{job['report_id']}"
    before = admin.get(f"/reports/{job['report_id']}").get_json()
    assert (before["status"], before["url"], before["figures"]) == ("QUEUED", None, None)
    again = admin.post("/reports/collections", period(), Idempotency_Key="november")
    assert again.get_json()["report_id"] == job["report_id"]
    work(admin, job["id"])
    assert work(admin, job["id"]) == "SKIPPED"
    listed = admin.get("/reports?kind=collections").get_json()["data"]
    assert [one["id"] for one in listed] == [job["report_id"]]
    figures = admin.get(f"/reports/{job['report_id']}").get_json()["figures"]
    assert figures["totals"]["collected"] == "10000.00"


@pytest.mark.req("J5")
@pytest.mark.parametrize(
    "kind, body, status, pointer",
    [
        ("collections", {"from": "2026-11-30", "to": "2026-11-01"}, 422, "/from"),
        ("collections", {"from": "2199-01-01", "to": "2199-02-01"}, 422, "/from"),
        ("collections", {"from": "2020-01-01", "to": "2026-11-01"}, 422, "/to"),
        ("collections", {"from": "2026-11-01"}, 422, "/to"),
        ("collections", NOVEMBER | {"format": "docx"}, 422, "/format"),
        ("collections", NOVEMBER | {"filters": {"colour": "red"}}, 422, "/filters/colour"),
        ("collections", NOVEMBER | {"filters": {"property_id": "seven"}}, 422, "/filters/property_id"),
        ("owner-statement", NOVEMBER, 422, "/filters"),
        ("owner-statement", NOVEMBER | {"filters": {}}, 422, "/filters/owner_id"),
        ("tenant-statement", NOVEMBER | {"filters": {}}, 422, "/filters/tenant_id"),
        ("horoscope", NOVEMBER, 404, None),
    ],
)
def test_what_cannot_be_made_is_refused_by_field_and_rule(admin, kind, body, status, pointer):
    answer = admin.post(f"/reports/{kind}", body)
    assert answer.status_code == status
    if pointer is not None:
        assert [fault["pointer"] for fault in answer.get_json()["errors"]] == [pointer]


def test_a_filter_of_another_agency_fails_the_job_with_words(admin, caller_of, work):
    other = let_a_flat(caller_of())
    job = ask(admin, "owner-statement", filters={"owner_id": other.property["owner_id"]})
    assert work(admin, job["id"]) == "FAILED"
    shown = admin.get(f"/reports/{job['report_id']}").get_json()
    assert "There is no owner" in shown["error"]


@pytest.mark.req("J5")
def test_a_finished_report_is_handed_out_again_until_something_changes(admin, flat, work):
    first = ask(admin, "arrears")
    assert ask(admin, "arrears")["report_id"] != first["report_id"], (
        "an unfinished one may have begun before a write"
    )
    work(admin, first["id"])
    again = ask(admin, "arrears")
    assert (again["report_id"], again["status"]) == (first["report_id"], "SUCCEEDED")
    assert ask(admin, "arrears", format="xlsx")["report_id"] != first["report_id"]
    admin.made("/payments", lease_id=flat.lease["id"], amount="500.00", method="CASH")
    assert ask(admin, "arrears")["report_id"] != first["report_id"]


@pytest.mark.req("J5")
def test_a_cache_that_was_cleared_or_flushed_hands_out_nothing(admin, flat, work, runtime):
    first = ask(admin, "arrears")
    work(admin, first["id"])
    runtime.cache.clear_tags(str(admin.agency_id), ["payment"])
    second = ask(admin, "arrears")
    assert second["report_id"] != first["report_id"]


def test_a_report_made_while_something_changed_is_not_handed_out(admin, flat, work, monkeypatch):
    job = ask(admin, "collections")

    def slow(*args):
        document = make(*args)
        admin.made("/payments", lease_id=flat.lease["id"], amount="700.00", method="CASH")
        return document

    monkeypatch.setattr("haven.insight.reports.worker.make", slow)
    work(admin, job["id"])
    monkeypatch.undo()
    assert ask(admin, "collections")["report_id"] != job["report_id"]


@pytest.mark.req("J5")
def test_a_link_works_without_signing_in_and_not_when_it_is_changed_or_over(admin, flat, work, engine):
    shown = made(admin, work, "rent-roll", format="pdf")
    content = download(admin, shown)
    assert content.headers["ETag"] == f'"{hashlib.sha256(content.data).hexdigest()}"'
    # Not the last letter: not all of its bits count.
    path, letter = shown["url"][:-9], shown["url"][-9]
    other = f"{path}{'A' if letter != 'A' else 'B'}{shown['url'][-8:]}"
    assert admin.client.get(other).status_code == 403
    with tenant_session(engine, admin.agency_id) as session:
        session.execute(text("UPDATE report SET expires_at = now() - interval '1 minute'"))
    over = admin.get(f"/reports/{shown['id']}").get_json()["url"]
    assert admin.client.get(over).status_code == 403


@pytest.mark.req("J5")
def test_a_report_is_fetched_by_ranges_and_listed_with_the_exports(admin, flat, work):
    shown = made(admin, work, "rent-roll", format="pdf")
    whole = download(admin, shown).data
    part = admin.client.get(shown["url"], headers={"Range": "bytes=5-9"})
    assert (part.status_code, part.data) == (206, whole[5:10])
    (listed,) = admin.get("/exports?kind=report").get_json()["data"]
    assert (listed["filename"], listed["size_bytes"]) == (shown["filename"], len(whole))
    assert admin.client.get(listed["url"]).data == whole


@pytest.mark.req("J5")
def test_a_report_whose_file_is_gone_is_made_anew(admin, flat, work, settings):
    first = ask(admin, "arrears", format="xlsx")
    work(admin, first["id"])
    assert ask(admin, "arrears", format="xlsx")["report_id"] == first["report_id"]
    for path in (Path(settings.export_dir) / "files" / str(admin.agency_id)).rglob("*.xlsx"):
        path.unlink()
    shown = made(admin, work, "arrears", format="xlsx")
    assert shown["id"] != first["report_id"]
    assert download(admin, shown).data.startswith(b"PK")


def test_units_are_in_the_order_in_which_people_count_them(admin, flat, work):
    for label in ("A10", "A2", "A11", "B1-10", "B1-9", "007", "100200300400500"):
        admin.made("/units", property_id=flat.property["id"], label=label, rent_amount="1000.00")
    rows = made(admin, work, "rent-roll")["figures"]["tables"]["units"]["rows"]
    labels = [row["unit"] for row in rows]
    assert labels == ["007", "100200300400500", "A1", "A2", "A10", "A11", "B1-9", "B1-10"]


def test_who_may_make_and_read_reports(admin, flat, caller_of, work):
    viewer = caller_of("VIEWER", admin.agency_id)
    shown = made(admin, work, "rent-roll")
    assert viewer.get(f"/reports/{shown['id']}").status_code == 200
    assert viewer.post("/reports/rent-roll", period()).status_code == 403
    assert caller_of("ACCOUNTANT", admin.agency_id).post("/reports/rent-roll", period()).status_code == 202
    assert caller_of().get(f"/reports/{shown['id']}").status_code == 404


@pytest.mark.req("J5")
def test_the_terminal_makes_the_same(admin, flat, engine, database_url, tmp_path):
    with tenant_session(engine, admin.agency_id) as session:
        slug = session.execute(text("SELECT slug FROM agency")).scalar_one()
    days = period()
    arguments = ["report", "collections", "--from", days["from"], "--to", days["to"], "--url", database_url]
    out = tmp_path / "november.json"
    run = CliRunner().invoke(main, [*arguments, "--agency", slug, "--format", "json", "--out", str(out)])
    assert run.exit_code == 0, run.output
    assert json.loads(out.read_text())["totals"]["collected"] == "10000.00"
    assert list(tmp_path.iterdir()) == [out]
    wrong = CliRunner().invoke(
        main, ["report", "owner-statement", *arguments[2:], "--agency", slug, "--out", str(out)]
    )
    assert wrong.exit_code == 1
    assert "owner_id" in wrong.output
