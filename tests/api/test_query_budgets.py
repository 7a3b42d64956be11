"""How many statements an endpoint costs: at most 3 for a list, 2 for a single read, whatever the number of rows."""

from __future__ import annotations

import pytest

from extensions.database import count_statements
from tests.api.conftest import an_invoice, let_a_flat

LIST_BUDGET = 3
READ_BUDGET = 2
LISTS = (
    "/owners", "/properties", "/units", "/tenants", "/leases", "/invoices", "/payments", "/users", "/agencies",
    "/api-keys", "/audit", "/jobs/history", "/webhooks", "/auth/sessions",
    "/payments/unmatched", "/payments/mpesa/reconciliations",
)  # fmt: skip


@pytest.fixture
def web_engine(app):
    with app.app_context():
        return app.extensions["sqlalchemy"].engine


@pytest.mark.req("D2")
@pytest.mark.parametrize("path", LISTS)
def test_a_list_costs_the_same_for_no_row_and_for_many(admin, web_engine, path):
    admin.get(path)  # the session is warm from here on
    with count_statements(web_engine) as few:
        assert admin.get(f"{path}?include_total=true").status_code == 200
    for number in range(4):
        let_a_flat(admin, start_date=f"2026-1{number % 3}-01")
    with count_statements(web_engine) as many:
        assert admin.get(f"{path}?include_total=true").status_code == 200
    assert many.count == few.count <= LIST_BUDGET, many.statements


@pytest.mark.req("D2")
def test_a_single_read_costs_two(admin, web_engine):
    flat = let_a_flat(admin)
    invoice = an_invoice(admin, flat.lease["id"])
    payment = admin.made("/payments", lease_id=flat.lease["id"], amount="10.00", method="CASH")
    paths = [
        f"/properties/{flat.property['id']}",
        f"/owners/{flat.property['owner_id']}",
        f"/units/{flat.unit['id']}",
        f"/tenants/{flat.tenant['id']}",
        f"/leases/{flat.lease['id']}",
        f"/invoices/{invoice['id']}",
        f"/payments/{payment['id']}",
        f"/payments/{payment['id']}/status",
        f"/users/{admin.user_id}",
        f"/agencies/{admin.agency_id}",
        "/auth/me",
    ]
    for path in paths:
        with count_statements(web_engine) as counted:
            assert admin.get(path).status_code == 200
        assert counted.count <= READ_BUDGET, (path, counted.statements)
