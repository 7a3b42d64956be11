"""People at the desk: tenants who call, leases, invoices, what has been paid."""

from __future__ import annotations

from locust import between, task

from haven.loadtest.scenarios.people import HavenUser


class OfficeUser(HavenUser):
    """Looks a tenant up, with his lease and what he owes; or what is late, and what came in."""

    weight = 19
    wait_time = between(3, 8)

    @task(3)
    def a_tenant_calls(self) -> None:
        """He says his name; there are his leases and invoices."""
        word = self.one_of(self.people.prepared["words"])
        found = self.ask("GET", f"/tenants?q={word}&limit=10", "/tenants?q=")
        if not found or not found["data"]:
            return
        tenant = self.one_of(found["data"])
        leases = self.ask("GET", f"/leases?tenant_id={tenant['id']}", "/leases?tenant_id=")
        if leases and leases["data"]:
            lease_id = leases["data"][0]["id"]
            self.ask("GET", f"/invoices?lease_id={lease_id}&sort=-due_at&limit=12", "/invoices?lease_id=")

    @task(2)
    def what_is_late(self) -> None:
        """The invoices that are overdue, the oldest first."""
        self.ask("GET", "/invoices?status=OVERDUE&sort=due_at&limit=50", "/invoices?status=")

    @task(2)
    def what_came_in(self) -> None:
        """The newest payments, and one of them."""
        found = self.ask("GET", "/payments?sort=-created_at&limit=50", "/payments")
        if found and found["data"]:
            self.ask("GET", f"/payments/{self.one_of(found['data'])['id']}", "/payments/{id}")
