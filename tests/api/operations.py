"""Every operation of the description, a body for it, and an agency with a row of everything to call it on.

Tests that walk the description with these cover an endpoint as soon as it is there. An operation with a parameter in
its path that ``a_row_of_everything`` knows nothing for is an error: make such a row there.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import Any

from flask import Flask
from sqlalchemy import Engine, select, update

from config import load_settings
from haven.api.resource import API
from haven.billing import service as billing
from haven.db.base import PLATFORM, new_id
from haven.db.session import tenant_session
from haven.notifications.models import Notification
from haven.operations.alerts import PAYMENTS_NEED_REVIEW, raise_alert
from haven.operations.models import Alert, AlertRule, ExportFile, Job, WebhookDelivery
from haven.payments.models import MpesaInbox, Payment, ReconciliationRun, UnmatchedReceipt
from tests.api.conftest import PASSWORD, Caller, Let, an_invoice, let_a_flat, make_agency, make_user

PROBLEM = "application/problem+json"
MEMBERS = {"type", "title", "status", "detail", "instance", "request_id"}
PARAMETER = re.compile(r"\{(\w+)\}")

# Values of text whose rule is no pattern of the description, by field.
_TEXT = {
    "timezone": "Africa/Nairobi",
    "latitude": "-1.286389",
    "longitude": "36.817223",
    "cron": "0 6 * * 1",
    "from": "2026-11-01",
    "to": "2026-11-30",
    "ends_at": "2099-01-01T00:00:00Z",
}
# What can be made at once where the first choice needs something else, by field.
_CHOICES = {"role": "VIEWER", "method": "CASH"}
_SHAPED = ("100.00", "KES", "600100", "umoja-heights", "UH1", "A123456789B", "2026-11", "1000000 per minute")
_FORMATS = {
    "date": "2026-11-30",
    "date-time": "2026-11-20T08:00:00Z",
    "url": "https://makao.test/events",
    "uri": "https://makao.test/events",
}


@dataclass(frozen=True)
class Operation:
    """One method of one path; ``path`` is what follows ``/api/v1``."""

    method: str
    path: str
    document: dict[str, Any] = field(repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def permission(self) -> str | None:
        return self.document.get("x-permission")

    @property
    def body(self) -> dict[str, Any] | None:
        """The schema of its body."""
        content = self.document.get("requestBody", {}).get("content", {})
        schema: dict[str, Any] | None = content.get("application/json", {}).get("schema")
        return None if schema is None else resolved(schema)

    @property
    def query(self) -> dict[str, dict[str, Any]]:
        """Query parameter → its schema."""
        parameters = self.document.get("parameters", [])
        return {one["name"]: one["schema"] for one in parameters if one["in"] == "query"}

    @property
    def is_public(self) -> bool:
        return self.document.get("security") == []

    @property
    def answer(self) -> tuple[int, dict[str, Any] | None]:
        """The status of success, and the schema of what comes with it."""
        status = min(status for status in self.document["responses"] if status.startswith("2"))
        content = self.document["responses"][status].get("content", {})
        return int(status), content.get("application/json", {}).get("schema")

    @property
    def is_json(self) -> bool:
        """Whether its answer is JSON, or nothing: a stream of events or a PDF has tests of its own."""
        content = self.document["responses"][str(self.answer[0])].get("content")
        return not content or "application/json" in content

    @property
    def is_list(self) -> bool:
        schema = self.answer[1]
        return schema is not None and "pagination" in resolved(schema).get("properties", {})

    def parameters(self) -> list[tuple[str, str]]:
        """What stands before each parameter of the path, and its name: ``("/owners", "row_id")``."""
        return [(self.path[: found.start() - 1], found[1]) for found in PARAMETER.finditer(self.path)]

    def on(self, values: dict[str, str]) -> str:
        """The path with the values of a ``Rows``; a parameter that it has no row for is a ``LookupError``."""
        path = self.path
        # A list's own path stands before the parameter of its rows.
        alone = None if self.is_list else values.get(self.path)
        for before, name in self.parameters():
            if before not in values:
                raise LookupError(f"{self}: a_row_of_everything makes no row for {before}/{{{name}}}")
            path = path.replace(f"{{{name}}}", alone or values[before], 1)
        return path


@cache
def description() -> dict[str, Any]:
    """The OpenAPI document, of an application that reaches no server."""
    from haven.app import create_app

    nowhere = {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "SECRET_KEY": "a key that is used in tests and nowhere else",
        "PUBLIC_URL": "http://haven.test",
        "EXTENSIONS": "none",
    }
    document: dict[str, Any] = (
        create_app(load_settings(nowhere)).test_client().get(f"{API}/openapi.json").get_json()
    )
    return document


@cache
def operations() -> tuple[Operation, ...]:
    """Every operation of the description."""
    return tuple(
        Operation(method.upper(), path.removeprefix(API), document)
        for path, item in description()["paths"].items()
        for method, document in item.items()
        if method in ("get", "post", "put", "patch", "delete")
    )


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that a ``$ref`` names, or the schema itself."""
    reference = schema.get("$ref")
    if reference is None:
        return schema
    target: dict[str, Any] = description()["components"]["schemas"][reference.rpartition("/")[2]]
    return target


