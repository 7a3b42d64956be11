"""Signing in and out: rotation, theft, lock-out, and Redis that forgets or is away."""

from __future__ import annotations

import dataclasses

import pytest
import redis
from sqlalchemy import text

from haven.app import create_app
from haven.db.session import tenant_session
from haven.identity.permissions import ROLES
from haven.identity.permissions_page import page
from tests.api.conftest import PASSWORD, make_user
from tests.api.operations import operations


def log_in(client, email, password=PASSWORD, address="10.0.0.1"):
    return client.post(
        "/api/v1/auth/login",
        json={"email": email, "password": password},
        environ_base={"REMOTE_ADDR": address},
    )


def me(client, token):
    return client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})


def refresh(client, token):
    return client.post("/api/v1/auth/refresh", json={"refresh_token": token})


@pytest.fixture
def tokens(client, admin):
    return log_in(client, admin.email).get_json()


def test_a_sign_in_gives_tokens_and_the_user(client, admin):
    answer = log_in(client, admin.email.upper())
    assert answer.status_code == 200
    shown = answer.get_json()
    assert shown.keys() == {"access_token", "refresh_token", "token_type", "expires_in", "user"}
    assert (shown["token_type"], shown["expires_in"]) == ("Bearer", 3600)
    assert shown["user"]["agency_id"] == str(admin.agency_id)
    assert me(client, shown["access_token"]).get_json()["email"] == admin.email


def test_a_wrong_password_and_an_unknown_address_are_answered_alike(client, admin):
    wrong = log_in(client, admin.email, "not the password")
    unknown = log_in(client, "nobody@nowhere.test")
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.get_json()["detail"] == unknown.get_json()["detail"]


def test_a_refresh_gives_new_tokens_and_ends_the_old_access_token(client, tokens):
    renewed = refresh(client, tokens["refresh_token"]).get_json()
    assert me(client, renewed["access_token"]).status_code == 200
    assert me(client, tokens["access_token"]).status_code == 401


def test_a_refresh_token_that_comes_twice_ends_the_session(client, tokens):
    renewed = refresh(client, tokens["refresh_token"]).get_json()
    assert me(client, renewed["access_token"]).status_code == 200
    assert refresh(client, tokens["refresh_token"]).status_code == 401
    assert me(client, renewed["access_token"]).status_code == 401
    assert refresh(client, renewed["refresh_token"]).status_code == 401


def test_signing_out_ends_the_session_at_once(client, tokens):
    assert me(client, tokens["access_token"]).status_code == 200
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert client.post("/api/v1/auth/logout", headers=headers).status_code == 204
    assert me(client, tokens["access_token"]).status_code == 401
    assert refresh(client, tokens["refresh_token"]).status_code == 401


def test_a_new_password_ends_the_other_sessions(client, admin, tokens):
    other = log_in(client, admin.email).get_json()
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    body = {"current_password": PASSWORD, "new_password": "jua linawaka leo"}
    assert client.post("/api/v1/auth/password", json=body, headers=headers).status_code == 204
    assert me(client, tokens["access_token"]).status_code == 200
    assert me(client, other["access_token"]).status_code == 401
    assert log_in(client, admin.email).status_code == 401
    assert log_in(client, admin.email, "jua linawaka leo").status_code == 200


def test_one_sees_and_ends_ones_own_sessions(client, admin, tokens):
    other = log_in(client, admin.email).get_json()
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    listed = client.get("/api/v1/auth/sessions", headers=headers).get_json()["data"]
    assert len(listed) == 2
    assert client.delete("/api/v1/auth/sessions", headers=headers).status_code == 204
    assert me(client, other["access_token"]).status_code == 401
    assert me(client, tokens["access_token"]).status_code == 200


def test_a_disabled_user_is_out_at_once_though_redis_knew_him(app, client, admin, engine):
    user_id, email = make_user(app, engine, admin.agency_id, "VIEWER")
    token = log_in(client, email).get_json()["access_token"]
    assert me(client, token).status_code == 200
    assert admin.patch(f"/users/{user_id}", {"status": "DISABLED"}).status_code == 200
    assert me(client, token).status_code == 401
    assert log_in(client, email).status_code == 401


def test_a_new_role_is_in_force_with_the_next_request(app, client, admin, engine):
    user_id, email = make_user(app, engine, admin.agency_id, "VIEWER")
    token = log_in(client, email).get_json()["access_token"]
    assert "owners:write" not in me(client, token).get_json()["permissions"]
    assert admin.patch(f"/users/{user_id}", {"role": "MANAGER"}).status_code == 200
    assert "owners:write" in me(client, token).get_json()["permissions"]


