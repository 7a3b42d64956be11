"""How many statements an endpoint costs: at most 3 for a list, 2 for a single read, whatever the number of rows."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from extensions.database import count_statements
from haven.db.base import new_id
from haven.db.session import tenant_session
from haven.identity.models import ApiKey, User
from haven.identity.tokens import new_api_key
from haven.operations.models import Job, WebhookDelivery, WebhookEndpoint
from tests.api.conftest import warm_up
from tests.api.operations import Rows, a_row_of_everything, operations, signed_in
from tests.support.builders import a_lease, a_payment, an_invoice

LIST_BUDGET = 3
READ_BUDGET = 2
MANY = 100
_LISTS = [one for one in operations() if one.is_list]
_READS = [
    one
    for one in operations()
    if one.method == "GET"
    and one.is_json
    and not one.is_list
    and (one.parameters() or one.path == "/auth/me")
]
# Documents that are more than a row: what a receipt paid, each kind of witness, all that a statement adds up.
_SEVERAL = {
    "/payments/{row_id}/receipt": 3,
    "/payments/{row_id}/evidence": 5,
    "/payments/{row_id}/notifications": 3,
    "/leases/{row_id}/deposit": 3,
    "/owners/{row_id}/balance": 4,
    "/tenants/{row_id}/statement": 5,
}


@pytest.fixture(scope="module")
def web_engine(app) -> Engine:
    with app.app_context():
        return app.extensions["sqlalchemy"].engine


@pytest.fixture(scope="module")
def one(app, engine) -> Rows:
    """An agency with a row of everything."""
    return a_row_of_everything(engine, signed_in(app, engine))


@pytest.fixture(scope="module")
def hundred(app, engine) -> Rows:
    """An agency with a hundred rows of everything that there can be many of."""
    rows = a_row_of_everything(engine, signed_in(app, engine))
    agency_id = rows.caller.agency_id
    for _ in range(MANY):
        lease_id = a_lease(engine, agency_id)
        an_invoice(engine, agency_id, lease_id)
        a_payment(engine, agency_id, lease_id)
    with tenant_session(engine, agency_id) as session:
        session.execute(
            text(
                "INSERT INTO owner (agency_id, id, full_name)"
                " SELECT :agency_id, uuidv7(), 'Achieng' FROM generate_series(1, :many)"
            ),
            {"agency_id": agency_id, "many": MANY},
        )
        for number in range(MANY):
            session.add_all(_of_each(rows, number))
        for table in (
            "credit_note",
            "disbursement",
            "export_file",
            "reconciliation_run",
            "unmatched_receipt",
            "report",
            "report_schedule",
            "alert_rule",
            "alert",
            "alert_silence",
        ):
            session.execute(text(_MULTIPLY[table]), {"agency_id": agency_id, "many": MANY})
    return rows


# Rows like the one that is there already, as far as a list can tell.
_MULTIPLY = {
    "alert": """
        INSERT INTO alert (agency_id, id, rule_id, rule, severity, fingerprint, state, value)
        SELECT agency_id, uuidv7(), rule_id, rule, severity, fingerprint || n, state, value
          FROM alert, generate_series(1, :many) n WHERE agency_id = :agency_id""",
    "alert_rule": """
        INSERT INTO alert_rule (agency_id, id, name, metric, comparison, threshold, resolve_threshold, for_s, severity)
        SELECT agency_id, uuidv7(), name || n, metric, comparison, threshold, resolve_threshold, for_s, severity
          FROM alert_rule, generate_series(1, :many) n WHERE agency_id = :agency_id""",
    "alert_silence": """
        INSERT INTO alert_silence (agency_id, id, rule, reason, created_by, ends_at)
        SELECT agency_id, uuidv7(), rule, reason, created_by, ends_at
          FROM alert_silence, generate_series(1, :many) n WHERE agency_id = :agency_id""",
    "credit_note": """
        INSERT INTO credit_note (agency_id, id, invoice_id, lease_id, tenant_id, number, issued_at, amount, reason)
        SELECT agency_id, uuidv7(), invoice_id, lease_id, tenant_id, number + n, issued_at, amount, reason
          FROM credit_note, generate_series(1, :many) n WHERE agency_id = :agency_id""",
    "disbursement": """
        INSERT INTO disbursement (agency_id, id, kind, owner_id, amount, method, description, paid_at)
        SELECT agency_id, uuidv7(), kind, owner_id, amount, method, description, paid_at
          FROM disbursement, generate_series(1, :many) n WHERE agency_id = :agency_id AND owner_id IS NOT NULL""",
    "export_file": """
        INSERT INTO export_file (agency_id, id, job_id, filename, content_type, size_bytes, sha256, expires_at)
        SELECT agency_id, uuidv7(), job_id, n || filename, content_type, size_bytes, sha256, expires_at
          FROM export_file, generate_series(1, :many) n WHERE agency_id = :agency_id""",
    "reconciliation_run": """
        INSERT INTO reconciliation_run (agency_id, id, kind, since, until)
        SELECT agency_id, uuidv7(), kind, since, until
          FROM reconciliation_run, generate_series(1, :many) n WHERE agency_id = :agency_id""",
    "report": """
        INSERT INTO report (agency_id, id, job_id, kind, format, first_day, last_day, filters, key)
        SELECT agency_id, uuidv7(), job_id, kind, format, first_day, last_day, filters, key
          FROM report, generate_series(1, :many) n WHERE agency_id = :agency_id""",
    "report_schedule": """
        INSERT INTO report_schedule (agency_id, id, kind, format, filters, cron, recipients, next_run_at)
        SELECT agency_id, uuidv7(), kind, format, filters, cron, recipients, next_run_at
          FROM report_schedule, generate_series(1, :many) n WHERE agency_id = :agency_id""",
    "unmatched_receipt": """
        INSERT INTO unmatched_receipt (agency_id, id, receipt, amount, received_at, account_typed)
        SELECT agency_id, uuidv7(), receipt || n, amount, received_at, account_typed
          FROM unmatched_receipt, generate_series(1, :many) n WHERE agency_id = :agency_id""",
}


def _of_each(rows: Rows, number: int) -> list[User | ApiKey | Job | WebhookEndpoint | WebhookDelivery]:
    by, key = rows.caller, new_api_key(rows.caller.agency_id)
    return [
        User(
            agency_id=by.agency_id,
            email=f"{new_id().hex}@makao.test",
            full_name="Otieno",
            role="VIEWER",
            password_hash="x",
        ),
        ApiKey(
            agency_id=by.agency_id,
            name="many",
            prefix=key.prefix,
            secret_hash=key.hash,
            scopes=["*"],
            created_by=by.user_id,
        ),
        Job(
            agency_id=by.agency_id,
            queue="payments",
            kind="rent_run",
            status="FAILED",
            arguments={},
            requested_by=by.email,
            max_attempts=1,
        ),
        WebhookEndpoint(
            agency_id=by.agency_id,
            url=f"https://makao.test/{number}",
            events=["job.finished"],
            secret=b"x",
        ),
        WebhookDelivery(
            agency_id=by.agency_id,
            endpoint_id=rows.path["/webhooks"],
            event="job.finished",
            payload={},
        ),
    ]


def _cost(web_engine: Engine, rows: Rows, path: str) -> tuple[list[str], int]:
    """The statements of a GET of a warm sign-in, and how many rows came."""
    warm_up(rows.caller, web_engine)
    with count_statements(web_engine) as counted:
        answer = rows.caller.get(path)
    assert answer.status_code == 200, answer.get_json()
    return counted.statements, len(answer.get_json().get("data", [1]))


@pytest.mark.req("D4")
@pytest.mark.parametrize("operation", _LISTS, ids=str)
def test_a_list_costs_the_same_for_one_row_and_for_a_hundred(operation, one, hundred, web_engine):
    few, count = _cost(web_engine, one, operation.on(one.path) + "?limit=200")
    many, more = _cost(web_engine, hundred, operation.on(hundred.path) + "?limit=200")
    assert len(many) == len(few) <= LIST_BUDGET, many
    if "include_total" in operation.query:
        counted, _ = _cost(web_engine, hundred, operation.on(hundred.path) + "?limit=200&include_total=true")
        assert len(counted) == len(many) + 1
    # An agency reads its own row of /agencies; nobody has a hundred sign-ins.
    assert more >= MANY > count or operation.path in ("/agencies", "/auth/sessions")


@pytest.mark.req("D4")
@pytest.mark.parametrize("operation", _READS, ids=str)
def test_a_single_read_costs_two(operation, one, web_engine):
    statements, _ = _cost(web_engine, one, operation.on(one.path))
    assert len(statements) <= _SEVERAL.get(operation.path, READ_BUDGET), statements
