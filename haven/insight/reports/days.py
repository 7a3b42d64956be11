"""When a schedule runs next, and which days its report is of. Clock times are those of the agency's time zone."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from typing import Final
from zoneinfo import ZoneInfo

from croniter import CroniterError, croniter

from haven.errors import Invalid

EVERY: Final[Mapping[str, tuple[str, str]]] = {
    "daily": ("0 6 * * *", "YESTERDAY"),
    "weekly": ("0 6 * * 1", "LAST_WEEK"),
    "monthly": ("0 6 1 * *", "LAST_MONTH"),
}
"""Word → its cron and the days its report is of, where no others are given."""
_CRON: Final = re.compile(r"\d{1,2}( [\d*/,\-]+){4}", re.ASCII)
_MOST_MISSED: Final = 10_000

_DAY: Final = dt.timedelta(days=1)


def _last_month(on: dt.date) -> tuple[dt.date, dt.date]:
    last = on.replace(day=1) - _DAY
    return last.replace(day=1), last


def _last_week(on: dt.date) -> tuple[dt.date, dt.date]:
    monday = on - _DAY * on.weekday()
    return monday - 7 * _DAY, monday - _DAY


PERIODS: Final[Mapping[str, Callable[[dt.date], tuple[dt.date, dt.date]]]] = {
    "YESTERDAY": lambda on: (on - _DAY, on - _DAY),
    "LAST_WEEK": _last_week,
    "LAST_MONTH": _last_month,
    "THIS_MONTH": lambda on: (on.replace(day=1), on),
}
"""Name → first and last day, seen from the day it runs."""


def checked_cron(text: str) -> tuple[str, str | None]:
    """The cron that ``text`` is or names (``daily``), and the period that goes with the name.

    Raises:
        Invalid: it is neither a name nor a cron of five numbers that runs at most once an hour.
    """
    cron = " ".join(text.split())
    if cron in EVERY:
        return EVERY[cron]
    if not _CRON.fullmatch(cron):
        rule = f"must be {', '.join(EVERY)}, or minute, hour, day, month, weekday in numbers, the minute one of them: 0 6 * * 1"
        raise Invalid.field("cron", rule)
    try:
        croniter(cron, dt.datetime(2026, 1, 1)).get_next(dt.datetime)  # noqa: DTZ001  the agency's wall clock
    except (CroniterError, ValueError):
        raise Invalid.field("cron", "names no time that ever comes") from None
    return cron, None


def next_run(cron: str, after: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """The first moment after ``after`` at which the wall clock shows a time of ``cron``, in UTC.

    A time that summer time leaves out is run when the clock has jumped; one that comes twice is run the first time.
    """
    times = croniter(cron, after.astimezone(zone).replace(tzinfo=None))
    while True:
        local: dt.datetime = times.get_next(dt.datetime)
        moment = local.replace(tzinfo=zone).astimezone(dt.UTC)
        if moment > after:
            return moment


def latest_run(cron: str, due: dt.datetime, now: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """The last of the runs from ``due`` on that were due by ``now``: those before it were missed, and stand for it."""
    latest = due
    for _ in range(_MOST_MISSED):
        following = next_run(cron, latest, zone)
        if following > now:
            break
        latest = following
    return latest
