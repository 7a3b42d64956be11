"""A person who has told the network to be sent no more is sent no more."""

from __future__ import annotations

from sqlalchemy import any_, func, update
from sqlalchemy.orm import Session

from haven.leasing.models import Tenant
from haven.notifications.models import Notification


def opt_out(session: Session, one: Notification) -> None:
    """Take the message's channel off its tenant, until somebody changes it; nothing where it was for staff."""
    if one.tenant_id is None:
        return
    session.execute(
        update(Tenant)
        .where(
            Tenant.agency_id == one.agency_id,
            Tenant.id == one.tenant_id,
            ~(any_(Tenant.opt_outs) == one.channel),
        )
        .values(opt_outs=func.array_append(Tenant.opt_outs, one.channel), version=Tenant.version + 1)
    )
