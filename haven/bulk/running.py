"""From rows to a report: all or nothing, batch by batch, or only to see what would come of it."""

from __future__ import annotations

import datetime as dt
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from zoneinfo import ZoneInfo

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from extensions.jobs.attempt import Cancelled
from haven.bulk.applying import Batches, Outcome
from haven.bulk.faults import SHOWN_MOST, Row, RowFault, RowsRefused
from haven.bulk.models import BulkPiece, BulkUpload
from haven.bulk.reading import about_rows, read
from haven.bulk.resources import BULK, Bulk
from haven.db.base import new_id
from haven.db.session import tenant_of
from haven.errors import Conflict
from haven.identity.models import Agency

if TYPE_CHECKING:
    from haven.operations.jobs import JobContext

_PIECE: Final = 1_048_576
_LOCKED_EACH: Final = 100
"""Rows of a transaction for which PostgreSQL surely has room for a lock each."""
Told = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked: which rows (``resource``), what with them (``operation``), in which ``mode``, from which ``format``."""

    resource: str
    operation: str
    mode: str
    format: str
    is_dry_run: bool

    @property
    def bulk(self) -> Bulk:
        """The resource."""
        return BULK[self.resource]

    @property
    def is_whole(self) -> bool:
        """Whether it is one transaction."""
        return self.mode == "ATOMIC" or self.is_dry_run

    def batches(self, at_once: int | None = None) -> Batches:
        """What does the rows, ``at_once`` of them in each transaction (None: nobody knows how many)."""
        is_large = at_once is None or at_once > _LOCKED_EACH
        return Batches(self.bulk, self.operation, is_named=self.format == "CSV", is_large=is_large)

    def rows(self, file: BinaryIO, zone: ZoneInfo) -> Generator[Row]:
        """The rows of ``file``."""
        return read(file, self.format, self.bulk, self.operation, zone)


@dataclass
class Tally:
    """Rows read, done and refused so far, with the first faults."""

    rows: int = 0
    succeeded: int = 0
    failed: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)
    faults: list[RowFault] = field(default_factory=list)

    def add(self, count: int, outcome: Outcome) -> None:
        """Count a batch of ``count`` rows."""
        self.rows += count
        self.succeeded += len(outcome.ids)
        self.failed += outcome.failed
        room = SHOWN_MOST - len(self.errors)
        self.faults += outcome.faults[:room]
        self.errors += [fault.document() for fault in outcome.faults[:room]]

    def report(self, order: Order) -> dict[str, Any]:
        """What the caller is told."""
        is_undone = order.is_dry_run or (order.mode == "ATOMIC" and self.failed > 0)
        return {
            "resource": order.resource,
            "operation": order.operation.lower(),
            "mode": order.mode.lower(),
            "dry_run": order.is_dry_run,
            "applied": not is_undone,
            "rows": self.rows,
            "succeeded": self.succeeded,
            "failed": self.failed,
            "errors": self.errors,
        }


def zone_of(session: Session) -> ZoneInfo:
    """The agency's time zone."""
    name: str = session.execute(
        select(Agency.timezone).where(Agency.id == tenant_of(session).agency_id)
    ).scalar_one()
    return ZoneInfo(name)


def at_once(session: Session, order: Order, rows: list[Row]) -> dict[str, Any]:
    """Do the rows in the transaction at hand; the report, with the ids of those done.

    Raises:
        RowsRefused: all or nothing was asked for, and a row breaks a rule; roll back.
    """
    tally = Tally()
    ids: list[uuid.UUID] = []
    trial = session.begin_nested() if order.is_dry_run else None
    batches = order.batches(len(rows))
    batches.begin(session)
    for batch in batched(iter(rows), order.bulk.batch):
        outcome = batches.apply(session, batch)
        tally.add(len(batch), outcome)
        ids += outcome.ids
    if trial is not None:
        trial.rollback()
    if order.mode == "ATOMIC" and tally.failed and not order.is_dry_run:
        raise RowsRefused(tally.failed, tally.rows, tuple(tally.faults))
    return tally.report(order) | {"ids": [] if order.is_dry_run else ids}


def keep(session: Session, order: Order, file: BinaryIO) -> uuid.UUID:
    """Store what was sent, for a worker to do; the id of the upload."""
    agency_id, upload_id = tenant_of(session).agency_id, new_id()
    size = file.seek(0, 2)
    session.add(
        BulkUpload(
            agency_id=agency_id,
            id=upload_id,
            resource=order.resource,
            operation=order.operation,
            mode=order.mode,
            format=order.format,
            is_dry_run=order.is_dry_run,
            size_bytes=size,
            row_count=about_rows(file, order.format),
        )
    )
    session.flush()
    file.seek(0)
    number = 0
    while content := file.read(_PIECE):
        piece = BulkPiece(agency_id=agency_id, upload_id=upload_id, number=number, content=content)
        session.add(piece)
        session.flush()
        # One piece at a time: the session would hold them all.
        session.expunge(piece)
        number += 1
    return upload_id


