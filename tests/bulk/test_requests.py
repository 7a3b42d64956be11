"""Many rows in one request: at once or as a job, all or what is good, once."""

from __future__ import annotations

import dataclasses
import io
import json
import uuid

import orjson
import pytest
from sqlalchemy import func, select

from haven.app import create_app
from haven.bulk.models import BulkPiece
from haven.db.session import tenant_session
from haven.leasing.models import Tenant
from haven.operations import jobs
from haven.operations.models import Job
from tests.api.conftest import let_a_flat
from workers.runner import run_job

NDJSON = "application/x-ndjson"


def lines(rows):
    return b"\n".join(orjson.dumps(row) for row in rows)


def names(count, bad=()):
    return lines({"full_name": "" if n in bad else f"Tenant {n}"} for n in range(1, count + 1))


def count_of(engine, by, model=Tenant):
    with tenant_session(engine, by.agency_id) as session:
        return session.execute(select(func.count()).select_from(model)).scalar_one()


def run(runtime, by, answer):
    assert answer.status_code == 202, answer.get_json()
    job = answer.get_json()
    assert job["queue"] == "maintenance"
    status = run_job(runtime, by.agency_id, uuid.UUID(job["id"]))
    return status, by.get(f"/jobs/{job['queue']}/{job['id']}").get_json()["result"]


def test_rows_are_made_changed_and_removed(by, send):
    made = by.post(
        "/tenants/bulk", [{"full_name": "Achieng", "phone": "0712345678"}, {"full_name": "Otieno"}]
    )
    assert made.status_code == 200
    assert by.get("/tenants").get_json()["data"][0]["status"] == "PROSPECT"
    first, second = made.get_json()["ids"]
    patch = [{"id": first, "phone": None, "version": 1}, {"id": second, "email": "o@makao.test"}]
    assert by.patch("/tenants/bulk", patch).get_json()["succeeded"] == 2
    assert by.get(f"/tenants/{first}").get_json()["phone"] is None
    assert by.get(f"/tenants/{second}").get_json()["version"] == 2
    stale = by.patch("/tenants/bulk", [{"id": first, "version": 1, "full_name": "x"}])
    assert stale.status_code == 422
    assert stale.get_json()["errors"][0]["column"] == "version"
    assert by.delete("/tenants/bulk").status_code == 415
    gone = send("tenants", lines([{"id": first}, {"id": second}]), method="DELETE", content_type=NDJSON)
    assert gone.get_json()["succeeded"] == 2
    assert by.get("/tenants").get_json()["data"] == []


def test_all_or_nothing_and_what_is_good(by, send, engine):
    refused = send("tenants", names(10, bad=(4, 7)), content_type=NDJSON)
    assert refused.status_code == 422
    assert [one["row"] for one in refused.get_json()["errors"]] == [4, 7]
    assert count_of(engine, by) == 0
    partial = send("tenants", names(10, bad=(4, 7)), "?mode=partial", content_type=NDJSON).get_json()
    assert (partial["succeeded"], partial["failed"], len(partial["ids"])) == (8, 2, 8)
    assert count_of(engine, by) == 8


def test_a_trial_says_what_would_come_of_it_and_changes_nothing(by, send, engine):
    answer = send("tenants", names(3, bad=(2,)), "?dry_run=true", content_type=NDJSON).get_json()
    assert (answer["applied"], answer["succeeded"], answer["failed"], answer["ids"]) == (False, 2, 1, [])
    assert count_of(engine, by) == 0


def test_a_clash_with_what_is_there_and_within_the_file_is_told_of_its_row(by, send):
    by.made("/properties", name="Umoja", code="UH1", kind="HOUSE")
    rows = [{"name": "x", "code": code, "kind": "HOUSE"} for code in ("UH2", "UH1", "UH2")]
    rows.append(rows[0] | {"code": "UH3", "owner_id": str(uuid.uuid4())})
    found = send("properties", lines(rows), content_type=NDJSON).get_json()["errors"]
    assert [(one["row"], one["column"]) for one in found] == [(2, "code"), (3, "code"), (4, "owner_id")]


@pytest.mark.parametrize("query", ["?mode=maybe", "?dry_run=1", "?limit=3"])
def test_an_unknown_parameter_is_refused(send, query):
    assert send("tenants", b"Name\nAchieng\n", query).status_code == 422


def test_the_same_key_has_no_second_effect(by, send, engine):
    key = {"Idempotency-Key": "file-7"}
    first = send("tenants", b"Name\nAchieng\n", **key)
    again = send("tenants", b"Name\nAchieng\n", **key)
    assert first.get_json() == again.get_json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert send("tenants", b"Name\nOtieno\n", **key).status_code == 422
    assert count_of(engine, by) == 1


def test_a_list_shows_copied_rows_at_once(by, send, settled_cache):
    for count in (1, 2, 3):
        send("tenants", b"Name\nAchieng\n")
        assert len(by.get("/tenants").get_json()["data"]) == count


def test_copied_rows_are_in_the_audit_trail_as_single_ones_are(by, send):
    single = by.made("/tenants", full_name="Achieng", phone="0712345678")
    copied = send("tenants", b"Name,Phone\nAchieng,0712345678\n").get_json()["ids"][0]
    entries = {one["entity_id"]: one for one in by.get("/audit?entity=tenant").get_json()["data"]}
    assert set(entries) == {single["id"], copied}
    for name in ("actor", "action", "entity"):
        assert entries[copied][name] == entries[single["id"]][name]
    alone, in_bulk = (entries[each]["changes"] for each in (single["id"], copied))
    its_own = {"id", "created_at", "updated_at"}
    assert set(in_bulk) == set(alone)
    assert {name: in_bulk[name] for name in set(in_bulk) - its_own} == {
        name: alone[name] for name in set(alone) - its_own
    }
    assert entries[copied]["actor"].startswith(("user:", "key:"))


