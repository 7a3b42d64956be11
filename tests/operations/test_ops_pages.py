"""``/ops``: an operator's browser signs in, and only a page of this site changes a queue."""

from __future__ import annotations

import pytest

from config import load_settings
from haven.app import create_app
from haven.operations.ops_pages import COOKIE
from tests.api.conftest import PASSWORD, caller_of

__all__ = ["caller_of"]
OURS = {"Sec-Fetch-Site": "same-origin"}


def _sign_in(by, **headers):
    by.client = by.client.application.test_client()
    return by.client.post(
        "/ops/sign-in", data={"email": by.email, "password": PASSWORD}, headers={**OURS, **headers}
    )


@pytest.fixture
def operator(caller_of):
    by = caller_of("PLATFORM_ADMIN")
    answer = _sign_in(by)
    assert answer.status_code == 303, answer.text
    cookie = answer.headers["Set-Cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Path=/ops"))
    return by


def test_without_a_sign_in_the_browser_is_sent_to_the_form(client):
    answer = client.get("/ops/queues/")
    assert (answer.status_code, answer.location) == (303, "/ops/sign-in")
    assert "password" in client.get("/ops/sign-in").text
    assert client.post("/ops/queues/queue/exports/queued/empty", headers=OURS).status_code == 401


def test_the_picture_that_a_browser_asks_for_is_there(client):
    answer = client.get("/favicon.ico")
    assert (answer.status_code, answer.mimetype) == (200, "image/svg+xml")
    assert "max-age" in answer.headers["Cache-Control"]


def test_nobody_but_an_operator_gets_in(caller_of):
    answer = _sign_in(caller_of())
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers
    wrong = caller_of("PLATFORM_ADMIN")
    wrong.email = "nobody@makao.test"
    assert _sign_in(wrong).status_code == 401


def test_the_cookie_is_secure_over_https(caller_of):
    by = caller_of("PLATFORM_ADMIN")
    answer = by.client.post(
        "/ops/sign-in",
        data={"email": by.email, "password": PASSWORD},
        headers=OURS,
        base_url="https://haven.test",
    )
    assert "Secure" in answer.headers["Set-Cookie"]


def test_an_operator_sees_the_queues_and_nothing_comes_from_outside(operator):
    page = operator.client.get("/ops/queues/")
    assert page.status_code == 200
    assert "Queues" in page.text
    assert "/ops/queues/static/" in page.text
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
    assert operator.client.get("/ops/queues/0/data/queues.json").status_code == 200
    assert operator.client.get("/ops/queues/static/css/main.css").status_code == 200
    assert operator.client.get("/ops/queues/0/view/job/nothing").status_code == 404
    assert operator.client.get("/ops/queues/1/data/queues.json").status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
    ],
)
def test_another_site_changes_nothing(operator, headers):
    for path in ("/ops/queues/queue/exports/queued/empty", "/ops/queues/requeue/exports", "/ops/sign-out"):
        assert operator.client.post(path, headers=headers).status_code == 403
    assert operator.client.get("/ops/queues/requeue/exports", headers=headers).status_code == 403


def test_a_page_of_this_site_does(operator):
    path = "/ops/queues/queue/exports/failed/empty"
    assert operator.client.post(path, headers=OURS).get_json() == {"status": "OK"}
    assert operator.client.post(path, headers={"Origin": "http://localhost"}).status_code == 200


def test_requeueing_is_no_get(operator):
    assert operator.client.get("/ops/queues/requeue/exports", headers=OURS).status_code == 403


def test_signing_out_ends_the_sign_in_itself(operator):
    cookie = operator.client.get_cookie(COOKIE, path="/ops").value
    assert operator.client.post("/ops/sign-out", headers=OURS).status_code == 303
    operator.client.set_cookie(COOKIE, cookie, path="/ops")
    assert operator.client.get("/ops/queues/").status_code == 303


@pytest.mark.parametrize("which", ["REDIS_URL", "JOB_QUEUE_REDIS_URL"])
def test_a_dead_redis_is_said_so(operator, environ, which):
    dead = load_settings({**environ, which: "redis://127.0.0.1:1/0", "REDIS_TIMEOUT": "200"})
    cookie = operator.client.get_cookie(COOKIE, path="/ops").value
    client = create_app(dead).test_client()
    client.set_cookie(COOKIE, cookie, path="/ops")
    answer = client.get("/ops/queues/0/data/workers.json")
    assert answer.status_code == 503
    assert "no job is lost" in answer.text
