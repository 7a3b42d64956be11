"""A payment's row, held until the transaction ends."""

from __future__ import annotations

import uuid

from sqlalchemy import select
from sqlalchemy.orm import Session

from haven.db.session import tenant_of
from haven.errors import VersionMismatch
from haven.payments.models import Payment


def lock_payment(session: Session, payment_id: uuid.UUID, version: int | None) -> Payment:
    """The payment as it is now, locked; its lease must be locked already.

    Raises:
        VersionMismatch: it is not at ``version``, where one is given.
    """
    payment = session.execute(
        select(Payment)
        .where(Payment.agency_id == tenant_of(session).agency_id, Payment.id == payment_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).scalar_one()
    if version is not None and payment.version != version:
        raise VersionMismatch(f"The payment is at version {payment.version}, not {version}: read it again.")
    return payment
