"""The operations page's polls: what they cost, who gets an answer, and what is shown right after an action."""

from __future__ import annotations

import dataclasses
import threading

import pytest

from haven.app import create_app
from haven.db.base import PLATFORM
from haven.operations.ops_answers import SEEN, Answers
from haven.operations.ops_pages import COOKIE
from tests.api.conftest import PASSWORD, caller_of, make_user
from tests.operations.test_ops_routes import NOW, OURS, operator, parts_of

__all__ = ["caller_of", "operator"]


@pytest.fixture
def polls(app):
    return app.extensions["haven_polls"]


@pytest.fixture
def second_process(app, settings, operator):
    """Another web process in which the same operator is signed in."""
    other = create_app(settings)
    client = other.test_client()
    client.set_cookie(COOKIE, operator.get_cookie(COOKIE, path="/ops").value, path="/ops")
    return client


def answers_of(client):
    return client.application.extensions["haven_ops"]


@pytest.fixture
def answers(app):
    """Those of this process, with nothing left by another test."""
    found = app.extensions["haven_ops"]
    found.acted()
    return found


def test_a_poll_that_has_nothing_to_compute_never_comes_to_flask(operator, polls, answers):
    first = operator.get(NOW)
    answered = polls.answered
    again = operator.get(NOW)
    assert polls.answered == answered + 1
    assert again.get_json() == first.get_json()
    for name in ("X-Content-Type-Options", "Content-Security-Policy", "Cache-Control", "X-Frame-Options"):
        assert again.headers[name] == first.headers[name], name
    assert again.headers["X-Request-ID"] != first.headers["X-Request-ID"]


def test_of_polls_the_log_says_which_were_slow_and_nothing_else(
    app, operator, polls, answers, caplog, monkeypatch
):
    operator.get(NOW)
    for slow_ms in (60_000, 0):
        monkeypatch.setattr(polls, "_slow_ms", slow_ms)
        answered = polls.answered
        answer = operator.get(NOW)
        assert polls.answered == answered + 1
        lines = [one.msg for one in caplog.records if one.name == "haven.request"][1:]
        assert len(lines) == (slow_ms == 0)
    (line,) = lines
    assert (line["event"], line["route"], line["status"]) == ("slow_request", "/ops/now", 200)
    assert (line["bytes"], line["request_id"]) == (len(answer.data), answer.headers["X-Request-ID"])
    assert line["caller"].startswith("user:")


def test_looking_at_the_numbers_does_not_change_them(operator, polls, answers):
    def counted():
        answers.acted()
        routes = parts_of(operator)["history"]["board"]["endpoints"]
        return sum(one["count"] for one in routes if one["route"] == "/ops/now")

    recorder = operator.application.extensions["monitoring"].recorder
    recorder.flush()
    before, answered = counted(), polls.answered
    for _ in range(20):
        operator.get(NOW)
    recorder.flush()
    many = polls.answered - answered
    assert many >= 10
    assert counted() - before <= 20 - many + 2


def test_what_the_page_has_is_not_sent_again(operator, answers):
    first = operator.get(NOW).get_json()
    tags = " ".join(part["tag"] for part in first.values())
    for _ in range(2):
        assert operator.get(NOW, headers={SEEN: tags}).get_json() == {}
    only = operator.get(NOW, headers={SEEN: first["live"]["tag"]}).get_json()
    assert only.keys() == {"state", "history"}


def test_one_process_computes_for_all(operator, second_process, answers):
    first = operator.get(NOW).get_json()
    assert second_process.get(NOW).get_json() == first
    assert second_process.get(NOW).get_json() == first
    assert second_process.application.extensions["haven_polls"].answered == 1


def test_an_action_shows_at_once_in_every_process(operator, second_process, answers):
    def silenced(client):
        return {one["fingerprint"] for one in parts_of(client)["state"]["silences"]}

    for client in (operator, second_process, operator, second_process):
        assert "slow_responses/of-polls" not in silenced(client)
    asked = {"fingerprint": "slow_responses/of-polls", "minutes": 1}
    assert operator.post("/ops/silences", json=asked, headers=OURS).status_code == 204
    for client in (second_process, operator, second_process, operator):
        assert "slow_responses/of-polls" in silenced(client)


def test_who_signs_out_gets_nothing_more_in_any_process(operator, second_process, polls, answers):
    for client in (operator, second_process) * 2:
        assert client.get(NOW).status_code == 200
    assert operator.post("/ops/sign-out", headers=OURS).status_code == 303
    assert second_process.get(NOW).status_code == 401


def test_an_operator_who_is_disabled_gets_nothing_more(app, engine, operator, caller_of, answers):
    chief = caller_of("PLATFORM_ADMIN")
    _, email = make_user(app, engine, PLATFORM, "PLATFORM_ADMIN")
    client = app.test_client()
    assert (
        client.post("/ops/sign-in", data={"email": email, "password": PASSWORD}, headers=OURS).status_code
        == 303
    )
    for _ in range(2):
        assert client.get(NOW).status_code == 200
    users = chief.get(f"/users?email={email}").get_json()["data"]
    user = next(one for one in users if one["email"] == email)
    changed = chief.patch(f"/users/{user['id']}", {"status": "DISABLED"}, If_Match=f'"{user["version"]}"')
    assert changed.status_code == 200, changed.get_json()
    assert client.get(NOW).status_code == 401


