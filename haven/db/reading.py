"""A session that only reads, outside a request: from the replica where that may be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from haven.db.session import Tenant, set_tenant
from haven.runtime import Runtime


@contextmanager
def reading_from_replica(runtime: Runtime, tenant: Tenant) -> Iterator[Session]:
    """A session of the replica if it shows all that ``tenant.actor`` has written and is fresh; of the primary if not.

    Raises:
        DBAPIError: of a replica that fails in the middle, too. It is not read again before it is well, so a job that is
            tried again reads from the primary.
    """
    engine = runtime.reading.replica_for(tenant.actor)
    with Session(engine or runtime.engine, expire_on_commit=False) as session:
        set_tenant(session, tenant)
        try:
            yield session
        except DBAPIError as error:
            if engine is not None:
                runtime.reading.gave_up(error)
            raise
