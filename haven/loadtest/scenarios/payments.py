"""Tenants who pay rent by M-Pesa, and wait until it is PAID."""

from __future__ import annotations

import uuid
from typing import Any, Final

from locust import between, task

from haven.loadtest.flows import PAYING
from haven.loadtest.scenarios.people import FlowFailed, HavenUser

_PATIENCE_S: Final = 60.0
"""A phone answers after 3 to 8 s; a callback that gets lost is found after some 30 s."""
_MOST: Final = 250_000


class PaymentsUser(HavenUser):
    """Asks for a push to his phone, types his PIN (the simulator does), and looks twice a second whether it is through."""

    wait_time = between(2, 5)
    may_write = True
    first_wait_s = 1.0

    @task
    def pay(self) -> None:
        """The rent of a lease, from a phone that nobody used before."""
        lease = self.people.lease()
        amount = min(_MOST, max(1, int(float(lease["rent"]))))
        body = {"lease_id": lease["id"], "phone": next(self.people.phones), "amount": f"{amount}"}
        with self.flow(PAYING):
            asked = self.ask(
                "POST", "/payments/mpesa/stk-push", json=body, headers={"Idempotency-Key": str(uuid.uuid4())}
            )
            if asked is None:
                raise FlowFailed("the push was refused")
            self._wait(asked)

    def _wait(self, asked: dict[str, Any]) -> None:
        path = f"/payments/{asked['id']}/status"
        found = self.wait_until(path, "/payments/{id}/status", _PATIENCE_S, "is_final", (True,))
        if found["status"] != "COMPLETED":
            raise FlowFailed(f"{found['status']} {found['failure_code']}")


class RentDayUser(PaymentsUser):
    """In the mix: one tenant after the other, about three a minute. Five such pay the rents of 2,000 leases in some two hours."""

    weight = 5
    wait_time = between(10, 20)