def type_of(schema: dict[str, Any]) -> str:
    """The JSON type of a schema, null aside; ``any`` where it says none."""
    kind = schema.get("type", "any")
    return next(one for one in kind if one != "null") if isinstance(kind, list) else str(kind)


def is_nullable(schema: dict[str, Any]) -> bool:
    return isinstance(schema.get("type"), list) and "null" in schema["type"]


def example(schema: dict[str, Any], ids: dict[str, str], name: str = "", *, whole: bool = False) -> Any:
    """A valid value of a schema.

    Args:
        ids: field → id, for the ids in it.
        whole: with the fields that may be left out, too.
    """
    schema = resolved(schema)
    for either in ("anyOf", "allOf", "oneOf"):
        if either in schema:
            return example(schema[either][0], ids, name, whole=whole)
    if "enum" in schema:
        # No operator among an agency's users, no M-Pesa payment without its receipt.
        return next(value for value in schema["enum"] if value not in ("PLATFORM_ADMIN", "MPESA"))
    match type_of(schema):
        case "object":
            fields = schema.get("properties", {})
            chosen = fields if whole else schema.get("required", ())
            return {one: example(fields[one], ids, one, whole=whole) for one in chosen}
        case "array":
            return [example(schema["items"], ids, name, whole=whole)]
        case "integer" | "number":
            return max(schema.get("minimum", 1), 1)
        case "boolean":
            return True
    return _text(schema, ids, name)


def _text(schema: dict[str, Any], ids: dict[str, str], name: str) -> str:
    if schema.get("format") == "uuid":
        return ids.get(name) or str(new_id())
    if schema.get("format") == "email":
        # One address signs in one person, over all agencies: another test may have made its own.
        return f"achieng.{uuid.uuid4().hex}@makao.test"
    if name in _TEXT:
        return _TEXT[name]
    if "format" in schema:
        return _FORMATS[schema["format"]]
    if "pattern" in schema:
        return next(text for text in _SHAPED if re.fullmatch(schema["pattern"], text))
    given: str = schema.get("example", "Nyota Achieng")
    return given


def id_fields(schema: dict[str, Any]) -> Iterator[str]:
    """The fields of a body that are the id of a row."""
    for name, one in resolved(schema).get("properties", {}).items():
        if resolved(one).get("format") == "uuid":
            yield name


