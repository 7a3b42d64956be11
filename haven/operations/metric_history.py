"""The history of measurements in PostgreSQL: written each minute by the clock, read by whoever looks further back. No Flask."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Engine, and_, delete, func, or_, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from extensions.monitoring.reader import Point, Unreadable
from extensions.monitoring.rollup import (
    HOUR,
    MINUTE,
    STEPS,
    TEN_MINUTES,
    coarser,
    cover,
    due_minutes,
    kept_since,
    minute_points,
)
from extensions.monitoring.sketch import Sketch
from extensions.monitoring.store import Store
from haven.db.base import PLATFORM
from haven.db.session import tenant_of
from haven.operations.models import MetricRollup

_AT_ONCE: Final = 500
_REMOVED_AT_ONCE: Final = 5000
_REMOVED_ROUNDS: Final = 20
_COLUMNS: Final = (
    MetricRollup.metric,
    MetricRollup.labels,
    MetricRollup.slot,
    MetricRollup.step_s,
    MetricRollup.count,
    MetricRollup.sum,
    MetricRollup.errors,
    MetricRollup.sketch,
)


class RollupHistory:
    """Reads what ``roll_up`` wrote, in transactions of its own.

    Args:
        engine: a replica's where there is one.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self, metric: str, since: int, until: int, step_s: int, labels: str | None) -> Iterator[Point]:
        """See ``extensions.monitoring.History``."""
        parts = cover(since, until, step_s, time.time())
        if not parts:
            return iter(())
        times = [_within(step, start, end) for step, start, end in parts]
        wanted = select(*_COLUMNS).where(MetricRollup.metric == metric, or_(*times))
        if labels is not None:
            wanted = wanted.where(MetricRollup.labels == labels)
        try:
            with self._engine.connect() as connection:
                rows = connection.execute(wanted).all()
        except SQLAlchemyError as error:
            raise Unreadable(f"PostgreSQL does not answer ({type(error).__name__})") from error
        return map(_point, rows)

    def rolled_until(self) -> int:
        """See ``extensions.monitoring.History``."""
        try:
            with self._engine.connect() as connection:
                newest = connection.execute(_NEWEST).scalar()
        except SQLAlchemyError as error:
            raise Unreadable(f"PostgreSQL does not answer ({type(error).__name__})") from error
        return _until(newest)


_NEWEST: Final = select(func.max(MetricRollup.slot)).where(MetricRollup.step_s == MINUTE)


def roll_up(session: Session, now: dt.datetime) -> int:
    """Write the minutes that have ended, and what follows from them, and remove what has had its time; for the clock.

    It belongs to the platform, so for an agency it does nothing. It may run any number of times, late, and twice at once:
    what it writes is worked out from the whole of its minute. How many rows it wrote or removed.
    """
    if tenant_of(session).agency_id != PLATFORM:
        return 0
    return roll_up_slots(session, Store(session.info["redis"]), now.timestamp())


def roll_up_slots(session: Session, store: Store, now: float) -> int:
    """The same from a given store, at a given time (seconds since 1970)."""
    changed: list[int] = []
    written = 0
    for minute in due_minutes(store, _until(session.execute(_NEWEST).scalar()), now):
        points = minute_points(store, minute)
        if points is None:
            break
        rows = _write(session, points)
        written += rows
        if rows:
            changed.append(minute)
    written += _coarsen(session, changed, MINUTE, TEN_MINUTES)
    written += _coarsen(session, changed, TEN_MINUTES, HOUR)
    store.forget_surplus()
    return written + _remove_old(session, now)


def _coarsen(session: Session, changed: Iterable[int], fine_s: int, coarse_s: int) -> int:
    """Work out anew the coarse slots in which something changed; from finer ones, all of which are still kept."""
    written = 0
    for slot in sorted({minute // coarse_s * coarse_s for minute in changed}):
        rows = session.execute(select(*_COLUMNS).where(_within(fine_s, slot, slot + coarse_s))).all()
        written += _write(session, coarser(map(_point, rows), coarse_s))
    return written


def _write(session: Session, points: Sequence[Point]) -> int:
    """Write points over what is there; never over one that knows of more, which a flushed Redis has forgotten."""
    written = 0
    for at in range(0, len(points), _AT_ONCE):
        put = insert(MetricRollup).values([_row(point) for point in points[at : at + _AT_ONCE]])
        new = put.excluded
        statement = put.on_conflict_do_update(
            index_elements=["metric", "step_s", "slot", "labels"],
            set_={name: new[name] for name in ("count", "sum", "errors", "sketch")},
            where=new["count"] > MetricRollup.count,
        )
        written += int(session.execute(statement).rowcount)  # type: ignore[attr-defined]
    return written


def _remove_old(session: Session, now: float) -> int:
    removed = 0
    for step in STEPS:
        removed += _remove_before(session, step, _time(kept_since(step, now)))
    return removed


def _remove_before(session: Session, step_s: int, before: dt.datetime) -> int:
    """Remove the points of a step that are older, some at a time; after an outage the next minutes do the rest."""
    key = (MetricRollup.metric, MetricRollup.step_s, MetricRollup.slot, MetricRollup.labels)
    old = (
        select(*key).where(MetricRollup.step_s == step_s, MetricRollup.slot < before).limit(_REMOVED_AT_ONCE)
    )
    removed = 0
    for _ in range(_REMOVED_ROUNDS):
        gone = int(session.execute(delete(MetricRollup).where(tuple_(*key).in_(old))).rowcount)  # type: ignore[attr-defined]
        removed += gone
        if gone < _REMOVED_AT_ONCE:
            break
    return removed


def _within(step_s: int, start: int, end: int) -> Any:
    return and_(
        MetricRollup.step_s == step_s, MetricRollup.slot >= _time(start), MetricRollup.slot < _time(end)
    )


def _row(point: Point) -> dict[str, Any]:
    sketch = point.sketch
    return {
        "metric": point.metric,
        "labels": point.labels,
        "slot": _time(point.slot),
        "step_s": point.step_s,
        "count": sketch.count,
        "sum": sketch.sum,
        "errors": sketch.errors,
        "sketch": sketch.bins_bytes(),
    }


def _point(row: Any) -> Point:
    sketch = Sketch.stored(row.count, row.sum, row.errors, row.sketch)
    return Point(row.metric, row.labels, int(row.slot.timestamp()), row.step_s, sketch)


def _until(newest: dt.datetime | None) -> int:
    return 0 if newest is None else int(newest.timestamp()) + MINUTE


def _time(seconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
