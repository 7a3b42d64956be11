"""Looking after the cache: clearing it by hand, its numbers, and computing lists before anybody asks. No Flask."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from extensions.caching.cache import Cache
from extensions.caching.link import Unavailable
from extensions.caching.server import server_numbers
from extensions.caching.statistics import ALL, Numbers
from haven.db.base import PLATFORM
from haven.db.session import tenant_of, tenant_session
from haven.identity.models import Agency
from haven.operations import jobs
from haven.operations.models import CacheDebt
from haven.runtime import Runtime

TARGETS: Final = ("owners", "properties", "units", "tenants", "leases", "invoices", "payments", "dashboard")
"""What can be warmed: the lists that are stored and the dashboard, by namespace."""
BUSY_S: Final = 900
"""An agency that asked the cache in these last seconds is kept warm."""
_BUSY_MOST: Final = 200
_WARM: Final = "cache_warm"


def invalidate(session: Session, cache: Cache, pattern: str | None, tags: Iterable[str]) -> bool:
    """Clear what is like ``pattern`` or has one of the tags (neither: everything) of the caller's agency; an operator's: of all.

    Whether it is done. False: Redis cannot be told now; everything of these agencies is cleared before anything stored is
    believed again.
    """
    is_done = True
    named = set(tags)
    for owner in _owners(session):
        try:
            if pattern is not None or not named:
                cache.clear_pattern(owner, pattern or "*")
            if named:
                cache.clear_tags(owner, named)
        except Unavailable:
            cache.debts.note(session.connection(), owner)
            is_done = False
    return is_done


def statistics(session: Session, cache: Cache) -> dict[str, Any]:
    """The cache's numbers by namespace, of the caller's agency; for an operator of all, and the server's own."""
    tenant = tenant_of(session)
    try:
        counted = cache.statistics.read(ALL if tenant.is_platform else str(tenant.agency_id))
        server = server_numbers(cache.link) if tenant.is_platform else None
    except Unavailable:
        return {"is_available": False, "namespaces": [], "total": _shown(Numbers()), "server": None}
    total = Numbers(
        **{name: sum(getattr(one, name) for one in counted.values()) for name in asdict(Numbers())}
    )
    rows = [{"namespace": name} | _shown(numbers) for name, numbers in counted.items()]
    return {"is_available": True, "namespaces": rows, "total": _shown(total), "server": server}


def request_warm(session: Session, targets: Iterable[str]) -> uuid.UUID:
    """Ask for a job that computes the first page of each list; one that waits already is enough."""
    chosen = sorted(set(targets) or TARGETS)
    return jobs.submit(session, _WARM, {"targets": chosen}, unique_key=",".join(chosen))


def keep_warm(session: Session, now: dt.datetime) -> int:  # noqa: ARG001
    """Ask for the job where the agency is one of those that use the cache now; for the clock."""
    cache: Cache = session.info["cache"]
    try:
        busy = cache.statistics.used_since(BUSY_S, _BUSY_MOST) if cache.rules.is_on else []
    except Unavailable:
        return 0
    if str(tenant_of(session).agency_id) not in busy:
        return 0
    request_warm(session, ())
    return 1


def settle_debts(runtime: Runtime) -> int:
    """Clear what Redis could not be told of, once it answers, also where nobody reads the cache; how many rows went."""
    before = _debts(runtime.engine)
    if before:
        runtime.cache.debts.are_none()
    return max(before - _debts(runtime.engine), 0) if before else 0


def _debts(engine: Engine) -> int:
    with Session(engine) as session:
        return session.execute(select(func.count()).select_from(CacheDebt)).scalar_one()


def agencies_of(engine: Engine, agency_id: uuid.UUID) -> list[uuid.UUID]:
    """The agencies that a job of ``agency_id`` warms: itself; the operators' job every one."""
    if agency_id != PLATFORM:
        return [agency_id]
    with tenant_session(engine, PLATFORM, "cache-warm", is_platform=True) as session:
        return list(session.execute(select(Agency.id)).scalars())


def _owners(session: Session) -> list[str]:
    tenant = tenant_of(session)
    if not tenant.is_platform:
        return [str(tenant.agency_id)]
    return [str(agency_id) for agency_id in session.execute(select(Agency.id)).scalars()]


def _shown(numbers: Numbers) -> dict[str, Any]:
    rate = numbers.hit_rate
    return asdict(numbers) | {"hit_rate": None if rate is None else round(rate, 4)}
