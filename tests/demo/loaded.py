"""A demo that was loaded, to be asked questions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from haven.demo.sizes import Size

EXACT = Size(
    agencies=2,
    months=14,
    units_per_property=(5, 20),
    invoices=700,
    payments=840,
    sets_indexes_aside=True,
)
"""What ``large`` does, small."""


@dataclass
class Loaded:
    url: str
    size: Size
    now: dt.datetime
    logins: dict[str, Any]
    _rows: Callable[..., list[tuple[Any, ...]]]

    @property
    def today(self) -> dt.date:
        return self.now.astimezone(ZoneInfo("Africa/Nairobi")).date()

    def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """What the superuser sees, of all agencies."""
        return self._rows(self.url, query, *arguments)

    def one(self, query: str, *arguments: Any) -> Any:
        """The only value of the only row."""
        ((value,),) = self.rows(query, *arguments)
        return value