def assert_is_problem(answer: Any, *statuses: int) -> dict[str, Any]:
    """The problem document of an answer, which must be one, with one of the statuses."""
    assert answer.status_code in statuses, (answer.status_code, answer.get_data(as_text=True)[:500])
    assert answer.content_type == PROBLEM
    document: dict[str, Any] = answer.get_json()
    assert document.keys() in (MEMBERS, MEMBERS | {"errors"})
    assert document["status"] == answer.status_code
    assert all(isinstance(document[name], str) and document[name] for name in MEMBERS - {"status"})
    assert document["instance"] == answer.request.path
    assert document["request_id"] == answer.headers["X-Request-ID"]
    for fault in document.get("errors", []):
        assert fault.keys() == {"pointer", "detail"}
        assert fault["detail"]
    return document


@dataclass
class Rows:
    """A row of everything in one agency."""

    caller: Caller
    path: dict[str, str]
    """What stands before a parameter of a path → the value for it; a whole path → the value for it alone."""
    drafts: dict[str, str]
    """As ``path``, with rows that may still change."""
    fields: dict[str, str]
    """Field of a body, or query parameter → the id for it."""

    @property
    def ids(self) -> set[str]:
        named = {*self.path.values(), *self.drafts.values(), *self.fields.values()}
        return {one for one in named if re.fullmatch(r"[0-9a-f-]{36}", one)}


def signed_in(app: Flask, engine: Engine, role: str = "AGENCY_ADMIN") -> Caller:
    """Somebody of a new agency (or an operator) with an API key, for fixtures that outlive a test."""
    agency_id = PLATFORM if role == "PLATFORM_ADMIN" else make_agency(engine)
    user_id, email = make_user(app, engine, agency_id, role)
    client = app.test_client()
    tokens = client.post(f"{API}/auth/login", json={"email": email, "password": PASSWORD}).get_json()
    caller = Caller(client, tokens["access_token"], agency_id, user_id, email)
    caller.token = caller.made("/api-keys", name="walks")["secret"]
    return caller


