"""What tests of billing ask of an agency's books."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from sqlalchemy import Engine

from haven.billing import service as billing
from haven.billing.models import Invoice
from haven.db.session import tenant_session


def invoice_of(engine: Engine, agency_id: uuid.UUID, invoice_id: uuid.UUID) -> Invoice:
    with tenant_session(engine, agency_id) as session:
        return session.get_one(Invoice, (agency_id, invoice_id))


def ledger_of(engine: Engine, agency_id: uuid.UUID) -> dict[str, Decimal]:
    """Account code → debits less credits, where that is not nought."""
    with tenant_session(engine, agency_id) as session:
        totals = billing.trial_balance(session)
    return {one.code: one.balance for one in totals if one.balance}


def line(kind: str, amount: str, description: str = "For this") -> dict[str, Any]:
    return {"kind": kind, "description": description, "amount": Decimal(amount)}


def at(year: int, month: int, day: int, hour: int = 9) -> dt.datetime:
    return dt.datetime(year, month, day, hour, tzinfo=dt.UTC)


def at_once(*acts: Callable[[], object]) -> list[object]:
    """Run each in a thread of its own, all at the same time; what each gave or raised, in no order."""
    outcomes: list[object] = []
    start = threading.Barrier(len(acts))

    def run(act: Callable[[], object]) -> None:
        start.wait()
        try:
            outcomes.append(act())
        except Exception as error:  # noqa: BLE001  what it is is what the test is about
            outcomes.append(error)

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes
