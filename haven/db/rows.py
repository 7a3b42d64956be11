"""Reading one row to change it, with its version checked."""

from __future__ import annotations

import uuid
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from haven.db.base import Versioned
from haven.db.session import tenant_of
from haven.errors import NotFound, VersionMismatch

Row = TypeVar("Row", bound=Versioned)


def locked(session: Session, model: type[Row], row_id: uuid.UUID, version: int | None = None) -> Row:
    """The row, locked until the transaction ends.

    Args:
        version: what the caller believes it to be (``If-Match``); None: any.

    Raises:
        NotFound: there is none in this agency.
        VersionMismatch: it has another version.
    """
    row = session.get(
        model, (tenant_of(session).agency_id, row_id), with_for_update=True, populate_existing=True
    )
    if row is None:
        raise NotFound(f"There is no {noun(model)} {row_id}.")
    if version is not None and row.version != version:
        raise VersionMismatch(f"The {noun(model)} is at version {row.version}, not {version}: read it again.")
    return row


def change(row: Versioned, changes: dict[str, Any]) -> None:
    """Set the given columns."""
    for name, value in changes.items():
        setattr(row, name, value)


def noun(model: type[Any]) -> str:
    """What a person calls a row of ``model``."""
    return str(model.__tablename__).replace("user_account", "user").replace("_", " ")
