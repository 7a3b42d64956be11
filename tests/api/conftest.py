"""An agency of its own for each test, with somebody signed in."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, delete

from extensions.database import count_statements
from haven.db.base import PLATFORM, new_id
from haven.db.session import tenant_session
from haven.identity.models import Agency, ApiKey, SignInAddress, User
from haven.identity.tokens import new_api_key
from haven.operations.models import PausedQueue

PASSWORD = "mvua inanyesha leo"


@dataclass
class Caller:
    """Somebody with an API key who speaks JSON."""

    client: FlaskClient
    token: str
    agency_id: uuid.UUID
    user_id: uuid.UUID
    email: str

    def __call__(self, method: str, path: str, json: Any = None, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.open(
            path if path.startswith("/health") else f"/api/v1{path}",
            method=method,
            json=json,
            headers={"Authorization": f"Bearer {self.token}", **named},
        )

    def get(self, path: str, **headers: str) -> Any:
        return self("GET", path, **headers)

    def post(self, path: str, json: Any = None, **headers: str) -> Any:
        return self("POST", path, json, **headers)

    def patch(self, path: str, json: Any = None, **headers: str) -> Any:
        return self("PATCH", path, json, **headers)

    def delete(self, path: str, **headers: str) -> Any:
        return self("DELETE", path, **headers)

    def made(self, path: str, **body: Any) -> dict[str, Any]:
        """The row that a POST makes."""
        answer = self.post(path, body)
        assert answer.status_code in (201, 202), answer.get_json()
        row: dict[str, Any] = answer.get_json()
        return row


def make_agency(engine: Engine) -> uuid.UUID:
    agency_id = new_id()
    with tenant_session(engine, PLATFORM, is_platform=True) as session:
        session.add(Agency(id=agency_id, name="Makao Letting", slug=f"makao-{agency_id.hex}"))
    return agency_id


def make_user(app: Flask, engine: Engine, agency_id: uuid.UUID, role: str) -> tuple[uuid.UUID, str]:
    user_id = new_id()
    email = f"{user_id.hex}@makao.test"
    password_hash = app.extensions["haven_sign_in"].hash(PASSWORD)
    with tenant_session(engine, agency_id, is_platform=agency_id == PLATFORM) as session:
        session.add(
            User(
                agency_id=agency_id,
                id=user_id,
                email=email,
                full_name="Wanjiku Kamau",
                role=role,
                password_hash=password_hash,
            )
        )
        session.flush()
        session.add(SignInAddress(email=email, agency_id=agency_id, user_id=user_id))
    return user_id, email


@pytest.fixture
def caller_of(app: Flask, engine: Engine):
    """Makes callers: ``caller_of("VIEWER", agency_id)``."""

    def make(
        role: str = "AGENCY_ADMIN", agency_id: uuid.UUID | None = None, scopes: tuple[str, ...] = ("*",)
    ) -> Caller:
        if agency_id is None:
            agency_id = PLATFORM if role == "PLATFORM_ADMIN" else make_agency(engine)
        user_id, email = make_user(app, engine, agency_id, role)
        key = new_api_key(agency_id)
        with tenant_session(engine, agency_id) as session:
            session.add(
                ApiKey(
                    agency_id=agency_id,
                    name="tests",
                    prefix=key.prefix,
                    secret_hash=key.hash,
                    scopes=list(scopes),
                    created_by=user_id,
                )
            )
        return Caller(app.test_client(), key.text, agency_id, user_id, email)

    return make


@pytest.fixture
def admin(caller_of) -> Caller:
    """The administrator of a new agency."""
    return caller_of()


def warm_up(by: Caller, web_engine: Engine) -> None:
    """Ask until the sign-in is answered from Redis, which this process may have left alone for a moment."""
    for _ in range(100):
        with count_statements(web_engine) as counted:
            assert by.get("/auth/me").status_code == 200
        if not any("FROM api_key" in statement for statement in counted.statements):
            return
        time.sleep(0.1)
    raise AssertionError("the sign-in is never answered from Redis")


@dataclass
class Let:
    """A flat that is let: a property, its unit, a tenant and their lease."""

    property: dict[str, Any]
    unit: dict[str, Any]
    tenant: dict[str, Any]
    lease: dict[str, Any]


def let_a_flat(by: Caller, start_date: str = "2026-11-01", rent: str = "25000.00", **lease: Any) -> Let:
    """Make everything a rent payment needs, through the API; the lease is ACTIVE."""
    number = uuid.uuid4().hex[:8].upper()
    owner = by.made("/owners", full_name="Achieng Otieno", management_fee_percent="8.00")
    prop = by.made(
        "/properties", name="Umoja Heights", code=f"U{number}", kind="APARTMENT", owner_id=owner["id"]
    )
    unit = by.made("/units", property_id=prop["id"], label="A1", rent_amount=rent, deposit_amount="0.00")
    tenant = by.made("/tenants", full_name="Brian Mutua", phone="0712345678")
    draft = by.made("/leases", unit_id=unit["id"], tenant_id=tenant["id"], start_date=start_date, **lease)
    answer = by.post(f"/leases/{draft['id']}/activate")
    assert answer.status_code == 200, answer.get_json()
    return Let(prop, unit, tenant, answer.get_json())


def an_invoice(by: Caller, lease_id: str, amount: str = "25000.00", **body: Any) -> dict[str, Any]:
    """An issued invoice for November's rent."""
    lines = [{"kind": "RENT", "description": "Rent November 2026", "amount": amount}]
    period = {"period_start": "2026-11-01", "period_end": "2026-11-30", "due_at": "2026-12-01"}
    draft = by.made("/invoices", lease_id=lease_id, **{"lines": lines, **period, **body})
    answer = by.post(f"/invoices/{draft['id']}/issue")
    assert answer.status_code == 200, answer.get_json()
    issued: dict[str, Any] = answer.get_json()
    return issued


@pytest.fixture(autouse=True)
def no_queue_stays_paused(request: pytest.FixtureRequest) -> Iterator[None]:
    """A queue is paused for all who share the database: a walk over the endpoints pauses one in passing."""
    operation = getattr(request.node, "callspec", None) and request.node.callspec.params.get("operation")
    if operation is None or not operation.path.startswith("/jobs/queues/"):
        yield
        return
    engine: Engine = request.getfixturevalue("engine")
    yield
    with tenant_session(engine, PLATFORM, is_platform=True) as session:
        session.execute(delete(PausedQueue))
