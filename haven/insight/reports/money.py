"""Small sums that several reports need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final

from haven.insight.figures import per_cent
from haven.insight.reports.document import Column, Value

NOUGHT: Final = Decimal("0.00")

__all__ = ["NOUGHT", "by_largest", "money", "per_cent", "total", "totals"]


def money(*pairs: tuple[str, str]) -> list[Column]:
    """Columns of money: (key, label) of each."""
    return [Column(key, label, "money") for key, label in pairs]


def total(rows: Iterable[Any], key: str) -> Decimal:
    """The sum of one attribute."""
    return sum((getattr(row, key) for row in rows), NOUGHT)


def totals(columns: Sequence[Column], rows: Sequence[Sequence[Value]]) -> dict[str, Value]:
    """The sum of each column of money or counts."""
    found: dict[str, Value] = {}
    for place, column in enumerate(columns):
        values = [row[place] for row in rows]
        if column.type == "money":
            found[column.key] = sum((value for value in values if isinstance(value, Decimal)), NOUGHT)
        elif column.type == "count":
            found[column.key] = sum(value for value in values if isinstance(value, int))
    return found


def by_largest(pairs: Iterable[tuple[str, Decimal]], most: int = 12) -> tuple[list[str], list[Decimal]]:
    """Labels and values for a plot: the largest first, the rest together."""
    ordered = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
    shown, rest = ordered[:most], ordered[most:]
    if rest:
        shown.append((f"{len(rest)} others", sum((value for _, value in rest), NOUGHT)))
    return [label for label, _ in shown], [value for _, value in shown]
