"""Sessions that know their tenant: each transaction tells PostgreSQL whose rows it may see."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.pool import ConnectionPoolEntry, Pool

from extensions.caching.writes import OWNER

_KEY = "tenant"
_AFTER_COMMIT = "after_commit"
_TELLS_ALONG = "tells_along"
_TO_TELL = "tenant_to_tell"
_TELLS_EACH = "tenant_to_tell_each_time"

_SET_TENANT = text(
    "SELECT set_config('haven.agency_id', :t_agency_id, true), set_config('haven.actor', :t_actor, true),"
    " set_config('haven.request_id', :t_request_id, true), set_config('haven.platform', :t_platform, true)"
)
_TELL_ALONG = (
    "SELECT set_config('haven.agency_id', %(t_agency_id)s, true), set_config('haven.actor', %(t_actor)s, true),"
    " set_config('haven.request_id', %(t_request_id)s, true), set_config('haven.platform', %(t_platform)s, true); "
)


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose rows a transaction may touch, and in whose name.

    ``is_platform`` opens the list of agencies (and no other table) to an operator.
    """

    agency_id: uuid.UUID
    actor: str = "system"
    request_id: str = ""
    is_platform: bool = False


def set_tenant(session: Session, tenant: Tenant) -> None:
    """Make every transaction of ``session`` from now on, and the one that is open, the tenant's."""
    session.info[_KEY] = tenant
    if session.in_transaction():
        _tell_postgres(session.connection(), tenant)


def tenant_of(session: Session) -> Tenant:
    """The tenant that ``set_tenant`` gave the session; a ``LookupError`` where there is none."""
    return session.info[_KEY]  # type: ignore[no-any-return]


def tell_along(session: Session) -> None:
    """Let ``session`` tell PostgreSQL its tenant together with a transaction's first statement, and not before it.

    One way to the server less for each transaction. Only for work whose every statement goes through SQLAlchemy: what is
    run on the driver's own cursor (``COPY``) would come before its tenant is told.
    """
    session.info[_TELLS_ALONG] = True


@contextmanager
def reading(engine: Engine, tenant: Tenant) -> Iterator[Connection]:
    """A connection for reads that need no common transaction: each statement is one of its own.

    Its tenant is told in the statement's own message, which PostgreSQL runs as one transaction (Frontend/Backend Protocol,
    Multiple Statements in a Simple Query). So a read is one exchange with the server, and not three: no BEGIN, no COMMIT.
    What goes past SQLAlchemy to the driver's own cursor is told no tenant, and so sees no row.
    """
    with engine.connect() as connection:
        alone = connection.execution_options(isolation_level="AUTOCOMMIT")
        alone.info[OWNER] = str(tenant.agency_id)
        alone.info[_TELLS_EACH] = _values_of(tenant)
        yield alone


def _tell_postgres(connection: Connection, tenant: Tenant, *, along: bool = False) -> None:
    connection.info[OWNER] = str(tenant.agency_id)
    if along:
        connection.info[_TO_TELL] = _values_of(tenant)
    else:
        connection.execute(_SET_TENANT, _values_of(tenant))


def _values_of(tenant: Tenant) -> dict[str, str]:
    return {
        "t_agency_id": str(tenant.agency_id),
        "t_actor": tenant.actor,
        "t_request_id": tenant.request_id,
        "t_platform": "on" if tenant.is_platform else "",
    }


@event.listens_for(Engine, "before_cursor_execute", retval=True)
def _told_along(
    connection: Connection, cursor: Any, statement: str, values: Any, _context: Any, many: bool
) -> tuple[str, Any]:
    told = connection.info.get(_TELLS_EACH) or connection.info.pop(_TO_TELL, None)
    if told is None:
        return statement, values
    if many or not isinstance(values, dict):
        cursor.execute(_TELL_ALONG, told)
        return statement, values
    return _TELL_ALONG + statement, told | values


@event.listens_for(Pool, "checkin")
def _told_nobody(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info.pop(_TO_TELL, None)
    record.info.pop(_TELLS_EACH, None)


@event.listens_for(Session, "after_begin")
def _begin(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    tenant = session.info.get(_KEY)
    # A savepoint lives in the same transaction, whose settings stand.
    if tenant is not None and not transaction.nested:
        connection.info.pop(_TO_TELL, None)
        _tell_postgres(connection, tenant, along=session.info.get(_TELLS_ALONG, False))


def after_commit(session: Session, action: Callable[[], None]) -> None:
    """Run ``action`` once the session's transaction has committed; forget it if it rolls back."""
    session.info.setdefault(_AFTER_COMMIT, []).append(action)


@event.listens_for(Session, "after_commit")
def _committed(session: Session) -> None:
    for action in session.info.pop(_AFTER_COMMIT, ()):
        action()


@event.listens_for(Session, "after_rollback")
def _rolled_back(session: Session) -> None:
    session.info.pop(_AFTER_COMMIT, None)


@contextmanager
def tenant_session(
    engine: Engine,
    agency_id: uuid.UUID,
    actor: str = "system",
    request_id: str = "",
    *,
    is_platform: bool = False,
) -> Iterator[Session]:
    """A session for work outside a request; commits at the end, rolls back on an exception."""
    with Session(engine, expire_on_commit=False) as session:
        set_tenant(session, Tenant(agency_id, actor, request_id, is_platform))
        with session.begin():
            yield session
