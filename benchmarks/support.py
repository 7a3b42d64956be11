"""What several benchmarks need: rows that are made by PostgreSQL itself, and somebody who asks."""

from __future__ import annotations

import uuid
from pathlib import Path

from flask import Flask
from sqlalchemy import create_engine

from haven.db.migrate import sqlalchemy_url
from haven.db.session import tenant_session
from haven.identity.models import ApiKey
from haven.identity.tokens import new_api_key
from tests.api.conftest import make_user
from tests.support.servers import superuser_cursor


def run_script(superuser_url: str, script: Path, **numbers: int) -> None:
    """Run each statement of a file, with ``{name}`` in it replaced, in a transaction of its own: VACUUM wants that."""
    with superuser_cursor(superuser_url) as cursor:
        for statement in script.read_text().format(**numbers).split(";\n"):
            if statement.strip():
                cursor.execute(statement)


def administrator_key(app: Flask, database_url: str, agency_id: uuid.UUID) -> str:
    """An API key of an administrator, made for the purpose, of an agency that is there."""
    engine = create_engine(sqlalchemy_url(database_url))
    key = new_api_key(agency_id)
    user_id, _ = make_user(app, engine, agency_id, "AGENCY_ADMIN")
    with tenant_session(engine, agency_id) as session:
        session.add(
            ApiKey(
                agency_id=agency_id,
                name="bench",
                prefix=key.prefix,
                secret_hash=key.hash,
                scopes=["*"],
                created_by=user_id,
            )
        )
    engine.dispose()
    return key.text
