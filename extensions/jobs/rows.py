"""The life of a job's row: written, claimed, renewed, ended. Works on any table with the columns of ``job_table``.

Every change of a running job names its claim. A worker that was paused while another took its job over holds an old
claim, so nothing that it writes is believed.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    RowMapping,
    Table,
    Text,
    Uuid,
    and_,
    func,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert

from extensions.jobs.backoff import wait_s

LEASE: Final = dt.timedelta(seconds=30)
"""How long a worker holds a job without a sign of life; then another may take it over."""
UNFINISHED: Final = ("QUEUED", "SCHEDULED", "RUNNING")
CUT_OFF: Final = (
    "Every attempt was cut off: the worker that ran it died (killed, or out of memory) and said nothing."
)
_UNHEARD_AFTER: Final = dt.timedelta(seconds=10)
_JUST_MADE: Final = dt.timedelta(seconds=2)
_ERROR_LONGEST: Final = 2000


class Executes(Protocol):
    """A ``Session`` or a ``Connection``, in a transaction."""

    def execute(self, statement: Any, parameters: Any = None, /) -> Any: ...


def job_table(metadata: MetaData, name: str = "job", owner: str = "owner") -> Table:
    """A table for an app that has none of its own: ``owner`` is whose jobs share a queue fairly (any text)."""
    waiting = text("status IN ('QUEUED', 'SCHEDULED', 'RUNNING')")
    now = func.now()
    return Table(
        name,
        metadata,
        Column(owner, Text, primary_key=True),
        Column("id", Uuid, primary_key=True),
        Column("queue", Text, nullable=False),
        Column("kind", Text, nullable=False),
        Column("status", Text, nullable=False, server_default="QUEUED"),
        Column("arguments", JSONB, nullable=False),
        Column("unique_key", Text),
        Column("requested_by", Text, nullable=False, server_default=""),
        Column("request_id", Text, nullable=False, server_default=""),
        Column("trace_id", Text, nullable=False, server_default=""),
        Column("claim", Integer, nullable=False, server_default="0"),
        Column("worker", Text, nullable=False, server_default=""),
        Column("attempts", Integer, nullable=False, server_default="0"),
        Column("max_attempts", Integer, nullable=False),
        Column("progress_done", Integer, nullable=False, server_default="0"),
        Column("progress_total", Integer),
        Column("progress_message", Text, nullable=False, server_default=""),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=now),
        Column("run_after", DateTime(timezone=True), nullable=False, server_default=now),
        Column("enqueued_at", DateTime(timezone=True)),
        Column("lease_until", DateTime(timezone=True)),
        Column("started_at", DateTime(timezone=True)),
        Column("finished_at", DateTime(timezone=True)),
        Column("cancel_requested", Boolean, nullable=False, server_default="false"),
        Column("result", JSONB),
        Column("error", Text),
        Index(f"{name}_unique_key", owner, "kind", "unique_key", unique=True, postgresql_where=waiting),
        Index(f"{name}_unfinished_idx", owner, "queue", "run_after", postgresql_where=waiting),
    )


@dataclass(frozen=True, slots=True)
class Rows:
    """The jobs in ``table``; its column ``owner`` says whose each is. Every call is part of the caller's transaction."""

    table: Table
    owner: str = "owner"
    paused: Table | None = None
    """Queues that nobody takes from, by its column ``queue``."""

    def write(self, session: Executes, owner: Any, **values: Any) -> bool:
        """Write a new job; False where an unfinished one of its kind has the same unique key."""
        made = session.execute(
            insert(self.table)
            .values({self.owner: owner, **values})
            .on_conflict_do_nothing()
            .returning(self.table.c.id)
        )
        return made.first() is not None

    def unfinished(self, session: Executes, owner: Any, kind: str, unique_key: str | None) -> Any:
        """The id of the unfinished job of this kind with this key, or None."""
        c = self.table.c
        found = select(c.id).where(
            self._of(owner), c.kind == kind, c.unique_key == unique_key, c.status.in_(UNFINISHED)
        )
        return session.execute(found).scalar_one_or_none()

    def lock(self, session: Executes, owner: Any, job_id: uuid.UUID) -> RowMapping | None:
        """The job, which nobody else changes until the transaction ends."""
        found = select(self.table).where(self._of(owner), self.table.c.id == job_id).with_for_update()
        row: RowMapping | None = session.execute(found).mappings().one_or_none()
        return row

    def change(self, session: Executes, owner: Any, job_id: uuid.UUID, **values: Any) -> RowMapping | None:
        """Change one job; the row as it is then."""
        return self._change(session, owner, job_id, [], values)

    def claim(
        self, session: Executes, owner: Any, job_id: uuid.UUID, now: dt.datetime, worker: str = ""
    ) -> RowMapping | None:
        """Take a job to run it. None where another has it, or it is finished, not due, or its queue is paused.

        A job whose attempts are used up is not run: it comes back FAILED.
        """
        c = self.table.c
        ready = or_(
            c.status.in_(("QUEUED", "SCHEDULED")) & (c.run_after <= now),
            (c.status == "RUNNING") & (c.lease_until < now),
        )
        found = (
            select(c.attempts, c.max_attempts, c.started_at, c.cancel_requested)
            .where(self._of(owner), c.id == job_id, ready, *self._not_paused())
            .with_for_update(skip_locked=True, of=self.table)
        )
        row = session.execute(found).one_or_none()
        if row is None:
            return None
        if row.cancel_requested:
            return self.change(session, owner, job_id, **_ended("CANCELLED"))
        if row.attempts >= row.max_attempts:
            return self.change(session, owner, job_id, **_ended("FAILED", error=CUT_OFF))
        return self.change(
            session,
            owner,
            job_id,
            status="RUNNING",
            attempts=c.attempts + 1,
            claim=c.claim + 1,
            worker=worker,
            started_at=row.started_at or now,
            lease_until=now + LEASE,
        )

    def renew(
        self, session: Executes, owner: Any, job_id: uuid.UUID, claim: int, **progress: Any
    ) -> bool | None:
        """Hold the job for another while. Whether it shall be cancelled; None where it is not this claim's any more."""
        row = self._change_claimed(
            session, owner, job_id, claim, {"lease_until": func.now() + LEASE, **progress}
        )
        return None if row is None else bool(row["cancel_requested"])

    def look(self, session: Executes, owner: Any, job_id: uuid.UUID, claim: int) -> bool | None:
        """As ``renew``, and writes nothing."""
        c = self.table.c
        found = select(c.cancel_requested).where(
            self._of(owner), c.id == job_id, c.claim == claim, c.status == "RUNNING"
        )
        asked: bool | None = session.execute(found).scalar_one_or_none()
        return asked

    def succeed(
        self, session: Executes, owner: Any, job_id: uuid.UUID, claim: int, result: Any, **progress: Any
    ) -> RowMapping | None:
        """The job is done, so it is at its total; None where it is not this claim's any more.

        Args:
            progress: what it said last and is not written yet.
        """
        c = self.table.c
        done = func.coalesce(
            progress.get("progress_total", c.progress_total), progress.get("progress_done", c.progress_done)
        )
        values = {**progress, "progress_done": done}
        return self._change_claimed(
            session, owner, job_id, claim, {**_ended("SUCCEEDED"), "result": result, **values}
        )

    def fail(
        self,
        session: Executes,
        owner: Any,
        job_id: uuid.UUID,
        claim: int,
        error: str,
        *,
        for_good: bool = False,
    ) -> RowMapping | None:
        """An attempt failed: the job waits for the next, or has failed. None where it is not this claim's any more."""
        row = self.lock(session, owner, job_id)
        if row is None or row["claim"] != claim or row["status"] != "RUNNING":
            return None
        if for_good or row["attempts"] >= row["max_attempts"]:
            return self.change(session, owner, job_id, **_ended("FAILED", error=error))
        return self.change(
            session,
            owner,
            job_id,
            status="SCHEDULED",
            run_after=func.now() + dt.timedelta(seconds=wait_s(row["attempts"])),
            enqueued_at=None,
            lease_until=None,
            error=error[:_ERROR_LONGEST],
        )

    def fail_of_worker(
        self, session: Executes, owner: Any, job_id: uuid.UUID, worker: str, error: str
    ) -> RowMapping | None:
        """As ``fail``, for a worker that knows its own name and not the claim: its child has died with that."""
        row = self.lock(session, owner, job_id)
        if row is None or row["worker"] != worker:
            return None
        return self.fail(session, owner, job_id, row["claim"], error)

    def stop(self, session: Executes, owner: Any, job_id: uuid.UUID, claim: int) -> RowMapping | None:
        """The job has heeded its cancellation."""
        return self._change_claimed(session, owner, job_id, claim, _ended("CANCELLED"))

    def put_back(
        self, session: Executes, owner: Any, job_id: uuid.UUID, claim: int, wait_s: float = 0
    ) -> RowMapping | None:
        """The worker has to go, or the job's time has not come: it waits again, and the attempt does not count.

        Args:
            wait_s: not before so many seconds.
        """
        values = {
            "status": "SCHEDULED" if wait_s else "QUEUED",
            "attempts": self.table.c.attempts - 1,
            "lease_until": None,
            "enqueued_at": None,
        }
        if wait_s:
            values["run_after"] = func.now() + dt.timedelta(seconds=wait_s)
        return self._change_claimed(session, owner, job_id, claim, values)

    def due(
        self, session: Executes, owner: Any, queues: Iterable[str], now: dt.datetime, per_queue: int = 100
    ) -> list[RowMapping]:
        """Jobs that nobody may be coming for: lost wake-ups, waits that are over, workers that died.

        The oldest of each queue, so that a long queue hides no other. Reads the index ``…_unfinished_idx``.
        """
        c = self.table.c
        waits = c.status.in_(("QUEUED", "SCHEDULED")) & (c.run_after <= now)
        unheard = or_(
            and_(c.enqueued_at.is_(None), c.created_at < now - _JUST_MADE),
            c.enqueued_at < now - _UNHEARD_AFTER,
        )
        cut_off = (c.status == "RUNNING") & (c.lease_until < now)
        each = func.unnest(literal(list(queues), ARRAY(Text))).table_valued("queue").render_derived()
        oldest = (
            select(c.id)
            .where(
                self._of(owner),
                c.queue == each.c.queue,
                c.status.in_(UNFINISHED),
                or_(waits & unheard, cut_off),
                *self._not_paused(),
            )
            .order_by(c.run_after)
            .limit(per_queue)
            .with_for_update(skip_locked=True, of=self.table)
            .correlate(each)
            .lateral("oldest")
        )
        found = select(oldest.c.id).select_from(each).join(oldest, text("true"))
        changed = (
            update(self.table)
            .where(self._of(owner), c.id.in_(found))
            .values(enqueued_at=now)
            .returning(c.id, c.kind, c.queue)
        )
        rows: list[RowMapping] = session.execute(changed).mappings().all()
        return rows

    def lost(self, session: Executes, owner: Any, known: Sequence[str]) -> list[RowMapping]:
        """Fail every job of a kind that is not ``known``, unless it runs: its code is gone."""
        c = self.table.c
        is_free = c.status.in_(("QUEUED", "SCHEDULED")) | (
            (c.status == "RUNNING") & (c.lease_until < func.now())
        )
        error = literal("Nothing here knows a job of the kind ", Text) + c.kind + ": its code is gone."
        gone = (
            update(self.table)
            .where(self._of(owner), is_free, c.kind.not_in(known))
            .values(_ended("FAILED") | {"error": error})
            .returning(self.table)
        )
        rows: list[RowMapping] = session.execute(gone).mappings().all()
        return rows

    def waiting(self, session: Executes, owner: Any, queue: str, limit: int) -> list[RowMapping]:
        """The oldest jobs of a queue that are due; workers may have been told of the first of them."""
        c = self.table.c
        found = (
            select(c.id, c.kind)
            .where(
                self._of(owner),
                c.queue == queue,
                c.status.in_(("QUEUED", "SCHEDULED")),
                c.run_after <= func.now(),
            )
            .order_by(c.run_after)
            .limit(limit)
        )
        rows: list[RowMapping] = session.execute(found).mappings().all()
        return rows

    def _change_claimed(
        self, session: Executes, owner: Any, job_id: uuid.UUID, claim: int, values: dict[str, Any]
    ) -> RowMapping | None:
        c = self.table.c
        return self._change(session, owner, job_id, [c.claim == claim, c.status == "RUNNING"], values)

    def _change(
        self, session: Executes, owner: Any, job_id: uuid.UUID, conditions: list[Any], values: dict[str, Any]
    ) -> RowMapping | None:
        changed = (
            update(self.table)
            .where(self._of(owner), self.table.c.id == job_id, *conditions)
            .values(values)
            .returning(self.table)
        )
        row: RowMapping | None = session.execute(changed).mappings().one_or_none()
        return row

    def _of(self, owner: Any) -> Any:
        return self.table.c[self.owner] == owner

    def _not_paused(self) -> list[Any]:
        if self.paused is None:
            return []
        return [~select(self.paused.c.queue).where(self.paused.c.queue == self.table.c.queue).exists()]


def _ended(status: str, error: str | None = None) -> dict[str, Any]:
    return {
        "status": status,
        "finished_at": func.now(),
        "lease_until": None,
        "error": None if error is None else error[:_ERROR_LONGEST],
    }