def a_row_of_everything(engine: Engine, by: Caller, rent: str = "25000.00") -> Rows:
    """Make a row of every resource, in the agency of ``by``."""
    webhook = by.made("/webhooks", url="https://makao.test/events", events=["invoice.issued"])
    tested = by.made(f"/webhooks/{webhook['id']}/test")
    flat = let_a_flat(by, rent=rent)
    invoice = an_invoice(by, flat.lease["id"], rent)
    payment = by.made(
        "/payments", lease_id=flat.lease["id"], amount="1000.00", method="CASH", reference="Slip 7"
    )
    unpaid = an_invoice(by, flat.lease["id"], rent)
    second = by.made("/units", property_id=flat.property["id"], label="A2", rent_amount=rent)
    people = {"unit_id": second["id"], "tenant_id": flat.tenant["id"]}
    draft_lease = by.made("/leases", **people, start_date="2026-12-01")
    period = {"period_start": "2026-12-01", "period_end": "2026-12-31"}
    line = {"kind": "RENT", "description": "Rent December 2026", "amount": rent}
    draft_invoice = by.made("/invoices", lease_id=flat.lease["id"], lines=[line], **period)
    user = by.made(
        "/users",
        email=f"{uuid.uuid4().hex}@makao.test",
        full_name="Otieno Njoroge",
        role="VIEWER",
        password=PASSWORD,
    )
    key = by.made("/api-keys", name="spare")
    job = by.made("/invoices/run", period="2026-11")
    failed, waiting, inbox, stray = _of_no_route(engine, by, flat.lease)
    credited = an_invoice(by, flat.lease["id"], rent)
    note = by.made(f"/invoices/{credited['id']}/credit", amount="100.00", reason="No water for a day")
    expense = by.made(
        f"/owners/{flat.property['owner_id']}/expenses", amount="10.00", method="CASH", description="A lock"
    )
    over = _over_with_a_deposit(by, flat)
    entry = by.get("/ledger/entries").get_json()["data"][0]
    signed = by.client.post(f"{API}/auth/login", json={"email": by.email, "password": PASSWORD})
    listed = by.client.get(
        f"{API}/auth/sessions", headers={"Authorization": f"Bearer {signed.get_json()['access_token']}"}
    ).get_json()
    path = {
        "/auth/sessions": listed["data"][0]["id"],
        "/users": user["id"],
        "/agencies": str(by.agency_id),
        "/api-keys": key["id"],
        "/owners": flat.property["owner_id"],
        "/properties": flat.property["id"],
        "/units": flat.unit["id"],
        "/tenants": flat.tenant["id"],
        "/leases": flat.lease["id"],
        "/invoices": invoice["id"],
        "/payments": payment["id"],
        "/payments/mpesa/inbox": inbox,
        "/payments/unmatched": stray,
        "/jobs": job["queue"],
        "/jobs/{queue}": job["id"],
        "/jobs/queues": "maintenance",
        "/webhooks": webhook["id"],
        "/webhooks/{row_id}/deliveries": tested["id"],
        "/notifications": _a_failed_notification(engine, by),
        "/credit-notes": note["id"],
        "/exports/download": _a_file(engine, by),
        "/disbursements": expense["id"],
    }
    schedule = by.made("/reports/schedules", kind="collections", cron="monthly")
    report = by.made("/reports/collections", **{"from": "2026-11-01", "to": "2026-11-02"})
    path |= {"/reports/schedules": schedule["id"], "/reports": report["report_id"]}
    alert, rule = _an_alert(engine, by)
    silence = by.made(
        "/monitoring/alerts/silences", rule="webhook_disabled", reason="Moving", ends_at=_TEXT["ends_at"]
    )
    path |= {"/monitoring/alerts": alert, "/monitoring/alerts/silences": silence["id"]}
    path |= {"/monitoring/alerts/rules": rule}
    path |= {f"/leases/{{row_id}}/deposit/{act}": over for act in ("apply", "retain", "refund")}
    drafts = path | {
        "/leases": draft_lease["id"],
        "/invoices": draft_invoice["id"],
        "/payments": waiting,
        "/jobs/{queue}": failed,
        "/monitoring/alerts/rules": _a_rule_of_the_platform(engine),
    }
    fields = {
        "agency_id": str(by.agency_id),
        "user_id": user["id"],
        "owner_id": flat.property["owner_id"],
        "property_id": flat.property["id"],
        "unit_id": flat.unit["id"],
        "tenant_id": flat.tenant["id"],
        "lease_id": flat.lease["id"],
        "invoice_id": unpaid["id"],
        "payment_id": payment["id"],
        "entity_id": flat.property["id"],
        "account_id": entry["account_id"],
        "transaction_id": entry["transaction_id"],
        "disbursement_id": expense["id"],
        "schedule_id": schedule["id"],
    }
    return Rows(by, path, drafts, fields)


def _a_failed_notification(engine: Engine, by: Caller) -> str:
    """A mail that was refused, and an event that was not taken either, so that both can be sent again."""
    notification_id = new_id()
    with tenant_session(engine, by.agency_id) as session:
        session.execute(update(WebhookDelivery).values(status="FAILED"))
        session.add(
            Notification(
                agency_id=by.agency_id,
                id=notification_id,
                about_id=new_id(),
                kind="REPORT_READY",
                channel="EMAIL",
                recipient="asha@makao.test",
                subject="Report",
                body="Report",
                status="FAILED",
            )
        )
    return str(notification_id)


def _an_alert(engine: Engine, by: Caller) -> tuple[str, str]:
    """An alert of the agency that fires, and its rule."""
    with tenant_session(engine, by.agency_id) as session:
        raise_alert(session, PAYMENTS_NEED_REVIEW, "payment:1")
        alert = session.execute(select(Alert)).scalar_one()
    return str(alert.id), str(alert.rule_id)


def _a_rule_of_the_platform(engine: Engine) -> str:
    """A rule that is switched off, which operators may change."""
    rule = AlertRule(
        agency_id=PLATFORM,
        id=new_id(),
        kind="METRIC",
        name=f"r{uuid.uuid4().hex}",
        metric="error_rate",
        comparison="ABOVE",
        threshold=1.0,
        resolve_threshold=1.0,
        for_s=60,
        severity="WARNING",
        enabled=False,
    )
    with tenant_session(engine, PLATFORM) as session:
        session.add(rule)
    return str(rule.id)


