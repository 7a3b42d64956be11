"""Haven over real HTTP, for tests that run against a live stack."""

from __future__ import annotations

import itertools
import time
import uuid
from typing import Any

import httpx

from tests.support.live import LiveStack

_numbers = itertools.count(int(time.time() * 1000) % 1_000_000)


class Live:
    """The agency administrator of a live stack."""

    def __init__(self, stack: LiveStack) -> None:
        self.stack = stack
        self.http = httpx.Client(
            base_url=f"{stack.url}/api/v1",
            headers={"Authorization": f"Bearer {stack.agency_admin['api_key']}"},
            timeout=30,
        )
        self.mpesa = httpx.Client(base_url=str(stack.described["mpesa_url"]), timeout=10)

    def get(self, path: str) -> Any:
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        return self.http.post(path, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def made(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self.post(path, body)
        assert answer.status_code in (200, 201, 202), answer.text
        row: dict[str, Any] = answer.json()
        return row

    def a_lease(self, rent: str = "1000.00") -> dict[str, Any]:
        code = uuid.uuid4().hex[:10].upper()
        prop = self.made("/properties", name="Live Court", code=code, kind="APARTMENT")
        unit = self.made("/units", property_id=prop["id"], label="1", rent_amount=rent)
        tenant = self.made("/tenants", full_name="Live Tenant")
        draft = self.made("/leases", unit_id=unit["id"], tenant_id=tenant["id"], start_date="2026-11-01")
        return self.made(f"/leases/{draft['id']}/activate")

    def an_invoice(self, lease_id: str, amount: str = "1000.00") -> dict[str, Any]:
        lines = [{"kind": "RENT", "description": "Rent", "amount": amount}]
        period = {"period_start": "2026-11-01", "period_end": "2026-11-30"}
        draft = self.made("/invoices", lease_id=lease_id, lines=lines, **period)
        return self.made(f"/invoices/{draft['id']}/issue")

    def a_phone(self, ending: str) -> str:
        """A phone nobody else uses, whose last digits choose the simulator's scenario."""
        return f"+2547{next(_numbers) % 10_000:04}{ending}"

    def push(self, lease_id: str, ending: str, amount: str = "1000", **headers: str) -> httpx.Response:
        body = {"lease_id": lease_id, "phone": self.a_phone(ending), "amount": amount}
        return self.post("/payments/mpesa/stk-push", body, **headers)

    def wait(self, payment_id: str, *statuses: str, for_s: float = 45) -> dict[str, Any]:
        """The payment once it has one of the statuses."""
        return self.wait_until(f"/payments/{payment_id}", lambda row: row["status"] in statuses, for_s=for_s)

    def wait_until(self, path: str, is_so: Any, for_s: float = 45) -> dict[str, Any]:
        deadline = time.monotonic() + for_s
        row: dict[str, Any] = {}
        while time.monotonic() < deadline:
            try:
                answer = self.http.get(path)
                if answer.status_code == 200:
                    row = answer.json()
                    if is_so(row):
                        return row
            except httpx.HTTPError:
                pass
            time.sleep(0.2)
        raise AssertionError(f"{path} did not come to what was waited for: {row}")

    def books_balance(self) -> None:
        totals = self.get("/ledger/trial-balance")
        assert totals["debit"] == totals["credit"]
