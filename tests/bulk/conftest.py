"""Somebody signed in, as the tests of the API have it."""

from __future__ import annotations

import pytest

from haven.runtime import Runtime
from tests.api.conftest import Caller, caller_of  # noqa: F401  a fixture
from tests.api.operations import signed_in


@pytest.fixture
def by(app, engine) -> Caller:
    return signed_in(app, engine)


@pytest.fixture
def runtime(settings, engine):
    return Runtime.start(settings, engine)


@pytest.fixture
def send(by):
    """Sends rows: ``send("tenants", "Name…")``."""

    def act(resource, data, query="", method="POST", content_type="text/csv", **headers):
        return by.client.open(
            f"/api/v1/{resource}/bulk{query}",
            method=method,
            data=data if isinstance(data, bytes) else data.encode(),
            content_type=content_type,
            headers={"Authorization": f"Bearer {by.token}", **headers},
        )

    return act
