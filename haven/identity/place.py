"""What the place of an agency decides: which day it is there, and in what currency it reckons."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import ColumnElement, Date, Uuid, cast, func, select
from sqlalchemy.orm import Session

from haven.db.session import tenant_of
from haven.identity.models import Agency


def today(session: Session, now: dt.datetime | None = None) -> dt.date:
    """The date in the agency's time zone at ``now``."""
    moment = now or dt.datetime.now(dt.UTC)
    there = cast(func.timezone(Agency.timezone, moment), Date)
    return session.execute(select(there).where(Agency.id == tenant_of(session).agency_id)).scalar_one()


def own_currency() -> ColumnElement[Any]:
    """The currency of the caller's agency as an expression: asked once for a statement, whatever its rows."""
    of_caller = cast(func.current_setting("haven.agency_id"), Uuid)
    return select(Agency.currency).where(Agency.id == of_caller).scalar_subquery()