def test_the_last_administrator_stays(admin):
    assert admin.delete(f"/users/{admin.user_id}").status_code == 409
    assert admin.patch(f"/users/{admin.user_id}", {"role": "VIEWER"}).status_code == 409
    assert admin.patch(f"/users/{admin.user_id}", {"status": "DISABLED"}).status_code == 409


@pytest.mark.req("S2")
def test_a_flushed_redis_signs_nobody_out(client, tokens, redis_url):
    assert me(client, tokens["access_token"]).status_code == 200
    redis.Redis.from_url(redis_url).flushdb()
    assert me(client, tokens["access_token"]).status_code == 200


def test_a_dead_redis_is_not_noticed(settings, admin):
    app = create_app(dataclasses.replace(settings, redis_url="redis://127.0.0.1:1/0"))
    client = app.test_client()
    tokens = log_in(client, admin.email).get_json()
    assert me(client, tokens["access_token"]).status_code == 200
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert client.get("/api/v1/units", headers=headers).status_code == 200
    assert client.get("/ready").status_code == 200
    assert client.get("/health/detailed").get_json()["status"] == "degraded"
    assert client.post("/api/v1/auth/logout", headers=headers).status_code == 204
    assert me(client, tokens["access_token"]).status_code == 401


def test_whoever_guesses_locks_himself_out_and_nobody_else(client, admin, settings):
    for _ in range(settings.sign_in_max_failures):
        assert log_in(client, admin.email, "a guess", "203.0.113.9").status_code == 401
    locked = log_in(client, admin.email, PASSWORD, "203.0.113.9")
    assert locked.status_code == 429
    assert 1 <= int(locked.headers["Retry-After"]) <= settings.sign_in_lock_seconds + 1
    assert log_in(client, admin.email, PASSWORD, "10.0.0.2").status_code == 200


def test_no_token_and_no_password_is_stored_as_it_is(
    client, admin, tokens, superuser_url, database_name, engine
):
    with tenant_session(engine, admin.agency_id) as session:
        for table in ("sign_in_session", "refresh_token", "api_key", "user_account", "audit_entry"):
            rows = session.execute(text(f"SELECT t::text FROM {table} t")).scalars().all()
            assert rows or table == "audit_entry"
            for row in rows:
                for secret in (tokens["access_token"], tokens["refresh_token"], admin.token, PASSWORD):
                    assert secret not in row
        stored = session.execute(text("SELECT password_hash FROM user_account")).scalars().all()[0]
        assert stored.startswith("$argon2id$")


def test_an_api_key_does_what_its_scopes_allow_and_ends_when_it_is_revoked(admin):
    made = admin.made("/api-keys", name="reader", scopes=["units:read"])
    reader = dataclasses.replace(admin, token=made["secret"])
    assert reader.get("/units").status_code == 200
    assert reader.get("/owners").status_code == 403
    assert "secret" not in admin.get(f"/api-keys/{made['id']}").get_json()
    assert admin.delete(f"/api-keys/{made['id']}").status_code == 204
    assert reader.get("/units").status_code == 401


def test_an_api_key_gives_no_more_than_its_maker_has(caller_of):
    manager = caller_of("MANAGER")
    assert manager.post("/api-keys", {"name": "more", "scopes": ["users:write"]}).status_code == 403


def test_an_operator_makes_an_agency_and_its_first_administrator(caller_of, client):
    operator = caller_of("PLATFORM_ADMIN")
    slug = f"nyumba-{operator.user_id.hex}"
    agency = operator.made("/agencies", name="Nyumba Njema", slug=slug)
    body = {"email": f"{slug}@makao.test", "full_name": "Njeri", "role": "AGENCY_ADMIN", "password": PASSWORD}
    answer = operator.post("/users", {**body, "agency_id": agency["id"]})
    assert answer.status_code == 201, answer.get_json()
    signed_in = log_in(client, body["email"]).get_json()
    assert signed_in["user"]["agency_id"] == agency["id"]
    assert operator.get("/units").status_code == 403


@pytest.mark.parametrize("role", ROLES)
def test_a_role_gets_403_exactly_where_the_table_says(caller_of, role):
    by = caller_of(role)
    checked = 0
    for operation in operations():
        if operation.permission is None or operation.parameters():
            continue
        answer = by(operation.method, operation.path, {} if operation.method != "GET" else None)
        assert (answer.status_code == 403) == (operation.permission not in ROLES[role]), str(operation)
        checked += 1
    assert checked > 20


def test_the_page_of_permissions_is_up_to_date(checkout):
    assert (checkout / "docs/permissions.md").read_text() == page()
