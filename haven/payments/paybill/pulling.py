"""Comparing the books with M-Pesa's own list of what was paid: what was never told is booked, what differs is reported.

Every quarter of an hour the last three hours, so that each row is looked at often; each night all that M-Pesa lists.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import structlog
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from haven.db.base import new_id
from haven.db.session import tenant_of
from haven.errors import Conflict, HavenError
from haven.operations.jobs import submit
from haven.payments.models import C2bAddress, MpesaAttempt, Payment, ReconciliationRun
from haven.payments.mpesa.answers import PulledPage
from haven.payments.mpesa.client import MpesaError
from haven.payments.mpesa.credentials import client_for, credentials_of
from haven.payments.mpesa.eat import EAT
from haven.payments.mpesa.pulls import HORIZON, is_money_in, pulled_pages
from haven.payments.paybill.booked import note_page
from haven.payments.paybill.seen import PULL_ZONE_DOUBT, Seen, seen_in_list
from haven.payments.paybill.witness import witness
from haven.payments.queries import QueryContext
from haven.payments.statuses import OPEN_ATTEMPT

log = structlog.get_logger(__name__)

Kind = Literal["RECENT", "NIGHTLY"]
EVERY: Final = dt.timedelta(minutes=15)
WINDOW: Final = dt.timedelta(hours=3)
NIGHT_HOUR: Final = 2
"""Hour in Nairobi at which a night's pass is due."""
_LATEST: Final = dt.timedelta(minutes=2)
"""M-Pesa need not list what has only just moved."""
_KEPT: Final = dt.timedelta(days=90)
_MOST_REPORTED: Final = 100
_MOST_COMPARED: Final = 10_000
_GIVES_A_LIST: Final = ("REGISTERED", "ALREADY_REGISTERED")


@dataclass(slots=True)
class _Tally:
    """What a run has found so far."""

    checked: int = 0
    settled: int = 0
    mismatched: int = 0
    unanswered: int = 0
    mismatches: list[dict[str, Any]] = field(default_factory=list)
    receipts: set[str] = field(default_factory=set)

    def differs(self, receipt: str | None, why: str) -> None:
        self.mismatched += 1
        if len(self.mismatches) < _MOST_REPORTED:
            self.mismatches.append({"receipt": receipt, "why": why})


def submit_due_pulls(session: Session, now: dt.datetime) -> int:
    """A job for the run that is due in an agency whose paybill gives its list; how many. Looks, never remembers."""
    agency_id = tenant_of(session).agency_id
    listed = select(C2bAddress.id).where(
        C2bAddress.agency_id == agency_id, C2bAddress.pull_state.in_(_GIVES_A_LIST)
    )
    if session.execute(listed.limit(1)).first() is None:
        return 0
    rows = session.execute(
        select(ReconciliationRun.kind, func.max(ReconciliationRun.created_at))
        .where(
            ReconciliationRun.agency_id == agency_id,
            ReconciliationRun.created_at > now - dt.timedelta(days=2),
        )
        .group_by(ReconciliationRun.kind)
    )
    last = {kind: at for kind, at in rows}  # noqa: C416  a row is no pair to dict()
    long_ago = now - dt.timedelta(days=2)
    due: list[Kind] = []
    if last.get("RECENT", long_ago) <= now - EVERY:
        due.append("RECENT")
    if last.get("NIGHTLY", long_ago) < _last_night(now):
        due.append("NIGHTLY")
    return sum(_submit(session, kind) for kind in due)


def pull(context: QueryContext, kind: Kind, now: dt.datetime | None = None) -> dict[str, Any]:
    """Compare the books with M-Pesa's list, in transactions of its own; what the run's row says.

    Keys: ``run_id, status, checked`` (rows of the list), ``settled`` (news that was booked), ``mismatched`` (reported,
    never corrected), ``unanswered`` (pushes and payments of the window that the list did not settle). No transaction
    is open while M-Pesa is asked.
    """
    now = now or dt.datetime.now(dt.UTC)
    since = now - (WINDOW if kind == "RECENT" else HORIZON)
    tally = _Tally()
    with context.session() as session:
        run_id = _begin(session, kind, since, now)
    error = _read_list(context, tally, since, now)
    with context.session() as session:
        if error is None and kind == "NIGHTLY":
            _report_unlisted(session, tally, since, now)
        tally.unanswered = _unanswered(session, since, now)
        _end(session, run_id, tally, error)
    return {
        "run_id": str(run_id),
        "status": "DONE" if error is None else "FAILED",
        "checked": tally.checked,
        "settled": tally.settled,
        "mismatched": tally.mismatched,
        "unanswered": tally.unanswered,
    }


def _read_list(context: QueryContext, tally: _Tally, since: dt.datetime, now: dt.datetime) -> str | None:
    """Ask for the list and compare each page; why it was not read to its end, or None."""
    try:
        with context.session() as session:
            credentials = credentials_of(session, context.runtime.settings)
        with client_for(context.runtime, credentials) as client:
            for page in pulled_pages(client, credentials.shortcode, since, now, now):
                _compare(context, page, tally, now)
    except (MpesaError, Conflict, ValueError) as failure:
        # No answer; or the credentials are gone, or sealed with another SECRET_KEY.
        log.warning("pull_failed", why=str(failure))
        return str(failure)
    return None


