"""The large demo, loaded once: a million invoices in twenty agencies."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import Engine, create_engine, text

from haven.db.base import PLATFORM
from haven.db.migrate import sqlalchemy_url
from haven.db.prepare import APP_ROLE, OWNER_ROLE
from haven.db.session import tenant_session
from haven.demo.service import load_demo
from tests.support.servers import Addresses


@pytest.fixture(scope="session")
def large(addresses: Addresses, worker_number: int) -> Engine:
    """An engine of the application's role on the large demo."""
    name = f"haven_large_{worker_number}"
    addresses.new_database(name)
    load_demo(addresses.database_url(OWNER_ROLE, name), "large")
    return create_engine(sqlalchemy_url(addresses.database_url(APP_ROLE, name)))


@pytest.fixture(scope="session")
def large_agency(large: Engine) -> uuid.UUID:
    """The agency with the most invoices."""
    with tenant_session(large, PLATFORM, is_platform=True) as session:
        ids = session.execute(text("SELECT id FROM agency WHERE slug <> 'platform'")).scalars().all()
    sizes = {}
    for agency_id in ids:
        with tenant_session(large, agency_id) as session:
            sizes[agency_id] = session.execute(text("SELECT count(*) FROM invoice")).scalar_one()
    return max(sizes, key=lambda one: sizes[one])
