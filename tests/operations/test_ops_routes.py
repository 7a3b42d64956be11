"""Who may see the operations page and act from it."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import text

from extensions import trace
from haven.db.base import PLATFORM
from haven.db.session import tenant_session
from haven.operations.alerts import WEBHOOK_DISABLED, raise_alert, resolve_alert
from haven.operations.jobs import job_session
from haven.payments import funnel
from tests.api.conftest import PASSWORD, caller_of
from tests.support.builders import an_agency

__all__ = ["caller_of"]
OURS = {"Sec-Fetch-Site": "same-origin"}
NOW = "/ops/now?window=300"


def parts_of(client, query="window=300", **headers):
    """The parts of the page, each without its tag."""
    answer = client.get(f"/ops/now?{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    return {name: part["is"] for name, part in answer.get_json().items()}


def signed_in(caller_of, role):
    by = caller_of(role)
    client = by.client
    answer = client.post("/ops/sign-in", data={"email": by.email, "password": PASSWORD}, headers=OURS)
    return client, answer


@pytest.fixture
def operator(caller_of):
    client, answer = signed_in(caller_of, "PLATFORM_ADMIN")
    assert answer.status_code == 303
    return client


def test_the_page_is_for_operators_who_have_signed_in(app, caller_of):
    client = app.test_client()
    assert client.get("/ops/").headers["Location"] == "/ops/sign-in"
    assert client.get(NOW).status_code == 401
    client, answer = signed_in(caller_of, "AGENCY_ADMIN")
    assert answer.status_code == 403
    assert client.get(NOW).status_code == 401


@pytest.mark.req("A1")
def test_its_answers_are_whole(operator):
    page = operator.get("/ops/")
    assert page.status_code == 200
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    parts = parts_of(operator)
    assert parts["live"].keys() >= {"per_second", "p95", "in_flight", "missing"}
    state = "queues workers pool breakers limits memory advice alerts silences"
    assert parts["state"].keys() == set(state.split())
    board, charts = parts["history"]["board"], parts["history"]["charts"]
    assert board.keys() >= set("endpoints statements slow_requests cache jobs payments missing".split())
    assert [one["step"] for one in board["payments"]["steps"]] == ["asked", "rung", "paid", "failed"]
    assert board["jobs"].keys() == {one["queue"] for one in parts["state"]["queues"]}
    assert {len(values) for values in charts["series"].values()} == {len(charts["times"])}


@pytest.mark.parametrize("span", [300, 3600, 86_400, 30 * 86_400 - 60])
def test_a_chart_has_no_more_points_than_a_screen(operator, span):
    until = 1_800_000_000
    found = operator.get(f"/ops/now?from={until - span}&to={until}")
    assert found.status_code == 422, "that is in the future"

    until = int(time.time())
    for query in (f"from={until - span}&to={until}", f"window={span}"):
        charts = parts_of(operator, query)["history"]["charts"]
        assert 10 <= len(charts["times"]) <= 401


@pytest.mark.parametrize(
    "query", ["window=1", "window=x", "window=99999999", "from=x&to=5", "from=1&to=99999999999"]
)
def test_a_wrong_window_is_named(operator, query):
    for _ in range(2):
        answer = operator.get(f"/ops/now?{query}")
        assert answer.status_code == 422
        assert answer.get_json()["errors"][0]["pointer"].lstrip("/") in ("window", "from", "to")


def test_files_are_asked_for_again_only_when_they_change(operator):
    first = operator.get("/ops/assets/app.js")
    assert first.content_type.startswith("text/javascript")
    again = operator.get("/ops/assets/app.js", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert operator.get("/ops/assets/page.html").status_code == 404
    assert operator.get("/ops/assets/..%2Fops_routes.py").status_code == 404


ACTS = (
    "/ops/alerts/019d137c-3380-7000-9936-5137ea84dd1a/acknowledge",
    "/ops/silences",
    "/ops/requeue/exports",
)


@pytest.mark.parametrize("path", ACTS)
def test_nobody_acts_from_another_site_or_unknown(app, operator, path):
    assert operator.post(path, json={}).status_code == 403
    assert operator.post(path, json={}, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert app.test_client().post(path, json={}, headers=OURS).status_code == 401


def test_what_an_operator_does(operator):
    assert operator.post("/ops/requeue/exports", json={}, headers=OURS).get_json().keys() == {"requeued"}
    assert operator.post("/ops/requeue/nowhere", json={}, headers=OURS).status_code == 404
    assert operator.post(ACTS[0], json={}, headers=OURS).status_code == 404
    for minutes in (0, "60", None):
        answer = operator.post(
            "/ops/silences", json={"fingerprint": "slow_responses", "minutes": minutes}, headers=OURS
        )
        assert answer.status_code == 422
    before = parts_of(operator)["state"]
    rule = "error_rate"
    made = operator.post("/ops/silences", json={"fingerprint": f"{rule}/x", "minutes": 5}, headers=OURS)
    assert made.status_code in (204, 422), made.get_json()
    if made.status_code == 204:
        after = parts_of(operator)["state"]
        assert len(after["silences"]) == len(before["silences"]) + 1


def test_what_becomes_of_payments_is_counted_once_it_is_committed(engine):
    agency_id = an_agency(engine)
    work = trace.begin()
    try:
        with tenant_session(engine, agency_id) as session:
            session.execute(text("SELECT 1"))
            funnel.count(session, funnel.ASKED)
            assert not [span for span in work.spans if span.kind == trace.EVENT]
        with tenant_session(engine, agency_id) as session:
            session.execute(text("SELECT 1"))
            funnel.count(session, funnel.PAID)
            session.rollback()
        assert [span.name for span in work.spans if span.kind == trace.EVENT] == ["payment:asked"]
    finally:
        work.is_over = True


def test_the_plan_of_a_statement_is_shown(app, operator, caller_of):
    by = caller_of()
    assert by.get("/owners", Cache_Control="no-cache").status_code == 200
    recorder = app.extensions["monitoring"].recorder
    recorder.flush()
    listing = next(
        one for one in recorder.statements.values() if "FROM owner ORDER BY owner.id DESC" in one.text
    )
    found = operator.get(f"/ops/plan/{listing.fingerprint}")
    assert found.status_code == 200, found.get_json()
    assert "owner" in str(found.get_json()["plan"])
    assert operator.get("/ops/plan/0123456789ab").status_code == 404


def test_an_alert_that_fires_is_taken_and_silenced(app, operator):
    runtime = app.extensions["haven"]
    with job_session(runtime, PLATFORM, "test") as session:
        raise_alert(session, WEBHOOK_DISABLED, "webhook:of-this-test")

    def shown():
        alerts = parts_of(operator)["state"]["alerts"]
        return next(one for one in alerts if one["labels"] == {"subject": "webhook:of-this-test"})

    app.extensions["haven_ops"].acted()
    alert = shown()
    assert (alert["state"], alert["acknowledged_by"]) == ("FIRING", None)
    path = f"/ops/alerts/{alert['id']}/acknowledge"
    assert operator.post(path, json={"note": "on it"}, headers=OURS).status_code == 204
    assert shown()["acknowledged_by"]
    assert operator.post(path, json={}, headers=OURS).status_code == 409
    asked = {"fingerprint": alert["fingerprint"], "minutes": 5, "reason": "known"}
    assert operator.post("/ops/silences", json=asked, headers=OURS).status_code == 204
    assert shown()["silenced_until"]
    with job_session(runtime, PLATFORM, "test") as session:
        resolve_alert(session, WEBHOOK_DISABLED, "webhook:of-this-test")
