"""The rate limits of Haven: who is limited by what, and what an operator may change."""

from __future__ import annotations

import dataclasses
import time

import pytest
import redis
from click.testing import CliRunner

from haven.app import create_app
from haven.db.base import PLATFORM
from haven.db.session import tenant_session
from haven.operations import rate_limits
from haven.operations.commands import limits
from tests.api.conftest import PASSWORD, Caller
from tests.api.operations import assert_is_problem

PATH = "/monitoring/rate-limits"


@pytest.fixture
def limited_url(addresses, worker_number) -> str:
    """A Valkey database of its own: the other tests' limits stay as they are."""
    url = f"{addresses.redis_url}/{200 + worker_number}"
    redis.Redis.from_url(url).flushdb()
    return url


@pytest.fixture
def limited(settings, limited_url):
    """Haven with ten requests a minute."""
    return create_app(dataclasses.replace(settings, redis_url=limited_url, rate_limit_max_requests=10))


@pytest.fixture
def on(limited):
    """The same caller, of the limited application."""
    return lambda caller: dataclasses.replace(caller, client=limited.test_client())


@pytest.fixture(autouse=True)
def put_back(engine, app):
    """No override comes from another test or outlives its own: they are kept in the audit trail that all share."""
    # The other tests' application asks for overrides once, and shall not find ours.
    assert app.test_client().get("/docs").status_code == 200
    _put_back(engine)
    yield
    _put_back(engine)


def _put_back(engine) -> None:
    with tenant_session(engine, PLATFORM) as session:
        rate_limits.change(session, lambda _: None, dict.fromkeys(rate_limits.NAMES))


def signed_in(caller: Caller) -> Caller:
    answer = caller.client.post(
        "/api/v1/auth/login",
        json={"email": caller.email, "password": PASSWORD},
        environ_base={"REMOTE_ADDR": f"2001:db8::{caller.user_id.hex[:4]}"},
    )
    return dataclasses.replace(caller, token=answer.get_json()["access_token"])


def statuses(caller: Caller, times: int, path: str = "/owners") -> list[int]:
    return [caller.get(path).status_code for _ in range(times)]


@pytest.mark.req("R1", "R3")
def test_who_asks_too_often_is_refused_and_nobody_else(caller_of, on):
    one, other = on(caller_of("VIEWER")), on(caller_of("VIEWER"))
    assert statuses(one, 11) == [200] * 10 + [429]
    document = assert_is_problem(one.get("/owners"), 429)
    assert document["detail"].startswith("The limit `default` is 10 per 60 seconds: wait ")
    assert statuses(other, 1) == [200]


@pytest.mark.req("R2")
@pytest.mark.parametrize("role", ["PLATFORM_ADMIN", "AGENCY_ADMIN"])
def test_an_administrator_who_has_signed_in_is_exempt_and_his_key_is_not(caller_of, on, role):
    key = on(caller_of(role))
    assert statuses(signed_in(key), 15, "/auth/me") == [200] * 15
    assert statuses(key, 11, "/auth/me") == [200] * 10 + [429]


@pytest.mark.req("R2")
def test_without_the_bypass_an_administrator_is_limited(caller_of, settings, limited_url):
    app = create_app(
        dataclasses.replace(
            settings, redis_url=limited_url, rate_limit_max_requests=10, enable_admin_bypass=False
        )
    )
    admin = signed_in(dataclasses.replace(caller_of(), client=app.test_client()))
    assert statuses(admin, 11, "/auth/me") == [200] * 10 + [429]


@pytest.mark.req("R1")
def test_sign_in_is_limited_by_address_whoever_tries(limited):
    def log_in(address: str):
        return limited.test_client().post(
            "/api/v1/auth/login",
            json={"email": "nobody@makao.test", "password": "not the word"},
            environ_base={"REMOTE_ADDR": address},
        )

    answers = [log_in("203.0.113.1") for _ in range(2)]
    assert [one.status_code for one in answers] == [401, 429]
    assert answers[0].headers["RateLimit-Policy"] == '"login";q=1;w=60, "default";q=10;w=60'
    assert log_in("203.0.113.2").status_code == 401


