"""What is wrong with a row, said with its row and column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from haven.errors import Fault, Invalid

SHOWN_MOST: Final = 1000
"""Errors listed in an answer or report; the others are counted."""
_VALUE_LONGEST: Final = 80


@dataclass(frozen=True, slots=True)
class RowFault(Fault):
    """One cell that breaks a rule: ``row`` as a spreadsheet numbers it, ``column`` as its header is written."""

    row: int = 0
    column: str | None = None
    value: str | None = None

    def document(self) -> dict[str, Any]:
        """The fault as JSON."""
        shown = {"pointer": self.pointer, "detail": self.detail, "row": self.row, "column": self.column}
        return shown if self.value is None else shown | {"value": self.value}


@dataclass(slots=True)
class Row:
    """A row as it was read.

    Args:
        number: in a spreadsheet's counting (a CSV's header is row 1), else the line or place from 1.
        values: field → value as JSON would have it.
        columns: field → the header it came under; a field that is not there came under its own name.
        faults: what was wrong already when it was read.
    """

    number: int
    values: dict[str, Any]
    columns: Mapping[str, str]
    faults: list[RowFault]

    def fault(self, field: str, detail: str) -> RowFault:
        """The fault of a field; ``late_fee/amount`` is the column ``late_fee_amount``."""
        name = field.strip("/")
        flat = name.replace("/", "_")
        column = self.columns.get(flat) or self.columns.get(name) or name or None
        pointer = f"/{self.number}/{name}" if name else f"/{self.number}"
        return RowFault(pointer, detail, self.number, column, self._shown(name))

    def _shown(self, name: str) -> str | None:
        value: Any = self.values
        for part in name.split("/") if name else ():
            value = value.get(part) if isinstance(value, dict) else None
        if value is None or isinstance(value, dict | list):
            return None
        text = str(value)
        return text if len(text) <= _VALUE_LONGEST else f"{text[:_VALUE_LONGEST]}…"


class RowsRefused(Invalid):
    """Nothing was done: some rows break rules. ``faults`` are the first of them."""

    def __init__(self, failed: int, rows: int, faults: tuple[Fault, ...]) -> None:
        of, broke = "row" if rows == 1 else "rows", "breaks" if failed == 1 else "break"
        super().__init__(f"{failed:,} of {rows:,} {of} {broke} a rule: nothing was changed.", faults=faults)
