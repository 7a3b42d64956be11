"""How much the demo loads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Size:
    """How many agencies, and what each of them has.

    Args:
        agencies: how many, from the list in ``places``.
        months: of history, the running month included.
        units: of each agency, where ``invoices`` is None.
        units_per_property: the least and the most units of one property.
        invoices: exactly so many in each agency; units follow from it.
        payments: exactly so many in each agency (the last few are failed attempts).
        sets_indexes_aside: load without indexes and keys and make them again at the end, where the tables are all
            but empty: pays from about a hundred thousand rows.
    """

    agencies: int
    months: int
    units: int = 0
    units_per_property: tuple[int, int] = (8, 13)
    invoices: int | None = None
    payments: int | None = None
    sets_indexes_aside: bool = False


SIZES: Final = {
    "small": Size(agencies=1, months=8, units=60),
    "medium": Size(agencies=3, months=12, units=160, units_per_property=(10, 24)),
    "large": Size(
        agencies=20,
        months=24,
        units_per_property=(24, 60),
        invoices=50_000,
        payments=60_000,
        sets_indexes_aside=True,
    ),
}
"""The sizes of ``haven demo``: ``large`` is 1,000,000 invoices and 1,200,000 payments."""