def _a_file(engine: Engine, by: Caller) -> str:
    """The name of a file that an export has made; its bytes are nowhere."""
    job_id, filename = new_id(), f"units-{uuid.uuid4().hex}.csv"
    kept = {"content_type": "text/csv", "size_bytes": 3, "sha256": bytes(32)}
    ends = dt.datetime(2099, 1, 1, tzinfo=dt.UTC)
    with tenant_session(engine, by.agency_id) as session:
        session.add(
            Job(
                agency_id=by.agency_id,
                id=job_id,
                queue="exports",
                kind="export",
                status="SUCCEEDED",
                arguments={"resource": "units"},
                requested_by="tests",
                attempts=1,
                max_attempts=1,
            )
        )
        session.flush()
        file = ExportFile(
            agency_id=by.agency_id, id=new_id(), job_id=job_id, filename=filename, expires_at=ends, **kept
        )
        session.add(file)
    return filename


def _over_with_a_deposit(by: Caller, flat: Let) -> str:
    """A lease that is over, with 300.00 of its deposit held and 200.00 owed."""
    unit = by.made("/units", property_id=flat.property["id"], label="A3", rent_amount="300.00")
    lease = by.made(
        "/leases",
        unit_id=unit["id"],
        tenant_id=flat.tenant["id"],
        start_date="2026-11-01",
        deposit_amount="500.00",
    )["id"]
    assert by.post(f"/leases/{lease}/activate").status_code == 200
    an_invoice(
        by,
        lease,
        lines=[
            {"kind": "RENT", "description": "Rent", "amount": "300.00"},
            {"kind": "DEPOSIT", "description": "Deposit", "amount": "500.00"},
        ],
    )
    by.made("/payments", lease_id=lease, amount="600.00", method="CASH")
    ended = by.post(f"/leases/{lease}/terminate", {"date": "2026-11-20", "reason": "Moved to Nakuru"})
    assert ended.status_code == 200, ended.get_json()
    return str(lease)


def _of_no_route(engine: Engine, by: Caller, lease: dict[str, Any]) -> tuple[str, str, str, str]:
    """A job that has failed, a payment that is not decided, something M-Pesa sent, and money that names no lease."""
    job_id, payment_id, inbox_id, stray_id = new_id(), new_id(), new_id(), new_id()
    agency_id = by.agency_id
    with tenant_session(engine, agency_id) as session:
        session.add(
            Job(
                agency_id=agency_id,
                id=job_id,
                queue="payments",
                kind="rent_run",
                status="FAILED",
                arguments={"period": "2026-10"},
                requested_by="tests",
                attempts=1,
                max_attempts=1,
                error="The worker was stopped.",
            )
        )
        session.add(
            Payment(
                agency_id=agency_id,
                id=payment_id,
                lease_id=uuid.UUID(lease["id"]),
                tenant_id=uuid.UUID(lease["tenant_id"]),
                amount=100,
                method="BANK",
                status="NEEDS_REVIEW",
            )
        )
        session.add(MpesaInbox(agency_id=agency_id, id=inbox_id, kind="STK", body=b"{}", headers={}))
        session.add(
            UnmatchedReceipt(
                agency_id=agency_id,
                id=stray_id,
                receipt="UKO0WAITED",
                amount=100,
                received_at=dt.datetime.now(dt.UTC),
                account_typed="Ghorofa 3",
            )
        )
        session.add(
            ReconciliationRun(
                agency_id=agency_id,
                kind="NIGHTLY",
                since=dt.datetime.now(dt.UTC) - dt.timedelta(hours=48),
                until=dt.datetime.now(dt.UTC),
            )
        )
        billing.post(session, [billing.suspense_posting("UKO0WAITED", dt.datetime.now(dt.UTC), Decimal(100))])
    return str(job_id), str(payment_id), str(inbox_id), str(stray_id)