def run(context: JobContext, upload_id: uuid.UUID, batch_size: int) -> dict[str, Any]:
    """Do what was kept. Run again it goes on behind the last batch that was committed, or gives the report that is there.

    Raises:
        Cancelled: somebody stopped the job: of a whole nothing is done, else what is done stays.
    """
    with context.session() as session:
        upload = _upload(session, upload_id)
        zone = zone_of(session)
        total = upload.row_count
        order = Order(upload.resource, upload.operation, upload.mode, upload.format, upload.is_dry_run)
        if upload.finished_at is not None:
            return upload.report
    with tempfile.TemporaryFile() as file:
        _fetch(context, upload_id, file)
        told: Told = lambda done: context.progress(  # noqa: E731
            done, max(done, total), f"{done:,} of about {total:,} rows"
        )
        if order.is_whole:
            report = _whole(context, upload_id, order, order.rows(file, zone), told)
        else:
            report = _in_parts(context, upload_id, order, order.rows(file, zone), batch_size, told)
    rows: int = report["rows"]
    # Line ends were counted, not rows. What is done is done: nobody can cancel it any more.
    with suppress(Cancelled):
        context.progress(rows, rows, f"{rows:,} rows")
    return report


def here(
    open_session: Callable[[], AbstractContextManager[Session]],
    order: Order,
    rows: Iterator[Row],
    batch_size: int,
    told: Told,
) -> Tally:
    """Do the rows at a terminal, without a job: a transaction for all, or one for each batch."""
    tally = Tally()
    if order.is_whole:
        with suppress(_Undo), open_session() as session:
            _do_all(session, order, rows, tally, told)
        return tally
    batches = order.batches(batch_size)
    for batch in batched(rows, batch_size):
        with open_session() as session:
            batches.begin(session)
            outcome = batches.apply(session, batch)
        tally.add(len(batch), outcome)
        told(tally.rows)
    return tally


def batched(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    """Lists of ``size`` rows; the last may be shorter."""
    while batch := list(islice(rows, size)):
        yield batch


class _Undo(Exception):
    """Roll back: it was a trial, or a row was refused."""


def _whole(
    context: JobContext, upload_id: uuid.UUID, order: Order, rows: Iterator[Row], told: Told
) -> dict[str, Any]:
    tally = Tally()
    with suppress(_Undo), context.session() as session:
        upload = _upload(session, upload_id, lock=True)
        if upload.finished_at is not None:
            return upload.report
        _do_all(session, order, rows, tally, told)
        _finish(session, upload_id, tally.report(order))
        return tally.report(order)
    with context.session() as session:
        _finish(session, upload_id, tally.report(order))
    return tally.report(order)


def _do_all(session: Session, order: Order, rows: Iterator[Row], tally: Tally, told: Told) -> None:
    batches = order.batches()
    batches.begin(session)
    for batch in batched(rows, order.bulk.batch):
        tally.add(len(batch), batches.apply(session, batch))
        # What is written is not needed again; a million rows would fill the memory.
        session.expunge_all()
        told(tally.rows)
    if order.is_dry_run or tally.failed:
        raise _Undo


def _in_parts(
    context: JobContext,
    upload_id: uuid.UUID,
    order: Order,
    rows: Iterator[Row],
    batch_size: int,
    told: Told,
) -> dict[str, Any]:
    batches = order.batches(batch_size)
    read_so_far = 0
    for batch in batched(rows, batch_size):
        read_so_far += len(batch)
        with context.session() as session:
            upload = _upload(session, upload_id, lock=True)
            left = batch[max(0, upload.rows_done - (read_so_far - len(batch))) :]
            if left:
                batches.begin(session)
                _part(session, upload, order, left, batches)
        told(read_so_far)
    with context.session() as session:
        upload = _upload(session, upload_id, lock=True)
        report = _tally(upload).report(order)
        _finish(session, upload_id, report)
    return report


def _part(session: Session, upload: BulkUpload, order: Order, batch: list[Row], batches: Batches) -> None:
    tally = _tally(upload)
    tally.add(len(batch), batches.apply(session, batch))
    upload.rows_done = tally.rows
    upload.report = tally.report(order)


def _tally(upload: BulkUpload) -> Tally:
    known = upload.report
    return Tally(
        upload.rows_done, known.get("succeeded", 0), known.get("failed", 0), list(known.get("errors", ()))
    )


def _upload(session: Session, upload_id: uuid.UUID, *, lock: bool = False) -> BulkUpload:
    key = (tenant_of(session).agency_id, upload_id)
    upload = session.get(BulkUpload, key, with_for_update=lock or None, populate_existing=True)
    if upload is None:
        raise Conflict("What was sent is not there any more: send it again.")
    return upload


def _finish(session: Session, upload_id: uuid.UUID, report: dict[str, Any]) -> None:
    """Keep the report, and what was sent no longer."""
    upload = _upload(session, upload_id, lock=True)
    upload.report = report
    upload.rows_done = upload.row_count = report["rows"]
    upload.finished_at = dt.datetime.now(dt.UTC)
    session.execute(
        delete(BulkPiece).where(BulkPiece.agency_id == upload.agency_id, BulkPiece.upload_id == upload_id)
    )


def _fetch(context: JobContext, upload_id: uuid.UUID, file: BinaryIO) -> None:
    number = 0
    while True:
        with context.session() as session:
            content = session.execute(
                select(BulkPiece.content).where(
                    BulkPiece.agency_id == context.agency_id,
                    BulkPiece.upload_id == upload_id,
                    BulkPiece.number == number,
                )
            ).scalar_one_or_none()
        if content is None:
            return
        file.write(content)
        context.check_cancelled()
        number += 1