def _last_night(now: dt.datetime) -> dt.datetime:
    """When the last night's pass fell due."""
    today = now.astimezone(EAT).replace(hour=NIGHT_HOUR, minute=0, second=0, microsecond=0)
    return today if today <= now else today - dt.timedelta(days=1)


def _submit(session: Session, kind: Kind) -> bool:
    try:
        submit(session, "mpesa_pull", {"kind": kind}, unique_key=kind)
    except Conflict:
        return False
    return True


def _begin(session: Session, kind: Kind, since: dt.datetime, now: dt.datetime) -> uuid.UUID:
    """The run's row. One that a killed worker left is ended, and those of long ago are removed."""
    agency_id = tenant_of(session).agency_id
    session.execute(
        update(ReconciliationRun)
        .where(
            ReconciliationRun.agency_id == agency_id,
            ReconciliationRun.kind == kind,
            ReconciliationRun.status == "RUNNING",
        )
        .values(status="FAILED", error="It was cut off.", finished_at=now)
    )
    session.execute(
        delete(ReconciliationRun).where(
            ReconciliationRun.agency_id == agency_id,
            ReconciliationRun.kind == kind,
            ReconciliationRun.created_at < now - _KEPT,
        )
    )
    run_id = new_id()
    session.execute(
        insert(ReconciliationRun).values(
            agency_id=agency_id, id=run_id, kind=kind, since=since, until=now, created_at=now
        )
    )
    return run_id


def _end(session: Session, run_id: uuid.UUID, tally: _Tally, error: str | None) -> None:
    session.execute(
        update(ReconciliationRun)
        .where(ReconciliationRun.agency_id == tenant_of(session).agency_id, ReconciliationRun.id == run_id)
        .values(
            status="DONE" if error is None else "FAILED",
            error=error,
            checked=tally.checked,
            settled=tally.settled,
            mismatched=tally.mismatched,
            unanswered=tally.unanswered,
            mismatches=tally.mismatches,
            finished_at=dt.datetime.now(dt.UTC),
        )
    )


def _compare(context: QueryContext, page: PulledPage, tally: _Tally, now: dt.datetime) -> None:
    """Look at a page: what is booked as it says costs three statements for all of it; the rest, a transaction each."""
    tally.checked += page.listed
    for _ in range(page.listed - len(page.rows)):
        tally.differs(None, "A row of the list cannot be read.")
    rows = [seen_in_list(row, now) for row in page.rows if is_money_in(row)]
    tally.receipts.update(row.receipt for row in page.rows)
    for row in page.rows:
        if not is_money_in(row):
            tally.differs(row.receipt, f"M-Pesa lists it as {row.kind}: it needs a look.")
    with context.session() as session:
        known = note_page(session, rows)
    for seen in rows:
        if seen.receipt not in known:
            _book(context, seen, tally, now)


def _book(context: QueryContext, seen: Seen, tally: _Tally, now: dt.datetime) -> None:
    try:
        with context.session() as session:
            sighting = witness(session, seen, now)
    except (SQLAlchemyError, HavenError):
        # The others go on; the next run comes by here again.
        log.exception("pulled_row_not_booked", receipt=seen.receipt)
        tally.differs(seen.receipt, "It could not be booked; the next run tries again.")
        return
    if sighting.result == "SETTLED":
        tally.settled += 1
    elif sighting.result == "MISMATCHED":
        tally.differs(seen.receipt, sighting.outcome)


def _report_unlisted(session: Session, tally: _Tally, since: dt.datetime, now: dt.datetime) -> None:
    """Completed payments whose receipt M-Pesa does not list, well within the time that it lists."""
    receipts = session.execute(
        select(Payment.reference)
        .where(
            Payment.agency_id == tenant_of(session).agency_id,
            Payment.status == "COMPLETED",
            Payment.paid_at >= since + PULL_ZONE_DOUBT,
            Payment.paid_at <= now - PULL_ZONE_DOUBT,
            Payment.method == "MPESA",
            Payment.reference.is_not(None),
        )
        .order_by(Payment.paid_at)
        .limit(_MOST_COMPARED)
    ).scalars()
    for receipt in receipts:
        if receipt not in tally.receipts:
            tally.differs(receipt, "It is booked, but M-Pesa does not list it: was it typed wrongly?")


def _unanswered(session: Session, since: dt.datetime, now: dt.datetime) -> int:
    """Pushes of the window that are still open, and payments of it that are known to be paid but by no receipt."""
    agency_id = tenant_of(session).agency_id
    pushes = select(func.count()).where(
        MpesaAttempt.agency_id == agency_id,
        MpesaAttempt.state.in_(OPEN_ATTEMPT),
        MpesaAttempt.created_at.between(since, now - _LATEST),
    )
    payments = select(func.count()).where(
        Payment.agency_id == agency_id,
        Payment.status == "COMPLETED",
        Payment.paid_at.between(since, now - _LATEST),
        Payment.method == "MPESA",
        Payment.reference.is_(None),
    )
    total: int = session.execute(select(pushes.scalar_subquery() + payments.scalar_subquery())).scalar_one()
    return total
