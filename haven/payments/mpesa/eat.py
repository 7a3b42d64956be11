"""Nairobi time: every date and time M-Pesa writes is East Africa Time (UTC+3, no summer time)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

EAT: Final = ZoneInfo("Africa/Nairobi")
_STAMP: Final = re.compile(r"[0-9]{14}", re.ASCII)


def stamp(moment: datetime) -> str:
    """The moment as M-Pesa writes it: ``yyyyMMddHHmmss`` in Nairobi, whatever the zone of ``moment``.

    Raises:
        ValueError: ``moment`` has no time zone; guessing one is how clocks on UTC servers go wrong.
    """
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone cannot be written in Nairobi time")
    return moment.astimezone(EAT).strftime("%Y%m%d%H%M%S")


def moment_of(value: object) -> datetime | None:
    """The UTC moment of a ``yyyyMMddHHmmss`` stamp, an integer or a text (both are sent); None when it is neither."""
    text = str(value).strip() if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    if not _STAMP.fullmatch(text):
        return None
    try:
        local = datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=EAT)
        return local.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