@pytest.mark.parametrize("cookie", ["", "nonsense", "hv_at_nonsense", "x" * 3000])
def test_a_cookie_that_is_no_sign_in_gets_nothing(app, operator, answers, cookie):
    assert operator.get(NOW).status_code == 200
    stranger = app.test_client()
    stranger.set_cookie(COOKIE, cookie, path="/ops")
    assert stranger.get(NOW).status_code == 401


def test_ten_tabs_use_up_nothing_of_what_their_operator_may_ask(settings, operator):
    few = dataclasses.replace(
        settings, rate_limit_max_requests=20, enable_admin_bypass=False, redis_url=settings.redis_url
    )
    for app in (create_app(few), create_app(dataclasses.replace(few, enable_cache=False))):
        client = app.test_client()
        client.set_cookie(COOKIE, operator.get_cookie(COOKIE, path="/ops").value, path="/ops")
        address = {"REMOTE_ADDR": "198.51.100.7"}
        for at in range(60):
            # Also where each has to be computed.
            answer = client.get(f"/ops/now?window={300 + at % 2}", environ_base=address)
            assert answer.status_code == 200, (at, answer.get_json())
        assert client.get("/ops/assets/app.js", environ_base=address).status_code == 200


def test_who_is_not_signed_in_is_counted_as_ever(settings):
    app = create_app(dataclasses.replace(settings, rate_limit_max_requests=20, enable_admin_bypass=False))
    client = app.test_client()
    address = {"REMOTE_ADDR": "198.51.100.8"}
    statuses = [client.get(NOW, environ_base=address).status_code for _ in range(25)]
    assert statuses[0] == 401
    assert statuses[-1] == 429


def test_polls_go_on_without_redis(settings, operator):
    dead = dataclasses.replace(settings, redis_url="redis://127.0.0.1:1/0", redis_timeout=200)
    client = create_app(dead).test_client()
    client.set_cookie(COOKIE, operator.get_cookie(COOKIE, path="/ops").value, path="/ops")
    for _ in range(2):
        parts = parts_of(client)
        assert parts["live"]["missing"] == ["other processes (Redis is away)"]
        assert parts["state"]["alerts"] is not None
        assert parts["history"]["charts"]["times"]


def test_the_numbers_go_on_without_postgresql(app, settings, operator, answers):
    """Its sign-in is in Redis; alerts are what cannot be told."""
    operator.get(NOW)
    url = settings.database_url.rpartition("@")[0] + "@127.0.0.1:1/nowhere"
    client = create_app(dataclasses.replace(settings, database_url=url)).test_client()
    client.set_cookie(COOKIE, operator.get_cookie(COOKIE, path="/ops").value, path="/ops")
    answers.acted()
    parts = parts_of(client, "window=299")
    assert parts["live"]["processes"] >= 1
    assert parts["state"]["alerts"] is None
    assert parts["state"]["queues"]
    assert parts["history"]["charts"]["times"]
    answers.acted()


def body(part):
    return part and part.body


def test_nobody_waits_while_another_computes(app):
    answers = Answers(app.extensions["haven"].redis)
    answers.acted()
    began, goes_on = threading.Event(), threading.Event()
    found = []

    def slow():
        began.set()
        assert goes_on.wait(20)
        return b"1"

    name = "of-a-test"
    thread = threading.Thread(target=lambda: found.append(answers.get(name, 30, slow)))
    thread.start()
    assert began.wait(20)
    other = Answers(app.extensions["haven"].redis)
    assert answers.get(name, 30, lambda: b"2") is None
    assert other.get(name, 30, lambda: b"2") is None
    goes_on.set()
    thread.join()
    assert body(found[0]) == b"1"
    assert body(other.get(name, 30, lambda: b"2")) == b"1"
    answers.acted()
    assert body(other.get(name, 30, lambda: b"3")) == b"3"


def test_what_was_computed_before_an_action_is_not_shown_after_it(app):
    answers = Answers(app.extensions["haven"].redis)
    other = Answers(app.extensions["haven"].redis)

    def interrupted():
        other.acted()
        return b"old"

    answers.get("of-another-test", 30, interrupted)
    assert body(other.get("of-another-test", 30, lambda: b"new")) == b"new"
    assert body(answers.get("of-another-test", 30, lambda: b"newer")) == b"new"


def test_a_computing_that_fails_is_done_by_the_next(app):
    answers = Answers(app.extensions["haven"].redis)
    answers.acted()
    with pytest.raises(ZeroDivisionError):
        answers.get("of-a-third-test", 30, lambda: bytes(1 // 0))
    assert body(answers.get("of-a-third-test", 30, lambda: b"1")) == b"1"