def test_payments_pay_invoices_and_are_posted(by, engine, send):
    flat = let_a_flat(by)
    rows = [{"lease_id": flat.lease["id"], "amount": "100.00", "method": "CASH"}] * 3
    assert by.post("/payments/bulk", rows).get_json()["succeeded"] == 3
    balance = by.get(f"/tenants/{flat.tenant['id']}").get_json()["balance"]
    assert balance == "-300.00"
    assert by("DELETE", "/payments/bulk", rows).status_code in (404, 405)


def test_another_agencys_rows_are_not_there(by, caller_of):
    theirs = caller_of().made("/tenants", full_name="Achieng")
    answer = by.patch("/tenants/bulk", [{"id": theirs["id"], "full_name": "x"}])
    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["column"] == "id"


def test_who_may_only_read_may_not_send_rows(caller_of):
    assert caller_of("VIEWER").post("/tenants/bulk", [{"full_name": "x"}]).status_code == 403


def test_more_rows_than_a_thousand_are_a_job(by, send, engine, runtime):
    status, result = run(runtime, by, send("tenants", names(2500), content_type=NDJSON))
    assert status == "SUCCEEDED"
    assert (result["applied"], result["rows"], result["succeeded"], result["failed"]) == (True, 2500, 2500, 0)
    assert count_of(engine, by) == 2500
    assert count_of(engine, by, BulkPiece) == 0


def test_a_job_of_all_or_nothing_changes_nothing_where_a_row_is_wrong(by, send, engine, runtime):
    status, result = run(runtime, by, send("tenants", names(2500, bad=(2400,)), content_type=NDJSON))
    assert (status, result["applied"], result["failed"]) == ("SUCCEEDED", False, 1)
    assert [one["row"] for one in result["errors"]] == [2400]
    assert count_of(engine, by) == 0


class Killed(BaseException):
    """The worker is gone, without a word."""


@pytest.mark.parametrize("mode, left", [("atomic", 0), ("partial", 300)])
def test_who_takes_over_from_a_dead_worker_makes_nothing_twice(
    by, send, engine, runtime, monkeypatch, mode, left
):
    answer = send(
        "tenants",
        names(1250, bad=(7, 555)) if mode == "partial" else names(1250),
        f"?mode={mode}",
        content_type=NDJSON,
    )
    job_id = uuid.UUID(answer.get_json()["id"])
    say = jobs.JobContext.progress

    def die(context, done, total=None, message=""):
        if done >= 300:
            raise Killed
        say(context, done, total, message)

    monkeypatch.setattr(jobs.JobContext, "progress", die)
    with pytest.raises(Killed):
        run_job(runtime, by.agency_id, job_id)
    monkeypatch.undo()
    assert count_of(engine, by) == max(0, left - 1)
    with tenant_session(engine, by.agency_id) as session:
        job = session.get_one(Job, (by.agency_id, job_id))
        job.lease_until = job.created_at
    assert run_job(runtime, by.agency_id, job_id) == "SUCCEEDED"
    good = 1248 if mode == "partial" else 1250
    assert count_of(engine, by) == good
    result = by.get(f"/jobs/maintenance/{job_id}").get_json()["result"]
    assert (result["rows"], result["succeeded"]) == (1250, good)


@pytest.mark.parametrize("mode, left", [("atomic", 0), ("partial", 300)])
def test_cancelling_undoes_a_whole_and_keeps_the_parts_that_are_done(
    by, send, engine, runtime, monkeypatch, mode, left
):
    answer = send("tenants", names(1250), f"?mode={mode}", content_type=NDJSON)

    def cancelled(context, done, total=None, message=""):
        if done >= 300:
            raise jobs.Cancelled

    monkeypatch.setattr(jobs.JobContext, "progress", cancelled)
    assert run_job(runtime, by.agency_id, uuid.UUID(answer.get_json()["id"])) == "CANCELLED"
    assert count_of(engine, by) == left


def test_a_body_over_its_limit_is_refused(by, send):
    large = json.dumps([{"full_name": "x" * 1000}] * 2000)
    assert send("tenants", large, content_type="application/json").status_code == 413
    assert send("tenants", lines([{"full_name": "x" * 150}] * 900), content_type=NDJSON).status_code == 200


@pytest.mark.parametrize("content_type", ["text/csv", NDJSON])
@pytest.mark.parametrize("is_told", [True, False])
def test_rows_over_bulk_max_bytes_are_refused(by, settings, engine, content_type, is_told):
    """Whether the length is told before, or found out while it is read."""
    client = create_app(dataclasses.replace(settings, bulk_max_bytes=1024)).test_client()
    body = b"full_name\n" + b"Achieng\n" * 200 if content_type == "text/csv" else names(200)
    length = {} if is_told else {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}
    answer = client.post(
        "/api/v1/tenants/bulk",
        input_stream=io.BytesIO(body),
        content_type=content_type,
        headers={"Authorization": f"Bearer {by.token}"},
        environ_overrides={"CONTENT_LENGTH": str(len(body))}
        if is_told
        else length | {"wsgi.input_terminated": True},
    )
    assert answer.status_code == 413
    assert answer.content_type == "application/problem+json"
    assert answer.get_json()["status"] == 413
    assert count_of(engine, by) == 0