@pytest.mark.req("R1")
def test_pushes_have_a_stricter_limit_than_other_writes(caller_of, on):
    admin = on(caller_of())
    push = admin.post("/payments/mpesa/stk-push", {})
    write = admin.post("/owners", {})
    assert '"payment_requests";q=1;' in push.headers["RateLimit-Policy"]
    assert '"writes";q=6;' in write.headers["RateLimit-Policy"]
    assert admin.post("/payments/mpesa/stk-push", {}).status_code == 429
    assert admin.post("/owners", {}).status_code == 422


def test_an_operator_changes_a_limit_and_the_audit_trail_says_so(caller_of, on):
    operator, viewer = signed_in(on(caller_of("PLATFORM_ADMIN"))), on(caller_of("VIEWER"))
    assert viewer.get("/owners").headers["X-RateLimit-Limit"] == "10"

    answer = operator.patch(PATH, {"default": "3 per minute"})

    assert answer.status_code == 200
    shown = {one["name"]: one for one in answer.get_json()["limits"]}
    assert shown["default"] == {
        "name": "default",
        "limit": "3 per 60 seconds",
        "setting": "10 per 60 seconds",
    }
    assert statuses(viewer, 3) == [200, 200, 429]
    entry = operator.get("/audit?entity=rate_limit&limit=1").get_json()["data"][0]
    assert entry["changes"] == {"default": [None, "3 per 60 seconds"]}
    assert entry["actor"] == f"user:{operator.user_id}"
    report = operator.get(PATH).get_json()
    (refused,) = report["most_refused"]
    assert refused.pop("caller").startswith("key:")
    assert refused == {"limit": "default", "refused": 1}

    operator.patch(PATH, {"default": None})
    assert viewer.get("/owners").headers["X-RateLimit-Limit"] == "10"


def test_what_an_operator_said_outlives_a_flushed_redis(caller_of, on, limited, limited_url):
    operator, viewer = signed_in(on(caller_of("PLATFORM_ADMIN"))), on(caller_of("VIEWER"))
    assert operator.patch(PATH, {"default": "3 per minute"}).status_code == 200
    redis.Redis.from_url(limited_url).flushdb()
    with limited.app_context():
        limited.extensions["rate_limiting"].control.sync(now=True)
    assert viewer.get("/owners").headers["X-RateLimit-Limit"] == "3"


def test_a_limit_that_cannot_be_put_in_force_is_not_written_down(caller_of, settings, engine):
    app = create_app(dataclasses.replace(settings, redis_url="redis://127.0.0.1:1/0"))
    operator = dataclasses.replace(caller_of("PLATFORM_ADMIN"), client=app.test_client())
    answer = operator.patch(PATH, {"writes": "7 per minute"})
    assert_is_problem(answer, 503)
    assert "Retry-After" in answer.headers
    with tenant_session(engine, PLATFORM) as session:
        assert "writes" not in rate_limits.overridden(session)


@pytest.mark.parametrize("rule", ["many", "0 per minute", "5 per 9999 hours", 5])
def test_what_is_no_rule_is_refused(caller_of, on, rule):
    operator = signed_in(on(caller_of("PLATFORM_ADMIN")))
    assert_is_problem(operator.patch(PATH, {"login": rule}), 422)
    assert_is_problem(operator.patch(PATH, {"nothing": "5 per minute"}), 422)


def test_an_agency_sees_and_changes_no_limits(caller_of, on):
    admin = signed_in(on(caller_of()))
    assert_is_problem(admin.get(PATH), 403)
    assert_is_problem(admin.patch(PATH, {"default": "9 per minute"}), 403)


def test_limits_are_shown_and_changed_from_a_terminal(environ, limited_url, caller_of, on):
    viewer = on(caller_of("VIEWER"))
    assert viewer.get("/owners").headers["X-RateLimit-Limit"] == "10"
    env = {**environ, "REDIS_URL": limited_url, "RATE_LIMIT_MAX_REQUESTS": "10"}

    changed = CliRunner().invoke(limits, ["default=4 per minute"], env=env)

    assert changed.exit_code == 0, changed.output
    assert "4 per 60 seconds" in changed.output
    deadline = time.monotonic() + 30
    while viewer.get("/owners").headers["X-RateLimit-Limit"] != "4":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert CliRunner().invoke(limits, ["nothing=4 per minute"], env=env).exit_code == 2
    assert CliRunner().invoke(limits, ["default=many"], env=env).exit_code == 1
