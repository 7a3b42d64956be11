"""Whoever signs out while Redis is away is out when Redis is back."""

from __future__ import annotations

import dataclasses
import time

import pytest

from haven.app import create_app
from tests.api.conftest import PASSWORD
from tests.support.own_valkey import own_valkey


@pytest.mark.req("R6")
def test_a_sign_in_that_ended_while_redis_was_silent_is_not_believed_from_redis(
    settings, caller_of, tmp_path
):
    with own_valkey(tmp_path) as valkey:
        app = create_app(dataclasses.replace(settings, redis_url=valkey.url, redis_timeout=500))
        by = dataclasses.replace(caller_of(), client=app.test_client())
        by.token = by.client.post(
            "/api/v1/auth/login", json={"email": by.email, "password": PASSWORD}
        ).get_json()["access_token"]
        assert by.get("/auth/me").status_code == 200  # Redis has it now
        valkey.pause()
        assert by.post("/auth/logout").status_code == 204
        valkey.resume()
        client = app.extensions["haven"].redis
        deadline = time.monotonic() + 30
        while client.hold_off.is_away:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert client.keys("haven:sign-in:*")
        assert by.get("/auth/me").status_code == 401
