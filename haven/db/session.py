"""Sessions that know their tenant: each transaction tells PostgreSQL whose rows it may see."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.orm import Session, SessionTransaction

from extensions.caching.writes import OWNER

_KEY = "tenant"
_AFTER_COMMIT = "after_commit"

_SET_TENANT = text(
    "SELECT set_config('haven.agency_id', :agency_id, true), set_config('haven.actor', :actor, true),"
    " set_config('haven.request_id', :request_id, true), set_config('haven.platform', :platform, true)"
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


def _tell_postgres(connection: Connection, tenant: Tenant) -> None:
    connection.info[OWNER] = str(tenant.agency_id)
    connection.execute(
        _SET_TENANT,
        {
            "agency_id": str(tenant.agency_id),
            "actor": tenant.actor,
            "request_id": tenant.request_id,
            "platform": "on" if tenant.is_platform else "",
        },
    )


@event.listens_for(Session, "after_begin")
def _begin(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    tenant = session.info.get(_KEY)
    # A savepoint lives in the same transaction, whose settings stand.
    if tenant is not None and not transaction.nested:
        _tell_postgres(connection, tenant)


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
