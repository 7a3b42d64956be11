"""A walk over a live Haven that touches all of it: every list, single rows, wrong requests, a payment, an export."""

from __future__ import annotations

from typing import Any

import httpx

from tests.live.api import Live

_ROWS = ("properties", "units", "tenants", "leases", "invoices", "payments", "owners")


def plain_gets(live: Live) -> list[str]:
    """The paths of all GET endpoints that need nothing in their path, as the description lists them."""
    described = live.http.get("/openapi.json")
    if described.status_code != 200:
        described = httpx.get(f"{live.stack.url}/openapi.json", timeout=30)
    paths: dict[str, Any] = described.json()["paths"]
    return sorted(
        path.removeprefix("/api/v1")
        for path, methods in paths.items()
        if "get" in methods and "{" not in path and path.startswith("/api/v1") and "stream" not in path
    )


def operator(live: Live) -> httpx.Client:
    """The platform's administrator, signed in."""
    admin = live.stack.platform_admin
    signed_in = live.http.post("/auth/login", json={"email": admin["email"], "password": admin["password"]})
    assert signed_in.status_code == 200, signed_in.text
    headers = {"Authorization": f"Bearer {signed_in.json()['access_token']}"}
    return httpx.Client(base_url=f"{live.stack.url}/api/v1", headers=headers, timeout=30)


def look_at_everything(live: Live, paths: list[str]) -> None:
    """Each list, the first row of each, and what is wrong or not there."""
    for path in paths:
        if not path.endswith("/events"):
            answer = live.http.get(path)
            assert answer.status_code < 500 or answer.status_code == 503, (path, answer.text)
    for resource in _ROWS:
        rows = live.get(f"/{resource}?limit=3")["data"]
        for row in rows:
            live.get(f"/{resource}/{row['id']}")
        live.http.get(f"/{resource}?limit=0")
        live.http.get(f"/{resource}/no-such-row")
    httpx.get(f"{live.stack.url}/wp-login.php", timeout=30)


def export(live: Live, resource: str) -> dict[str, Any]:
    """A file of all rows, by a worker."""
    asked = live.post(f"/exports/{resource}", {"format": "csv"})
    assert asked.status_code == 202, asked.text
    path = asked.headers["Location"].removeprefix("/api/v1")
    return live.wait_until(path, lambda row: row["status"] in ("SUCCEEDED", "FAILED"), for_s=90)
