"""Reading one row to change it, with its version checked."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from haven.db.base import Versioned
from haven.db.session import tenant_of
from haven.errors import HavenError, NotFound, VersionMismatch

Row = TypeVar("Row", bound=Versioned)
Planned = dict[str, Any] | HavenError
"""What is to be stored of one of many rows, or why it is refused."""


def locked(session: Session, model: type[Row], row_id: uuid.UUID, version: int | None = None) -> Row:
    """The row, locked until the transaction ends.

    Args:
        version: what the caller believes it to be (``If-Match``); None: any.

    Raises:
        NotFound: there is none in this agency.
        VersionMismatch: it has another version.
    """
    row: Row | None = session.get(
        model, (tenant_of(session).agency_id, row_id), with_for_update=True, populate_existing=True
    )
    there: Row = expected(model, row_id, row, version)
    return there


def expected(model: type[Any], row_id: uuid.UUID, row: Any, version: int | None) -> Any:
    """The row that was found, as an object or as its columns.

    Raises:
        NotFound, VersionMismatch: see ``locked``.
    """
    if row is None:
        raise NotFound(f"There is no {noun(model)} {row_id}.")
    if version is not None and row.version != version:
        raise VersionMismatch(f"The {noun(model)} is at version {row.version}, not {version}: read it again.")
    return row


def planned(plan: Callable[..., dict[str, Any]], *arguments: Any) -> Planned:
    """What ``plan`` gives, or the error it raises: one row of many does not stop the others."""
    try:
        return plan(*arguments)
    except HavenError as error:
        return error


def the_one(plans: Sequence[Planned]) -> dict[str, Any]:
    """The plan of a row that is alone.

    Raises:
        HavenError: it is refused.
    """
    [one] = plans
    if isinstance(one, HavenError):
        raise one
    return one


def change(row: Versioned, changes: dict[str, Any]) -> None:
    """Set the given columns."""
    for name, value in changes.items():
        setattr(row, name, value)


def noun(model: type[Any]) -> str:
    """What a person calls a row of ``model``."""
    return str(model.__tablename__).replace("user_account", "user").replace("_", " ")
