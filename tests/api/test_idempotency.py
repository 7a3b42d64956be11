"""``Idempotency-Key``: one effect for each key, whatever comes twice, at once, late or in between."""

from __future__ import annotations

import dataclasses
import datetime as dt
import threading
from collections import Counter

import pytest
from sqlalchemy import text, update

from haven.db.session import tenant_session
from haven.identity.models import IdempotencyKey
from tests.api.conftest import let_a_flat

BODY = {"full_name": "Achieng Otieno"}


def _owners(admin) -> int:
    return int(admin.get("/owners?include_total=true").get_json()["pagination"]["total"])


def test_the_same_request_again_has_the_first_answer_to_the_byte(admin):
    first, again = (admin.post("/owners", BODY, Idempotency_Key="owner-1") for _ in range(2))
    assert again.status_code == first.status_code == 201
    assert again.data == first.data
    for name in ("Location", "ETag", "Content-Type"):
        assert again.headers[name] == first.headers[name]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert _owners(admin) == 1


def test_the_same_key_with_another_body_or_another_path_is_refused(admin):
    admin.post("/owners", BODY, Idempotency_Key="owner-1")
    for path, body in (("/owners", {"full_name": "Otieno"}), ("/tenants", BODY)):
        answer = admin.post(path, body, Idempotency_Key="owner-1")
        assert answer.status_code == 422
        assert answer.get_json()["errors"][0]["pointer"] == "Idempotency-Key"
    assert _owners(admin) == 1


def test_a_request_that_was_refused_may_be_mended_under_its_key(admin):
    assert admin.post("/owners", {}, Idempotency_Key="owner-1").status_code == 422
    assert admin.post("/owners", BODY, Idempotency_Key="owner-1").status_code == 201


def test_a_key_is_forgotten_after_its_day(admin, engine, settings):
    admin.post("/owners", BODY, Idempotency_Key="owner-1")
    past = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=settings.idempotency_ttl + 1)
    with tenant_session(engine, admin.agency_id) as session:
        session.execute(update(IdempotencyKey).values(created_at=past))
    answer = admin.post("/owners", BODY, Idempotency_Key="owner-1")
    assert answer.status_code == 201
    assert "Idempotency-Replayed" not in answer.headers
    assert _owners(admin) == 2


def test_of_many_at_once_one_takes_effect(admin, app):
    flat = let_a_flat(admin)
    body = {"lease_id": flat.lease["id"], "amount": "100.00", "method": "CASH"}
    answers: list[int] = []

    def pay() -> None:
        caller = dataclasses.replace(admin, client=app.test_client())
        answers.append(caller.post("/payments", body, Idempotency_Key="rent-november").status_code)

    at_once = [threading.Thread(target=pay) for _ in range(8)]
    for one in at_once:
        one.start()
    for one in at_once:
        one.join()

    assert set(answers) <= {201, 409}
    assert Counter(answers)[201] >= 1
    assert admin.get("/payments?include_total=true").get_json()["pagination"]["total"] == 1


def test_while_the_first_is_running_the_second_is_told_to_come_back(admin, app, engine):
    """The first one's transaction is held open by a lock on the row that it needs."""
    flat = let_a_flat(admin)
    body = {"lease_id": flat.lease["id"], "amount": "100.00", "method": "CASH"}
    answers: list[int] = []

    def pay() -> None:
        caller = dataclasses.replace(admin, client=app.test_client())
        answers.append(caller.post("/payments", body, Idempotency_Key="rent-november").status_code)

    with tenant_session(engine, admin.agency_id) as session:
        session.execute(text("SELECT 1 FROM lease FOR UPDATE"))
        first = threading.Thread(target=pay)
        first.start()
        _wait_until_somebody_waits_for(session)
        second = admin.post("/payments", body, Idempotency_Key="rent-november")
    first.join()

    assert second.status_code == 409
    assert second.headers["Retry-After"] == "1"
    assert answers == [201]
    assert admin.post("/payments", body, Idempotency_Key="rent-november").headers["Idempotency-Replayed"]


def _wait_until_somebody_waits_for(session) -> None:
    """Until another connection waits for a lock of this session's."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    )
    for _ in range(500):
        if session.execute(waiting).scalar_one():
            return
        session.execute(text("SELECT pg_sleep(0.02), pg_stat_clear_snapshot()"))
    raise AssertionError("the first request never came to the locked row")


@pytest.mark.parametrize("key", ["", "with a space", "x" * 256, "żółć"])
def test_a_key_that_is_none_is_refused(admin, key):
    answer = admin.post("/owners", BODY, Idempotency_Key=key)
    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["pointer"] == "Idempotency-Key"
