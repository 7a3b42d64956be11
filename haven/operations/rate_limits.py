"""What operators say of the rate limits, while Haven runs.

The audit trail is where it is kept: of each limit the newest entry holds. Redis has a copy that every process reads, and
which a process that finds it missing writes again (``restore``).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Final

import redis
from sqlalchemy import Engine, func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from extensions.rate_limiting import DEFAULT, Rule
from haven.db.base import PLATFORM
from haven.db.session import tenant_of, tenant_session
from haven.errors import Invalid, Unavailable
from haven.identity.models import AuditEntry
from haven.operations.route_classes import CLASSES

ENTITY: Final = "rate_limit"
NAMES: Final = (DEFAULT, *(one.name for one in CLASSES))
_LOCK: Final = 0x4C494D49

PutInForce = Callable[[Mapping[str, str]], None]


def overridden(session: Session) -> dict[str, str]:
    """Limit → rule, of those that an operator has changed. Reads ``audit_entry (agency_id, entity, entity_id, id)``."""
    newest = (
        select(AuditEntry.entity_id, AuditEntry.changes)
        .where(
            AuditEntry.agency_id == PLATFORM,
            AuditEntry.entity == ENTITY,
            AuditEntry.entity_id.in_([_id_of(name) for name in NAMES]),
        )
        .order_by(AuditEntry.entity_id, AuditEntry.id.desc())
        .ext(distinct_on(AuditEntry.entity_id))
    )
    said = {row.entity_id: row.changes for row in session.execute(newest)}
    found = {}
    for name in NAMES:
        rule = said.get(_id_of(name), {}).get(name, [None, None])[1]
        if rule is not None:
            found[name] = str(rule)
    return found


def change(session: Session, put_in_force: PutInForce, changes: Mapping[str, str | None]) -> dict[str, str]:
    """Change limits; None puts one back to its setting. What is overridden then.

    Args:
        put_in_force: tells every process; called before the commit, so that what is not in force is not written down.

    Raises:
        Invalid: a rule is none.
        Unavailable: Redis does not answer, so the other processes cannot be told.
    """
    session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    before = overridden(session)
    after = dict(before)
    for name, text in changes.items():
        rule = None if text is None else _rule(name, text)
        if rule == before.get(name):
            continue
        session.add(_entry(session, name, before.get(name), rule))
        if rule is None:
            del after[name]
        else:
            after[name] = rule
    session.flush()
    try:
        put_in_force(after)
    except redis.RedisError as error:
        raise Unavailable(
            "Redis does not answer, so the limits cannot be changed now.", retry_after_s=5
        ) from error
    return after


def restore(engine: Engine) -> dict[str, str]:
    """What operators have said, when Redis has lost it.

    Raises:
        LookupError: PostgreSQL does not answer.
    """
    try:
        with tenant_session(engine, PLATFORM, "rate-limits", is_platform=True) as session:
            return overridden(session)
    except SQLAlchemyError as error:
        raise LookupError("PostgreSQL does not answer") from error


def _rule(name: str, text: str) -> str:
    try:
        return str(Rule.parse(text))
    except ValueError as error:
        raise Invalid.field(name, str(error)) from None


def _entry(session: Session, name: str, before: str | None, after: str | None) -> AuditEntry:
    tenant = tenant_of(session)
    return AuditEntry(
        agency_id=PLATFORM,
        actor=tenant.actor,
        request_id=tenant.request_id,
        action="UPDATE",
        entity=ENTITY,
        entity_id=_id_of(name),
        changes={name: [before, after]},
    )


def _id_of(name: str) -> uuid.UUID:
    """A limit has no row, so it has an id made of its name."""
    return uuid.uuid5(PLATFORM, f"{ENTITY}/{name}")
